"""Files that come and go through the API: they land in the watched folder, whole or not at all, and go the one way in.

A name is taken as it is or refused, never rewritten: what was uploaded as `a.pdf` is cited as `a.pdf`.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import time
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Any

from django.conf import settings
from django.core.exceptions import TooManyFieldsSent, TooManyFilesSent
from django.core.files.uploadedfile import TemporaryUploadedFile
from django.core.files.uploadhandler import FileUploadHandler, TemporaryFileUploadHandler
from django.http.multipartparser import MultiPartParser as DjangoParser
from django.http.multipartparser import MultiPartParserError
from rest_framework.exceptions import ParseError, ValidationError
from rest_framework.parsers import DataAndFiles, MultiPartParser

from backend.api.errors import Conflict, PayloadTooLarge, Unavailable
from backend.knowledge.models import Source
from backend.knowledge.sync import PATH_LIMIT, SETTLE_SECONDS, mark_removed
from loaders.folder import TEMPORARY
from loaders.registry import SUFFIXES

LONGEST_NAME = 255  # bytes; what file systems take
TOGETHER = 5  # times the limit of one file
DRAFT = ".footnote-upload-"  # begins the name of a file that is not completely written; a scan leaves it out
RESERVED = frozenset(
    ["con", "prn", "aux", "nul", *(f"com{i}" for i in range(1, 10)), *(f"lpt{i}" for i in range(1, 10))]
)
FORBIDDEN = frozenset('/\\:*?"<>|')  # in some system's names


class UploadParser(MultiPartParser):
    """Multipart bodies whose files go to disk, under limits, with their names as they were sent."""

    def parse(
        self, stream: Any, media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> DataAndFiles[Any, Any]:
        request = (parser_context or {})["request"]
        meta = {**request.META, "CONTENT_TYPE": media_type}
        handlers = [_Quota(request._request), TemporaryFileUploadHandler(request._request)]
        try:
            data, files = _Parser(meta, stream, handlers, "utf-8").parse()
        except MultiPartParserError as error:
            raise ParseError(f"The body is not a valid multipart form: {error}") from None
        except TooManyFilesSent:
            raise PayloadTooLarge(f"At most {settings.DATA_UPLOAD_MAX_NUMBER_FILES} files at a time.") from None
        except TooManyFieldsSent:
            raise PayloadTooLarge("There are too many fields beside the files.") from None
        return DataAndFiles(data, files)


class _Parser(DjangoParser):
    """Django's own cuts paths off names; here a path is an error that its sender hears of."""

    def sanitize_file_name(self, file_name: str) -> str:
        if problem := name_problem(file_name):
            raise ValidationError({"files": [problem]})
        return file_name


class _Quota(FileUploadHandler):
    """Ends an upload as soon as it is over a limit, not when it is complete."""

    chunk_size = 1 << 20

    def handle_raw_input(
        self,
        input_data: Any,
        META: Any,  # noqa: N803 (the name is Django's)
        content_length: int,
        boundary: Any,
        encoding: str | None = None,
    ) -> None:
        self.left = TOGETHER * settings.ENV.max_file_bytes
        if content_length > self.left:
            raise PayloadTooLarge(f"The request is over {self.left:,} bytes; send the files one by one.")

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes:
        limit = settings.ENV.max_file_bytes
        if start + len(raw_data) > limit:
            raise PayloadTooLarge(f"A file is over {limit:,} bytes (MAX_FILE_BYTES).")
        self.left -= len(raw_data)
        if self.left < 0:
            raise PayloadTooLarge("The files together are too large; send them one by one.")
        return raw_data

    def file_complete(self, file_size: int) -> None:
        return None


def name_problem(name: str) -> str | None:
    """Why a file cannot be called that; None when it can."""
    stem, suffix = PurePosixPath(name).stem, PurePosixPath(name).suffix.lower()
    if problem := part_problem(name):
        return problem
    if any(fnmatch(name, pattern) for pattern in TEMPORARY):
        return f"{name!a} looks like a temporary file, which is never indexed."
    if suffix not in SUFFIXES or not stem:
        return f"{name!a}: files that end in {suffix or 'nothing'} are not read; there are: {', '.join(SUFFIXES)}."
    return None


