"""PDF by pypdfium2, page by page: one Document a page, the source text is the pages joined by form feeds.

Runs in the parsing process only: PDFium is not thread-safe, and a small file can ask for gigabytes.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import Document

from loaders.errors import Damaged, NoText, Protected, TooLarge
from loaders.ocr import FEWEST_CHARACTERS, Reader, Reading
from loaders.text import over_limit

EDGE_LINES = 3  # lines at the top and bottom of a page that may be a running header or footer
REPEATED = 0.4  # share of pages on which such a line must stand
FEWEST_PAGES = 4  # of a document that can have running lines
MOST_FIGURES = 6  # numbers in a running line
BROKEN = "\u00ad"  # soft hyphen: stands in a page's text where a line ended in a hyphen, until the word is mended
PASSWORD_ERROR = 4  # FPDF_GetLastError

NO_READING = Reading()

_BROKEN_WORD = re.compile(rf"([^\W_]*){BROKEN}([^\W_]*)")


class PDFLoader(BaseLoader):
    """Documents with `page` counted from 1. `title` is set after loading, `empty_pages` are those without text, and
    `reader.pages` those whose text was read from their picture.
    """

    def __init__(self, path: Path, max_pages: int, max_chars: int, reading: Reading = NO_READING) -> None:
        self.path = path
        self.max_pages = max_pages
        self.max_chars = max_chars
        self.title = ""
        self.empty_pages: list[int] = []
        self.reader = Reader(reading)

    def lazy_load(self) -> Iterator[Document]:
        pages = with_words_mended(without_running_lines(self._read_pages()))
        self.empty_pages = [number for number, page in enumerate(pages, start=1) if not page.strip()]
        if len(self.empty_pages) == len(pages):
            reason = self.reader.problem or "OCR found no text in them"
            raise NoText(f"no text layer: the pages are pictures (scanned); {reason}")
        start = 0
        for number, page in enumerate(pages, start=1):
            text = page + ("\f" if number < len(pages) else "")
            metadata = {"start": start, "page": number, "heading": [], "kind": "text"}
            yield Document(page_content=text, metadata=metadata)
            start += len(text)

    def _read_pages(self) -> list[str]:
        import pypdfium2 as pdfium

        try:
            pdf = pdfium.PdfDocument(self.path)
        except pdfium.PdfiumError as error:
            raise _reason(error, self.path) from None
        with pdf:
            if len(pdf) == 0:
                raise NoText("the PDF has no pages")
            if len(pdf) > self.max_pages:
                raise TooLarge(f"{len(pdf):,} pages; the limit is {self.max_pages:,} (MAX_PDF_PAGES). Split the file.")
            self.title = " ".join(str(pdf.get_metadata_dict().get("Title", "")).split())
            pages: list[str] = []
            length = 0
            for number in range(len(pdf)):
                pages.append(_read_page(pdf, number, self.reader))
                length += len(pages[-1])
                if length > self.max_chars:
                    raise TooLarge(over_limit(length, self.max_chars))
            return pages


def _read_page(pdf: Any, number: int, reader: Reader) -> str:
    import pypdfium2 as pdfium

    try:
        page = pdf[number]
        text: str = page.get_textpage().get_text_bounded()
        if len(text.strip()) < FEWEST_CHARACTERS:
            text = reader.read(page, number + 1) or text
        page.close()
    except pdfium.PdfiumError:
        return ""  # one damaged page; it counts among those without text
    return clean(text)


def clean(text: str) -> str:
    """Line ends as LF, NFKC, no control characters; a hyphen at the end of a line becomes BROKEN, and the line goes on.

    PDFium writes such a hyphen as U+0002 or U+FFFE and leaves the line break out; others write it as it is.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\x00", "\ufffd")
    text = re.sub("[\x02\ufffe\u00ad]\n?", BROKEN, text)
    text = re.sub(r"(?<=\w)-\n(?=\w)", BROKEN, text)
    text = unicodedata.normalize("NFKC", text).replace("\f", "\n")
    text = re.sub(r"[\x01-\x08\x0b\x0e-\x1f\x7f]", "", text)
    return re.sub(r"[ \t]+\n", "\n", text).strip("\n")


