"""The file: a tar.gz of the database, the documents and, last, a manifest. At its end stands a gzip member that holds
no data but, in its comment, the sha256 of every byte before it, so no byte can change unseen; `tar` and `gzip -t` read
the whole as any other file of theirs.

What is read back is trusted in nothing: names, kinds, sizes and counts are checked against the manifest, and no more is
unpacked than there is room for.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from gzip import BadGzipFile, GzipFile
from pathlib import Path
from typing import IO, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from backend.backups.errors import Damaged, NotMade, Refused
from loaders.folder import is_ignored
from loaders.sidecar import NAME as SIDECAR

FORMAT: Literal[1] = 1
MANIFEST = "manifest.json"
CALIBRATION = "calibration.json"
DATABASES = {"sqlite": "database.sqlite3", "postgresql": "database.pgdump"}  # the member of each vendor
DOCUMENTS = "files/"  # begins the name of each document
LEVEL = 3  # of gzip; 6 takes twice as long for 5 % less
BLOCK = 1 << 20
LARGEST_MANIFEST = 500_000_000  # bytes; some two million files
LARGEST_HEADER = 1 << 16  # bytes between two members: headers of tar, and of names longer than 100 characters
LARGEST_PADDING = 1 << 16  # bytes of zeros at the end of a tar

_HEADER = b"\x1f\x8b\x08\x10\x00\x00\x00\x00\x00\xff"  # of a gzip member with a comment
_NOTHING = b"\x00\x03\x00" + bytes(8)  # the comment's end, deflated nothing, its checksum and its size


class Member(BaseModel):
    """What the archive holds under one name. mtime_ns: of documents."""

    model_config = ConfigDict(frozen=True, strict=True)

    size: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    mtime_ns: int | None = None


class Manifest(BaseModel):
    """What the backup is of. counts: rows by table. left_out: documents that could not be read, with their reasons."""

    model_config = ConfigDict(frozen=True, strict=True)

    format: Literal[1] = FORMAT
    version: str
    made_at: str
    vendor: str
    server: int = Field(description="PostgreSQL's major version, 0 of SQLite.")
    schema_name: str = Field(description="PostgreSQL's schema that the tables are in.")
    migrations: list[str]
    counts: dict[Annotated[str, Field(pattern=r"^\w+$")], int]
    members: dict[str, Member]
    left_out: dict[str, str]

    @property
    def documents(self) -> dict[str, Member]:
        """By path in the watched folder."""
        return {
            name.removeprefix(DOCUMENTS): member for name, member in self.members.items() if name.startswith(DOCUMENTS)
        }


class Writer:
    """Writes an archive into `file`: `add` each member, then `close` with the manifest."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = _Summed(file)
        self._gzip = GzipFile(filename="", mode="wb", compresslevel=LEVEL, fileobj=self._file, mtime=0)
        self._tar = tarfile.TarFile(fileobj=self._gzip, mode="w", format=tarfile.PAX_FORMAT, copybufsize=BLOCK)
        self.members: dict[str, Member] = {}

    def add(self, name: str, content: IO[bytes], *, mtime_ns: int | None = None) -> None:
        """Everything from the beginning of `content`."""
        size = content.seek(0, io.SEEK_END)
        content.seek(0)
        summed = self._add(name, content, size, mtime_ns or 0)
        self.members[name] = Member(size=size, sha256=summed, mtime_ns=mtime_ns)

    def close(self, manifest: Manifest) -> None:
        """The manifest, and the end that makes it whole. NotMade."""
        told = manifest.model_dump_json(indent=1).encode()
        if len(told) > LARGEST_MANIFEST:
            raise NotMade("There are more files than a backup can list.")
        self._add(MANIFEST, io.BytesIO(told), len(told), 0)
        self._tar.close()
        self._gzip.close()
        self._file.file.write(_end(self._file.sha256.hexdigest()))

    def _add(self, name: str, content: IO[bytes], size: int, mtime_ns: int) -> str:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode, entry.mtime = size, 0o600, mtime_ns // 10**9
        reader = _Reading(content)
        self._tar.addfile(entry, reader)
        return reader.sha256.hexdigest()


