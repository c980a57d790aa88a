"""Slides by python-pptx: one page a slide, its title as heading, shapes from top to bottom, tables as rows, then notes.

Runs in the parsing process only.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import Document

from loaders.errors import Damaged, NoText, TooLarge
from loaders.office import as_table
from loaders.text import over_limit

DEEPEST = 10  # groups in groups


class SlidesLoader(BaseLoader):
    """Documents with `page` counted from 1. `title` and `pages` are set after loading."""

    def __init__(self, path: Path, max_pages: int, max_chars: int) -> None:
        self.path = path
        self.max_pages = max_pages
        self.max_chars = max_chars
        self.title = ""
        self.pages = 0

    def lazy_load(self) -> Iterator[Document]:
        from pptx import Presentation

        try:
            presentation = Presentation(str(self.path))
            slides = list(presentation.slides)
            self.title = " ".join(str(presentation.core_properties.title or "").split())
        except Exception as error:
            raise Damaged(f"the slides cannot be read ({type(error).__name__})") from error
        self.pages = len(slides)
        if self.pages > self.max_pages:
            raise TooLarge(f"{self.pages:,} slides; the limit is {self.max_pages:,} (MAX_PDF_PAGES). Split the file.")
        start = 0
        for number, slide in enumerate(slides, start=1):
            heading = _title(slide)
            for text, kind in _parts(slide):
                content = text.replace("\x00", "\ufffd").replace("\v", "\n") + "\n\n"
                start += len(content)
                if start > self.max_chars:
                    raise TooLarge(over_limit(start, self.max_chars))
                yield Document(
                    page_content=content,
                    metadata={
                        "start": start - len(content),
                        "page": number,
                        "heading": [heading] if heading else [],
                        "kind": kind,
                    },
                )
        if start == 0:
            raise NoText("no text was found on the slides")


def _title(slide: Any) -> str:
    shape = slide.shapes.title
    return " ".join(shape.text_frame.text.split()) if shape is not None and shape.has_text_frame else ""


def _parts(slide: Any) -> Iterator[tuple[str, str]]:
    title = slide.shapes.title
    if _title(slide):
        yield _title(slide), "heading"
    shapes = [shape for shape in slide.shapes if title is None or shape.shape_id != title.shape_id]
    for shape in sorted(shapes, key=lambda shape: (shape.top or 0, shape.left or 0)):
        yield from _texts(shape)
    if slide.has_notes_slide and (notes := slide.notes_slide.notes_text_frame) is not None and notes.text.strip():
        yield notes.text.strip(), "text"


def _texts(shape: Any, depth: int = 0) -> Iterator[tuple[str, str]]:
    if getattr(shape, "shapes", None) is not None and depth < DEEPEST:
        for inner in shape.shapes:
            yield from _texts(inner, depth + 1)
    elif getattr(shape, "has_table", False):
        rows = [[" ".join(cell.text.split()).replace("|", "/") for cell in row.cells] for row in shape.table.rows]
        if any(any(row) for row in rows):
            yield as_table(rows), "table"
    elif getattr(shape, "has_text_frame", False):
        lines = [(paragraph.level, " ".join(paragraph.text.split())) for paragraph in shape.text_frame.paragraphs]
        text = "\n".join(f"{'  ' * level}- {line}" if len(lines) > 1 else line for level, line in lines if line)
        if text:
            yield text, "text"