def with_words_mended(pages: list[str]) -> list[str]:
    """The pages with each BROKEN decided: "transporta-tion" was one word, "out-of-network" and "COVID-19" were not.

    The document itself tells. Joined, when the whole word stands elsewhere in it, or when a part of it nowhere does;
    with a hyphen, when the joint is no lower-case word's, or when both parts are words of the document.
    """
    if not any(BROKEN in page for page in pages):
        return pages
    words = Counter(word for page in pages for word in re.findall(r"[^\W_]+", page.replace(BROKEN, " ").casefold()))
    pairs = [pair for page in pages for pair in _BROKEN_WORD.findall(page)]
    parts = Counter(part.casefold() for pair in pairs for part in pair)

    def mend(match: re.Match[str]) -> str:
        left, right = match.groups()
        if not left or not right:
            return left + right
        whole, first, second = (left + right).casefold(), left.casefold(), right.casefold()
        if not (left[-1].islower() and right.islower()):
            hyphen = True
        elif words[whole]:
            hyphen = False
        else:  # a word that only ever stands at such a joint is no word of its own
            hyphen = words[first] > parts[first] and words[second] > parts[second]
        return f"{left}-{right}" if hyphen else left + right

    return [_BROKEN_WORD.sub(mend, page).replace(BROKEN, "") for page in pages]


def without_running_lines(pages: list[str]) -> list[str]:
    """The pages without lines that repeat at the edge of at least 40 % of them.

    Each number in such a line stays the same or grows with the page ("Page 3 of 7"): lines that differ in other numbers
    say something. A page never loses all its lines.
    """
    if len(pages) < FEWEST_PAGES:
        return pages
    lines = [page.split("\n") for page in pages]
    seen: Counter[tuple[str, tuple[int, ...]]] = Counter()
    for number, page in enumerate(lines):
        seen.update({key for i in _edges(page) for key in _keys(page[i], number)})
    running = {key for key, count in seen.items() if count >= max(2, REPEATED * len(pages))}
    kept = []
    for number, page in enumerate(lines):
        drop = {i for i in _edges(page) if not running.isdisjoint(_keys(page[i], number))}
        left = "\n".join(line for i, line in enumerate(page) if i not in drop).strip("\n")
        kept.append(left if left.strip() else "\n".join(page))
    return kept


def _edges(page: list[str]) -> set[int]:
    filled = [i for i, line in enumerate(page) if line.strip()]
    return {*filled[:EDGE_LINES], *filled[-EDGE_LINES:]}


def _keys(line: str, page: int) -> set[tuple[str, tuple[int, ...]]]:
    """The line without its numbers, beside these: each as it is, or less the page's index where it may count pages.

    Two lines that run on share a key. Lines with many numbers are tables and have no key but themselves.
    """
    text = " ".join(line.split()).casefold()
    if not text:
        return set()
    figures = [int(figure) for figure in re.findall(r"\d{1,9}", text)]
    shape = re.sub(r"\d{1,9}", "0", text)
    keys = {(shape, tuple(figures))}
    if len(figures) <= MOST_FIGURES:
        keys |= {(f"{shape}@{i}", (*figures[:i], figure - page, *figures[i + 1 :])) for i, figure in enumerate(figures)}
    return keys


def _reason(error: Any, path: Path) -> Exception:
    code = getattr(error, "err_code", None)
    if code == PASSWORD_ERROR or "password" in str(error).lower():
        return Protected("the PDF is encrypted with a password")
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 2048))
        is_cut = b"%%EOF" not in file.read()
    return Damaged("the PDF is damaged" + (": its end is missing, it may not be completely written" if is_cut else ""))
