"""HTML, Word documents, mail, e-books and reStructuredText: the long tail of formats, through unstructured.

Runs in the parsing process only: the import costs a second and 170 MB. The source text is the elements joined by blank
lines, tables as rows between bars; headings come from its titles and their depth. reStructuredText becomes HTML first
(docutils, which may neither include files nor pass markup through), an e-book is its HTML chapters in their order.
"""

from __future__ import annotations

import json
import os
import posixpath
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import Document

from loaders.errors import Damaged, LoadError, NoText, Protected, TooLarge
from loaders.faq import FAQLoader
from loaders.text import over_limit, read_text

# Read before unstructured is imported: nothing is reported to anybody.
SILENCE = {"DO_NOT_TRACK": "1", "SCARF_NO_ANALYTICS": "1", "UNSTRUCTURED_DISABLE_NOTICE": "1"}
LEFT_OUT = ("Header", "Footer", "PageBreak", "PageNumber", "Image")
RST = {
    "file_insertion_enabled": False,
    "raw_enabled": False,
    "_disable_config": True,
    "report_level": 5,
    "halt_level": 5,
    "embed_stylesheet": False,
    "syntax_highlight": "none",
    "line_length_limit": 1_000_000,
}
CONTAINER, OPF, DC = (
    "{urn:oasis:names:tc:opendocument:xmlns:container}",
    "{http://www.idpf.org/2007/opf}",
    "{http://purl.org/dc/elements/1.1/}",
)
_LINKED_DATA = re.compile(
    r"<script[^>]*type\s*=\s*[\"']?application/ld\+json[\"']?[^>]*>(.*?)</script\s*>", re.IGNORECASE | re.DOTALL
)


class OfficeLoader(BaseLoader):
    """Documents of one element each. `kind`: html, docx, email, epub or rst. `title` is set after loading; `is_faq`
    says whether an HTML page told its questions and answers as schema.org's FAQPage.
    """

    def __init__(self, path: Path, kind: str, max_chars: int) -> None:
        self.path = path
        self.kind = kind
        self.max_chars = max_chars
        self.title = ""
        self.is_faq = False

    def lazy_load(self) -> Iterator[Document]:
        pairs = self._load_pairs() if self.kind == "html" else []
        yield from pairs
        start = sum(len(pair.page_content) for pair in pairs)
        told = {" ".join(part.split()) for pair in pairs for part in pair.page_content.strip().split("\n")}
        heading: list[tuple[int, str]] = []
        for element in self._partition():
            text, kind = _content(element)
            if not text or element.category in LEFT_OUT or " ".join(text.split()) in told:
                continue
            if element.category == "Title":
                kind = "heading"
                depth = element.metadata.category_depth or 0
                heading = [above for above in heading if above[0] < depth]
                heading.append((depth, " ".join(text.split())))
                self.title = self.title or heading[0][1]
            content = text + ("\n" if element.category == "ListItem" else "\n\n")
            if start + len(content) > self.max_chars:
                raise TooLarge(over_limit(start + len(content), self.max_chars))
            metadata = {"start": start, "page": None, "heading": [name for _, name in heading], "kind": kind}
            yield Document(page_content=content, metadata=metadata)
            start += len(content)
        if start == 0:
            raise NoText("no text was found in it")

    def _load_pairs(self) -> list[Document]:
        found = [
            data for text in _LINKED_DATA.findall(read_text(self.path, self.max_chars)) for data in _faq_pages(text)
        ]
        if not found:
            return []
        self.is_faq = True
        return FAQLoader(self.path, "json", self.max_chars).render(found)

    def _partition(self) -> Iterator[Any]:
        os.environ.update(SILENCE)
        _give_blank_language_model()
        try:
            if self.kind == "docx":
                from unstructured.partition.docx import partition_docx

                yield from partition_docx(filename=str(self.path))
            elif self.kind == "email":
                from unstructured.partition.email import partition_email

                yield from partition_email(filename=str(self.path))
            else:
                from unstructured.partition.html import partition_html

                for page in self._pages():
                    yield from partition_html(text=page)
        except LoadError:
            raise
        except Exception as error:
            raise Damaged(f"the {self.kind} file cannot be read ({type(error).__name__})") from error

    def _pages(self) -> Iterator[str]:
        """The HTML to read."""
        if self.kind == "epub":
            yield from self._chapters()
        elif self.kind == "rst":
            from docutils.core import publish_parts

            text = read_text(self.path, self.max_chars)
            yield publish_parts(text, writer="html5", settings_overrides=RST)["html_body"]
        else:
            yield read_text(self.path, self.max_chars)

    def _chapters(self) -> Iterator[str]:
        from lxml import etree

        # No entity is replaced, nothing is fetched.
        parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
        with zipfile.ZipFile(self.path) as archive:
            if "META-INF/encryption.xml" in archive.namelist() and "META-INF/rights.xml" in archive.namelist():
                raise Protected("the e-book is protected against copying")
            container = etree.fromstring(archive.read("META-INF/container.xml"), parser)
            root = next(container.iter(f"{CONTAINER}rootfile")).get("full-path", "")
            package = etree.fromstring(archive.read(root), parser)
            if (title := package.find(f".//{DC}title")) is not None and title.text:
                self.title = " ".join(title.text.split())
            items = {item.get("id"): item.get("href", "") for item in package.iter(f"{OPF}item")}
            left = 4 * self.max_chars
            for reference in package.iter(f"{OPF}itemref"):
                name = posixpath.normpath(
                    posixpath.join(posixpath.dirname(root), unquote(items[reference.get("idref")]))
                )
                data = archive.read(name)
                left -= len(data)
                if left < 0:
                    raise TooLarge(over_limit(4 * self.max_chars - left, self.max_chars))
                yield re.sub(r"^\s*<\?xml[^>]*\?>", "", data.decode("utf-8", "replace"))


