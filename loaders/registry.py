"""Which loader reads a file: decided by its content, with its name as a hint where content alone cannot tell."""

from __future__ import annotations

import functools
import re
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from langchain_core.documents import Document

from loaders import faq
from loaders.chunking import TokenStarts, chunk
from loaders.errors import Damaged, LoadError, NoText, Protected, TooLarge, UnsupportedFormat
from loaders.faq import FAQLoader
from loaders.markdown import MarkdownLoader
from loaders.model import LoadedSource
from loaders.ocr import Reading
from loaders.office import OfficeLoader
from loaders.pdf import PDFLoader
from loaders.sidecar import NOTHING, Metadata, joined
from loaders.slides import SlidesLoader
from loaders.text import TextLoader

PARSER_VERSION = "3"  # raised when the same file would give another text or other chunks: all are then read anew

HEAD = 4096  # bytes that are looked at
MARKDOWN = (".md", ".markdown", ".mdown", ".mkd")
TABLES = (".csv", ".tsv")
JSON = (".json", ".jsonl", ".ndjson")
YAML = (".yaml", ".yml")
HTML = (".html", ".htm", ".xhtml")
RST = (".rst", ".rest")
ZIPPED = (".docx", ".pptx", ".xlsx", ".epub")
NAMES = {".docx": "a Word document", ".pptx": "a presentation", ".xlsx": "a spreadsheet", ".epub": "an e-book"}
SUFFIXES = (
    ".pdf",
    ".txt",
    ".eml",
    *MARKDOWN,
    *TABLES,
    *JSON,
    *YAML,
    *HTML,
    *RST,
    *ZIPPED,
)  # what uploads may be called