def verify(path: Path, room: int) -> Manifest:
    """Read all of it and write nothing. Damaged; Refused when it unpacks to more than `room` bytes, or is of a later
    release.
    """
    _check_whole(path)
    found: dict[str, Member] = {}
    told = b""
    for name, content in _members(path):
        if MANIFEST in found:
            raise Damaged(f"{path.name} is damaged: something comes after its end.")
        if name in found:
            raise Damaged(f"{path.name} is damaged: it holds {name!a} twice.")
        digest, size, kept = hashlib.sha256(), 0, []
        for block in content:
            size += len(block)
            room -= len(block)
            if room < 0:
                raise Refused(f"{path.name} unpacks to more than there is room for on this disk.")
            digest.update(block)
            if name == MANIFEST:
                if size > LARGEST_MANIFEST:
                    raise Damaged(f"{path.name} is damaged: its manifest is too large.")
                kept.append(block)
        told = told or b"".join(kept)
        found[name] = Member(size=size, sha256=digest.hexdigest())
    if found.pop(MANIFEST, None) is None:
        raise Damaged(f"{path.name} is not a backup of Footnote: it has no manifest.")
    manifest = _read_manifest(path, told)
    _compare(path, manifest, found)
    return manifest


def extract(path: Path, manifest: Manifest, place: Callable[[str], Path | None]) -> None:
    """Write each member to where `place` says, and none where it says None; their folders are made. All of it is on the
    disk afterwards. Damaged when the file is not the one that was verified; OSError.
    """
    for name, content in _members(path):
        target = place(name) if name in manifest.members else None
        digest = hashlib.sha256()
        if target is None:
            for _ in content:
                pass
            continue
        member = manifest.members[name]
        target.parent.mkdir(parents=True, exist_ok=True)
        is_document = member.mtime_ns is not None
        with target.open("xb") if is_document else open_private(target) as file:
            for block in content:
                digest.update(block)
                file.write(block)
        if digest.hexdigest() != member.sha256:
            raise Damaged(f"{path.name} has changed while it was read.")
        if member.mtime_ns is not None:
            os.utime(target, ns=(member.mtime_ns, member.mtime_ns))
    os.sync()  # one by one, a thousand small files take a quarter of a minute


def open_private(path: Path) -> IO[bytes]:
    """A new file that its owner alone may read."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


class _Summed(io.RawIOBase):
    """Sums up what is written through it."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.sha256 = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.sha256.update(data)
        return self.file.write(data)


class _Reading:
    """Sums up what is read through it."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.sha256 = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self.file.read(size)
        self.sha256.update(data)
        return data


class _Bounded:
    """Gives tar no more than it is allowed to take in for headers; what a member holds is read past that."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.allowed: int | None = LARGEST_HEADER

    def read(self, size: int) -> bytes:
        if self.allowed is not None:
            self.allowed -= size
            if self.allowed < 0:
                raise tarfile.ReadError("a header is too long")
        return self.file.read(size)


def _end(sha256: str) -> bytes:
    return _HEADER + f"sha256 {sha256}".encode() + _NOTHING


def _check_whole(path: Path) -> None:
    """Damaged unless every byte is as it was written."""
    length = len(_end("0" * 64))
    try:
        with path.open("rb") as file:
            left = file.seek(0, io.SEEK_END) - length
            file.seek(0)
            if left < 0 or file.read(2) != _HEADER[:2]:
                raise Damaged(f"{path.name} is not a backup of Footnote.")
            file.seek(0)
            digest = hashlib.sha256()
            while left > 0 and (block := file.read(min(left, BLOCK))):
                left -= len(block)
                digest.update(block)
            if file.read() != _end(digest.hexdigest()):
                raise Damaged(f"{path.name} is damaged or not complete: its checksum is not that of its content.")
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror}.") from None