def part_problem(name: str) -> str | None:
    """Why a file or folder cannot be called that; None when it can."""
    if not name or len(name.encode("utf-8", "replace")) > LONGEST_NAME:
        return f"A name must have 1 to {LONGEST_NAME} bytes."
    if FORBIDDEN & set(name) or name in (".", ".."):
        return f"{name!a} is a path or holds characters that not every system can store."
    # Cc, Cf, Cs, Co, Cn: control, invisible and reversing characters, unpaired surrogates, nothing assigned.
    if any(unicodedata.category(char).startswith("C") for char in name):
        return f"{name!a} holds invisible or control characters."
    if name.startswith(".") or name != name.strip() or name.endswith("."):
        return f"{name!a}: a name may not begin with a dot, nor begin or end with a blank, nor end with a dot."
    if name.split(".", 1)[0].casefold() in RESERVED:
        return f"{name!a} is a reserved name on some systems."
    return None


def folder_parts(text: str) -> tuple[str, ...]:
    """The parts of a relative folder ("" for the watched folder itself). ValidationError."""
    parts = tuple(text.split("/")) if text else ()
    for part in parts:
        if problem := part_problem(part):
            raise ValidationError({"folder": [problem]})
    return parts


def store(files: Sequence[TemporaryUploadedFile], folder: str) -> list[Source]:
    """Put the files into the watched folder, each replacing the one of its name; all are checked before any is written.

    Returns their rows, `pending` where they are new. ValidationError, Unavailable.
    """
    parts = folder_parts(folder)
    names = [str(file.name) for file in files]
    if len(set(names)) < len(names):
        raise ValidationError({"files": ["Two of the files have the same name."]})
    target_folder = settings.ENV.knowledge_dir.joinpath(*parts)
    paths = ["/".join((*parts, name)) for name in names]
    if too_long := next((path for path in paths if len(path) > PATH_LIMIT), None):
        raise ValidationError({"folder": [f"The path {too_long[:40]!a}... is over {PATH_LIMIT} characters."]})
    _refuse_outside(target_folder)
    for name in names:
        if (target_folder / name).is_dir():
            raise ValidationError({"files": [f"{name!a} is a folder."]})
    with _writing():
        target_folder.mkdir(parents=True, exist_ok=True)
        for file, name in zip(files, names, strict=True):
            _put(file, target_folder / name)
    return [_row(path) for path in paths]


def delete(source: Source) -> None:
    """Take a source's file out of the watched folder; nothing answers from it any more. Conflict, Unavailable."""
    path = settings.ENV.knowledge_dir / source.path
    _refuse_outside(path.parent)
    if path.is_dir() and not path.is_symlink():
        raise Conflict("This is a folder; only files can be deleted.")
    with _writing(), contextlib.suppress(FileNotFoundError):
        path.unlink()
    mark_removed([source])


def remove_drafts(older_than: float = 0.0) -> None:
    """Delete what killed uploads left behind, at the start of a process.

    older_than: seconds since it was last written, where
    other processes may be in the middle of an upload.
    """
    drafts = list(Path(settings.FILE_UPLOAD_TEMP_DIR).iterdir())
    for folder, _, names in os.walk(settings.ENV.knowledge_dir):
        drafts += [Path(folder, name) for name in names if name.startswith(DRAFT)]
    for draft in drafts:
        with contextlib.suppress(OSError):
            if time.time() - draft.stat().st_ctime >= older_than:
                draft.unlink()


def _put(file: TemporaryUploadedFile, target: Path) -> None:
    """Under another name first, so that no reader sees half of it; it is as old as a file that has settled."""
    draft = target.with_name(f"{DRAFT}{secrets.token_hex(8)}")
    try:
        with draft.open("wb") as copy:
            file.seek(0)
            shutil.copyfileobj(file, copy, 1 << 20)
            copy.flush()
            os.fsync(copy.fileno())
        settled = time.time() - SETTLE_SECONDS
        os.utime(draft, (settled, settled))
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def _row(path: str) -> Source:
    row, _ = Source.objects.get_or_create(path=path)
    return row


def _refuse_outside(folder: Path) -> None:
    """A link in the folder may lead out of it, and a file may stand where a folder is wanted."""
    root = os.path.realpath(settings.ENV.knowledge_dir)
    real = os.path.realpath(folder)
    if real != root and not real.startswith(root + os.sep):
        raise ValidationError({"folder": ["This leads out of the watched folder."]})
    existing = Path(real)
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    if existing.exists() and not existing.is_dir():
        raise ValidationError({"folder": ["There is a file of that name."]})


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(f"The watched folder cannot be changed: {error.strerror}.", "folder_unavailable") from error
