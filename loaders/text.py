"""Plain text: the file as it is, decoded. Also how every text format here is decoded."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from pathlib import Path

from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import Document

from loaders.errors import NoText, TooLarge, UnsupportedFormat

BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
BINARY_SHARE = 0.02  # of control characters, above which a file is no text
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]")


class TextLoader(BaseLoader):
    """One Document: the whole file."""

    def __init__(self, path: Path, max_chars: int) -> None:
        self.path = path
        self.max_chars = max_chars

    def lazy_load(self) -> Iterator[Document]:
        text = read_text(self.path, self.max_chars)
        yield Document(page_content=text, metadata={"start": 0, "page": None, "heading": [], "kind": "text"})


def read_text(path: Path, max_chars: int) -> str:
    """The decoded file with its line ends; NUL becomes U+FFFD, because databases refuse it.

    TooLarge before anything is read when even four bytes a character are over the limit; NoText; UnsupportedFormat for
    binary content.
    """
    size = path.stat().st_size
    if size > 4 * max_chars:
        raise TooLarge(over_limit(size, max_chars))
    text = decode(path.read_bytes())
    if len(text) > max_chars:
        raise TooLarge(over_limit(len(text), max_chars))
    if not text.strip():
        raise NoText("the file is empty")
    return text.replace("\x00", "\ufffd")


def over_limit(found: int, limit: int) -> str:
    return (
        f"{found:,} characters of text; the limit is {limit:,} (MAX_SOURCE_CHARS). Split the file or raise the limit."
    )


def decode(raw: bytes) -> str:
    """UTF-8, or UTF-16 with its mark, or what charset-normalizer takes it for, or Windows-1252."""
    for mark, encoding in BOMS:
        if raw.startswith(mark):
            return raw[len(mark) :].decode(encoding, "replace")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        if raw.count(0) > BINARY_SHARE * len(raw):
            raise UnsupportedFormat("this is binary data of no format that is read here") from None
        text = _guess(raw)
    if len(_CONTROL.findall(text[:100_000])) > BINARY_SHARE * len(text[:100_000]):
        raise UnsupportedFormat("this is binary data of no format that is read here")
    return text


def _guess(raw: bytes) -> str:
    from charset_normalizer import from_bytes

    guesses = from_bytes(raw[:200_000])
    best = guesses.best()
    western = best and any(guess.encoding == "cp1252" and guess.chaos <= best.chaos for guess in guesses)
    try:
        return raw.decode(best.encoding if best and not western else "cp1252")
    except (UnicodeDecodeError, LookupError):
        return raw.decode("cp1252", "replace")
