"""A watched folder as tests write it: every file is long settled, and every write is seen as a change."""

from __future__ import annotations

import itertools
import os
import time
from pathlib import Path

from reportlab.lib.pagesizes import A5
from reportlab.pdfgen.canvas import Canvas

_ticks = itertools.count()
_BEGAN = time.time() - 100_000


def settle(path: Path) -> Path:
    """Give the file a modification time that lies in the past and differs from every other."""
    moment = _BEGAN + next(_ticks)
    os.utime(path, (moment, moment))
    return path


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return settle(path)


def write_pdf(folder: Path, name: str, pages: list[str]) -> Path:
    """A PDF with a text layer, one string a page, lines at its newlines."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas = Canvas(str(path), pagesize=A5, invariant=True)
    for page in pages:
        text = canvas.beginText(40, 540)
        for line in page.split("\n"):
            text.textLine(line)
        canvas.drawText(text)
        canvas.showPage()
    canvas.save()
    return settle(path)