def _give_blank_language_model() -> None:
    """unstructured would download a spaCy model at its first use; sentences are all it needs here."""
    import spacy
    from unstructured.nlp import tokenize

    pipeline = spacy.blank("en")
    pipeline.add_pipe("sentencizer")
    tokenize._load_spacy_model = lambda: pipeline


def _content(element: Any) -> tuple[str, str]:
    """The element's text, and whether it is a table, code or plain text."""
    text = str(element.text or "").replace("\x00", "\ufffd").replace("\r\n", "\n").replace("\r", "\n")
    text = re.sub(r"[ \t]+\n", "\n", text)
    if element.category == "Table":
        return _rows(element.metadata.text_as_html) or text.strip(), "table"
    if element.category == "CodeSnippet":
        return text.strip("\n"), "code"
    return ("- " if element.category == "ListItem" else "") + text.strip(), "text"


def _rows(markup: str | None) -> str:
    """A table as markdown writes it, so that it is cut between rows and keeps its header."""
    if not markup:
        return ""
    from lxml import html

    rows = []
    for row in html.fragment_fromstring(markup, create_parent=True).iter("tr"):
        cells = (" ".join(" ".join(cell.itertext()).split()).replace("|", "/") for cell in row.iter("td", "th"))
        rows.append([cell.replace("\x00", "\ufffd") for cell in cells])
    return as_table([row for row in rows if any(row)])


def as_table(rows: list[list[str]]) -> str:
    """Rows of cells as a markdown table whose first row is its header."""
    if not rows:
        return ""
    width = max(map(len, rows))
    lines = [f"| {' | '.join([*row, *[''] * (width - len(row))])} |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * width, *lines[1:]]) if len(lines) > 1 else lines[0]


def _faq_pages(text: str) -> Iterator[dict[str, str]]:
    """The questions and answers of schema.org's FAQPage in a piece of linked data."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return
    found: list[Any] = [data]
    while found:
        node = found.pop(0)
        if isinstance(node, list):
            found = [*node, *found]
        elif isinstance(node, dict):
            if "FAQPage" in str(node.get("@type", "")):
                questions = node.get("mainEntity") or []
                for asked in questions if isinstance(questions, list) else [questions]:
                    if isinstance(asked, dict) and isinstance(answer := asked.get("acceptedAnswer"), dict | list):
                        texts = [
                            str(one.get("text", ""))
                            for one in (answer if isinstance(answer, list) else [answer])
                            if isinstance(one, dict)
                        ]
                        yield {"question": str(asked.get("name", "")), "answer": "\n".join(texts)}
            else:
                found = [*(value for value in node.values() if isinstance(value, dict | list)), *found]
