"""Scanned pages: read by tesseract where that is installed and asked for, otherwise refused with what to do."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pypdfium2
import pytest
from reportlab.lib.pagesizes import A5
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

from loaders.errors import NoText
from loaders.ocr import Reading
from loaders.registry import Limits
from tests.folder import settle, write_pdf
from tests.loaders.conftest import ReadFile

needs_tesseract = pytest.mark.skipif(not shutil.which("tesseract"), reason="tesseract is not installed here")
ENGLISH = Limits(reading=Reading("eng"))


def scan(folder: Path, name: str, pages: list[str], last: str = "") -> Path:
    """A PDF of pictures of these pages, and perhaps a last page with a text layer."""
    canvas = Canvas(str(folder / name), pagesize=A5)
    with pypdfium2.PdfDocument(write_pdf(folder, "typed.pdf", pages)) as typed:
        for page in typed:
            picture = io.BytesIO()
            page.render(scale=200 / 72).to_pil().save(picture, "PNG")
            canvas.drawImage(ImageReader(picture), 0, 0, *A5)
            canvas.showPage()
    if last:
        canvas.drawString(40, 500, last)
        canvas.showPage()
    canvas.save()
    return settle(folder / name)


@needs_tesseract
def test_pictures_of_pages_are_read_and_said_to_be(tmp_path: Path, read: ReadFile) -> None:
    scan(
        tmp_path,
        "scan.pdf",
        ["The ferry leaves the harbour at eight.", ""],
        last="This page has a text layer of its own already.",
    )
    loaded = read("scan.pdf", None, ENGLISH)
    assert [(chunk.page, " ".join(chunk.text.split())) for chunk in loaded.chunks] == [
        (1, "The ferry leaves the harbour at eight."),
        (3, "This page has a text layer of its own already."),
    ]
    assert loaded.warnings == ("no text on 1 of 3 pages: 2", "text by OCR on 1 of 3 pages: 1")


@needs_tesseract
def test_when_its_time_is_used_up_the_rest_is_left_out(tmp_path: Path, read: ReadFile) -> None:
    scan(tmp_path, "scan.pdf", ["The ferry leaves the harbour at eight."])
    with pytest.raises(NoText, match="OCR found no text in them"):
        read("scan.pdf", None, Limits(reading=Reading("eng", 0.0)))


def test_without_it_the_reason_says_what_to_do(tmp_path: Path, read: ReadFile, monkeypatch: pytest.MonkeyPatch) -> None:
    scan(tmp_path, "scan.pdf", ["The ferry leaves the harbour at eight."])
    with pytest.raises(NoText, match=r"no text layer.*set OCR=on where tesseract is installed"):
        read("scan.pdf")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoText, match="OCR is on, but tesseract is not installed"):
        read("scan.pdf", None, ENGLISH)