# Formats known by their first bytes that are not read, and what their owner can do.
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
FOREIGN = (
    (OLE, "an old Office file; save it as .docx or PDF"),
    (b"{\\rtf", "a rich text file; save it as .docx or PDF"),
    (b"\x89PNG\r\n", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"GIF8", "a picture"),
    (b"II*\x00", "a picture"),
    (b"MM\x00*", "a picture"),
    (b"\x1f\x8b", "an archive; unpack it into the folder"),
    (b"7z\xbc\xaf\x27\x1c", "an archive; unpack it into the folder"),
    (b"Rar!", "an archive; unpack it into the folder"),
    (b"\x7fELF", "a program"),
    (b"MZ\x90", "a program"),
    (b"SQLite format 3\x00", "a database"),
)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one file may cost. seconds: to parse; memory_bytes: address space of the parsing process. reading: of pages
    that are pictures, which has a time of its own.
    """

    seconds: float = 60.0
    max_pages: int = 5_000
    max_chars: int = 10_000_000
    max_file_bytes: int = 200_000_000
    memory_bytes: int = 1_500_000_000
    reading: Reading = Reading()  # noqa: RUF009 (it is frozen)


@dataclass(frozen=True, slots=True)
class _Loaded:
    documents: Sequence[Document]
    format: str
    title: str = ""
    pages: int | None = None
    warnings: tuple[str, ...] = ()
    metadata: Metadata = NOTHING


def read_source(
    path: Path, name: str, limits: Limits, token_starts: TokenStarts, beside: Metadata = NOTHING
) -> LoadedSource:
    """Parse and chunk the file at `path`; `name` is its path relative to the folder, `beside` what its sidecar tells of
    it. LoadError says why not.
    """
    size = path.stat().st_size
    if size == 0:
        raise NoText("the file is empty")
    if size > limits.max_file_bytes:
        raise TooLarge(f"{size:,} bytes; the limit is {limits.max_file_bytes:,} (MAX_FILE_BYTES)")
    loaded = _loader_for(path, name)(path, limits)
    metadata = joined(beside, loaded.metadata)
    title = beside.title or loaded.title or title_from(name)
    chunks = chunk(loaded.documents, title, token_starts)
    if not chunks:
        raise NoText("no text was found in it")
    text = "".join(document.page_content for document in loaded.documents)
    return LoadedSource(
        text,
        loaded.format,
        title,
        tuple(chunks),
        loaded.pages,
        loaded.warnings,
        metadata.tags,
        metadata.language,
    )


def title_from(name: str) -> str:
    """A title from a file name: "hr/Staff_handbook-2024.pdf" gives "Staff handbook 2024"."""
    return " ".join(re.sub(r"[_\-.]+", " ", PurePosixPath(name).stem).split())


def _loader_for(path: Path, name: str) -> Callable[[Path, Limits], _Loaded]:
    with path.open("rb") as file:
        head = file.read(HEAD)
    suffix = PurePosixPath(name).suffix.lower()
    if b"%PDF-" in head[:1024]:
        return _load_pdf
    if suffix == ".pdf":
        raise Damaged("not a PDF, although its name says so")
    if head.startswith(b"PK\x03\x04"):
        return _load_office_zip(path, suffix)
    for magic, what in FOREIGN:
        if head.startswith(magic):
            if magic == OLE and suffix in ZIPPED:
                raise Protected(f"{NAMES[suffix]} that is encrypted with a password")
            raise UnsupportedFormat(f"this is {what}")
    if suffix in ZIPPED:
        raise Damaged(f"not {NAMES[suffix]}, although its name says so")
    return _text_loader(head, suffix)


def _text_loader(head: bytes, suffix: str) -> Callable[[Path, Limits], _Loaded]:
    if suffix in MARKDOWN:
        return _load_markdown
    if suffix in TABLES:
        return lambda path, limits: _load_faq(path, limits, "csv")
    if suffix in JSON:
        return lambda path, limits: _load_faq(path, limits, "json")
    if suffix in YAML:
        return lambda path, limits: _load_faq(path, limits, "yaml")
    if suffix == ".eml":
        return lambda path, limits: _load_office(path, limits, "email")
    if suffix in RST:
        return lambda path, limits: _load_office(path, limits, "rst")
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if suffix in HTML or start.startswith((b"<!doctype html", b"<html")):
        return lambda path, limits: _load_office(path, limits, "html")
    return _load_text


def _load_pdf(path: Path, limits: Limits) -> _Loaded:
    loader = PDFLoader(path, limits.max_pages, limits.max_chars, limits.reading)
    documents = loader.load()
    warnings: tuple[str, ...] = ()
    for what, pages in (("no text on", loader.empty_pages), ("text by OCR on", loader.reader.pages)):
        if pages:
            numbers = ", ".join(map(str, pages[:20])) + (", ..." if len(pages) > 20 else "")
            warnings += (f"{what} {len(pages)} of {len(documents)} pages: {numbers}",)
    return _Loaded(documents, "pdf", loader.title, len(documents), warnings)


def _load_markdown(path: Path, limits: Limits) -> _Loaded:
    loader = MarkdownLoader(path, limits.max_chars)
    documents = loader.load()
    if faq.is_question_page(documents):
        return _Loaded(faq.question_documents(documents), "faq", loader.title, metadata=loader.metadata)
    return _Loaded(documents, "markdown", loader.title, metadata=loader.metadata)


def _load_faq(path: Path, limits: Limits, kind: str) -> _Loaded:
    loader = FAQLoader(path, kind, limits.max_chars)
    documents = loader.load()
    return _Loaded(documents, "faq" if loader.is_faq else kind, warnings=tuple(loader.warnings))


def _load_text(path: Path, limits: Limits) -> _Loaded:
    return _Loaded(TextLoader(path, limits.max_chars).load(), "text")


def _load_office(path: Path, limits: Limits, kind: str) -> _Loaded:
    if kind not in ("docx", "epub") and path.stat().st_size > 4 * limits.max_chars:
        raise TooLarge(f"{path.stat().st_size:,} bytes; split the file, or raise the limit (MAX_SOURCE_CHARS)")
    loader = OfficeLoader(path, kind, limits.max_chars)
    documents = loader.load()
    return _Loaded(documents, "faq" if loader.is_faq else kind, loader.title)


def _load_slides(path: Path, limits: Limits) -> _Loaded:
    loader = SlidesLoader(path, limits.max_pages, limits.max_chars)
    documents = loader.load()
    return _Loaded(documents, "pptx", loader.title, loader.pages)


def _load_office_zip(path: Path, suffix: str) -> Callable[[Path, Limits], _Loaded]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
            unpacked = sum(entry.file_size for entry in archive.infolist())
            mimetype = archive.open("mimetype").read(64).strip() if "mimetype" in names else b""
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, NotImplementedError, zlib.error) as error:
        raise _broken_zip(suffix) from error
    read: Callable[[Path, Limits], _Loaded]
    if "word/document.xml" in names:
        read = functools.partial(_load_office, kind="docx")
    elif "ppt/presentation.xml" in names:
        read = _load_slides
    elif "xl/workbook.xml" in names:
        read = functools.partial(_load_faq, kind="xlsx")
    elif mimetype == b"application/epub+zip":
        read = functools.partial(_load_office, kind="epub")
    else:
        raise UnsupportedFormat("this is an archive; unpack it into the folder")

    def load(path: Path, limits: Limits) -> _Loaded:
        if unpacked > limits.max_file_bytes:
            raise TooLarge(f"{unpacked:,} bytes when unpacked; the limit is {limits.max_file_bytes:,} (MAX_FILE_BYTES)")
        return read(path, limits)

    return load


def _broken_zip(suffix: str) -> LoadError:
    what = NAMES.get(suffix, "an archive").split(" ", 1)[1]
    return Damaged(f"the {what} is damaged or not completely written")
