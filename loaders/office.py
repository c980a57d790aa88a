"""HTML, Word documents, mail and what else unstructured reads without torch: the long tail of formats.

Runs in the parsing process only: the import costs a second and 170 MB. The source text is the elements joined by blank
lines; headings come from its titles and their depth.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import Document

from loaders.errors import Damaged, LoadError, NoText, TooLarge
from loaders.text import over_limit

# Read before unstructured is imported: nothing is reported to anybody.
SILENCE = {"DO_NOT_TRACK": "1", "SCARF_NO_ANALYTICS": "1", "UNSTRUCTURED_DISABLE_NOTICE": "1"}
LEFT_OUT = ("Header", "Footer", "PageBreak", "PageNumber", "Image")


class OfficeLoader(BaseLoader):
    """Documents of one element each. `kind`: html, docx or email. `title` is set after loading."""

    def __init__(self, path: Path, kind: str, max_chars: int) -> None:
        self.path = path
        self.kind = kind
        self.max_chars = max_chars
        self.title = ""

    def lazy_load(self) -> Iterator[Document]:
        elements = self._partition()
        start = 0
        heading: list[tuple[int, str]] = []
        for element in elements:
            text = _text_of(element)
            if not text or element.category in LEFT_OUT:
                continue
            kind = "table" if element.category == "Table" else "text"
            if element.category == "Title":
                kind = "heading"
                depth = element.metadata.category_depth or 0
                heading = [above for above in heading if above[0] < depth]
                heading.append((depth, " ".join(text.split())))
                self.title = self.title or heading[0][1]
            content = text + "\n\n"
            if start + len(content) > self.max_chars:
                raise TooLarge(over_limit(start + len(content), self.max_chars))
            metadata = {"start": start, "page": None, "heading": [name for _, name in heading], "kind": kind}
            yield Document(page_content=content, metadata=metadata)
            start += len(content)
        if start == 0:
            raise NoText("no text was found in it")

    def _partition(self) -> list[Any]:
        try:
            elements: list[Any] = _partitioner(self.kind)(filename=str(self.path))
        except LoadError:
            raise
        except Exception as error:
            raise Damaged(f"the {self.kind} file cannot be read ({type(error).__name__})") from error
        return elements


def _partitioner(kind: str) -> Callable[..., list[Any]]:
    os.environ.update(SILENCE)
    _give_blank_language_model()
    if kind == "html":
        from unstructured.partition.html import partition_html

        return partition_html
    if kind == "docx":
        from unstructured.partition.docx import partition_docx

        return partition_docx
    from unstructured.partition.email import partition_email

    return partition_email


def _give_blank_language_model() -> None:
    """unstructured would download a spaCy model at its first use; sentences are all it needs here."""
    import spacy
    from unstructured.nlp import tokenize

    pipeline = spacy.blank("en")
    pipeline.add_pipe("sentencizer")
    tokenize._load_spacy_model = lambda: pipeline


def _text_of(element: Any) -> str:
    text = str(element.text or "").replace("\x00", "\ufffd").replace("\r\n", "\n").replace("\r", "\n")
    return re.sub(r"[ \t]+\n", "\n", text).strip()