def _members(path: Path) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Each regular file of the tar, with its content, which must be read before the next one. Damaged."""
    with _damage_named(path), GzipFile(path, "rb") as unpacked:
        bounded = _Bounded(unpacked)  # type: ignore[arg-type]
        # Blocks of 512: tar then takes no byte of what follows a header.
        with tarfile.open(fileobj=bounded, mode="r|", bufsize=tarfile.BLOCKSIZE) as tar:  # type: ignore[call-overload]
            while (entry := tar.next()) is not None:
                tar.members = []  # it would keep them all
                if not entry.isreg() or entry.issparse():
                    raise Damaged(f"{path.name} is damaged: {entry.name!a} is not a file.")
                bounded.allowed = None
                yield entry.name, _content(path, tar, entry)
                bounded.allowed = LARGEST_HEADER
        if unpacked.read(LARGEST_PADDING).strip(b"\0") or unpacked.read(1):
            raise Damaged(f"{path.name} is damaged: something comes after its end.")


def _content(path: Path, tar: tarfile.TarFile, entry: tarfile.TarInfo) -> Iterator[bytes]:
    with _damage_named(path):
        file = tar.extractfile(entry)
        while file and (block := file.read(BLOCK)):
            yield block


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, zlib.error, BadGzipFile, EOFError, ValueError, RecursionError, OverflowError) as error:
        raise Damaged(f"{path.name} is damaged: {error}.") from None


def _read_manifest(path: Path, told: bytes) -> Manifest:
    try:
        data = json.loads(told)
        if isinstance(data, dict) and isinstance(data.get("format"), int) and data["format"] > FORMAT:
            raise Refused(f"{path.name} was made by a later release of Footnote ({data.get('version')}).")
        manifest = Manifest.model_validate(data)
    except (ValueError, RecursionError, ValidationError):
        raise Damaged(f"{path.name} is damaged: its manifest cannot be read.") from None
    return manifest


def _compare(path: Path, manifest: Manifest, found: dict[str, Member]) -> None:
    """Damaged unless the archive holds just what its manifest lists, under names that lead nowhere else."""
    wanted = manifest.members
    if missing := sorted(wanted.keys() - found.keys()):
        raise Damaged(f"{path.name} is damaged: {missing[0]!a} is missing.")
    if more := sorted(found.keys() - wanted.keys()):
        raise Damaged(f"{path.name} is damaged: it holds {more[0]!a}, which its manifest does not list.")
    for name, member in wanted.items():
        if (member.size, member.sha256) != (found[name].size, found[name].sha256):
            raise Damaged(f"{path.name} is damaged: {name!a} is not what its manifest says.")
        if name.startswith(DOCUMENTS):
            _check_document(path, name.removeprefix(DOCUMENTS), wanted)
        elif name not in (CALIBRATION, DATABASES.get(manifest.vendor)):
            raise Damaged(f"{path.name} is damaged: {name!a} is nothing that a backup holds.")
    if DATABASES.get(manifest.vendor) not in wanted:
        raise Damaged(f"{path.name} is damaged: it holds no database.")


def _check_document(path: Path, document: str, members: dict[str, Member]) -> None:
    """Damaged unless it is the path of a file that a scan of the watched folder could find."""
    *folders, name = document.split("/")
    hidden = [part for part in folders if is_ignored(part)] or (is_ignored(name) and name != SIDECAR)
    if hidden or not all([*folders, name]) or not document.isprintable():  # ".." begins with a dot
        raise Damaged(f"{path.name} is damaged: {document!a} is no name of a document.")
    if any(f"{DOCUMENTS}{'/'.join(folders[:depth])}" in members for depth in range(1, len(folders) + 1)):
        raise Damaged(f"{path.name} is damaged: {document!a} lies below a file.")
