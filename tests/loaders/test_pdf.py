"""PDF: pages counted from 1, clean text, running lines dropped, and a reason for every file that gives no text."""

from __future__ import annotations

from pathlib import Path

import pytest
from pypdf import PdfReader, PdfWriter
from reportlab.lib.pagesizes import A5
from reportlab.pdfgen.canvas import Canvas

from loaders.errors import Damaged, LoadError, NoText, Protected, TooLarge
from loaders.pdf import clean, with_words_mended, without_running_lines
from loaders.registry import Limits
from tests.folder import write_pdf
from tests.loaders.conftest import ReadFile


def test_each_page_has_its_number_and_its_text(tmp_path: Path, read: ReadFile) -> None:
    write_pdf(tmp_path, "a.pdf", ["Apples are red.", "Pears are green."])
    loaded = read("a.pdf")
    assert [(chunk.text, chunk.page) for chunk in loaded.chunks] == [("Apples are red.", 1), ("Pears are green.", 2)]
    assert (loaded.format, loaded.pages, loaded.warnings) == ("pdf", 2, ())


def test_lines_that_run_through_the_pages_are_dropped(tmp_path: Path, read: ReadFile) -> None:
    rules = [f"Staff have {10 * i} days of leave after {i * i} years." for i in range(1, 7)]
    pages = [f"Staff handbook 2024\n{rule}\nPage {i} of 6" for i, rule in enumerate(rules, start=1)]
    write_pdf(tmp_path, "a.pdf", pages)
    assert [chunk.text for chunk in read("a.pdf").chunks] == rules


def test_a_page_never_loses_all_its_lines() -> None:
    pages = ["Confidential"] * 4 + ["Confidential\nSome text."]
    assert without_running_lines(pages) == ["Confidential"] * 4 + ["Some text."]


def test_short_documents_keep_every_line() -> None:
    pages = ["Same line\nOne", "Same line\nTwo"]
    assert without_running_lines(pages) == pages


def test_control_characters_and_ligatures_are_resolved() -> None:
    assert clean("a\x07b \r\nof\ufb01ce\x00") == "ab\noffice\ufffd"


@pytest.mark.parametrize("hyphen", ["\x02", "\ufffe", "\ufffe\n", "\u00ad\r\n", "-\n"])
def test_words_broken_at_a_line_end_are_mended_as_the_document_writes_them(hyphen: str) -> None:
    pages = [
        "The transporta@tion of an out-of@network provider, non@GAAP, COVID@19, every@one.".replace("@", hyphen),
        "Part of the network. For every day, one of everyone. A provider out of reach.",
    ]
    assert with_words_mended([clean(page) for page in pages])[0] == (
        "The transportation of an out-of-network provider, non-GAAP, COVID-19, everyone."
    )


def test_a_page_without_text_is_a_warning(tmp_path: Path, read: ReadFile) -> None:
    write_pdf(tmp_path, "a.pdf", ["Apples are red.", "", "Pears are green."])
    loaded = read("a.pdf")
    assert loaded.warnings == ("no text on 1 of 3 pages: 2",)
    assert [chunk.page for chunk in loaded.chunks] == [1, 3]


def test_a_scanned_pdf_says_that_it_has_no_text_layer(tmp_path: Path, read: ReadFile) -> None:
    canvas = Canvas(str(tmp_path / "scan.pdf"), pagesize=A5)
    for _ in range(2):
        canvas.rect(50, 50, 200, 300, fill=1)
        canvas.showPage()
    canvas.save()
    with pytest.raises(NoText, match="scanned"):
        read("scan.pdf")


def encrypt(path: Path, user: str, owner: str) -> None:
    writer = PdfWriter(clone_from=PdfReader(path))
    writer.encrypt(user, owner, algorithm="RC4-128")
    writer.write(path)


def test_a_pdf_that_needs_a_password_says_so(tmp_path: Path, read: ReadFile) -> None:
    encrypt(write_pdf(tmp_path, "a.pdf", ["Secret."]), "user", "owner")
    with pytest.raises(Protected, match="password"):
        read("a.pdf")


def test_a_pdf_that_only_forbids_changes_is_read(tmp_path: Path, read: ReadFile) -> None:
    encrypt(write_pdf(tmp_path, "a.pdf", ["Not secret."]), "", "owner")
    assert read("a.pdf").chunks[0].text == "Not secret."


def test_a_half_written_pdf_says_that_its_end_is_missing(tmp_path: Path, read: ReadFile) -> None:
    whole = write_pdf(tmp_path, "a.pdf", ["Apples."] * 5).read_bytes()
    with pytest.raises(Damaged, match="not be completely written"):
        read("b.pdf", whole[:400])


@pytest.mark.parametrize("content", [b"%PDF-1.7\n", b"%PDF-1.4\n%%EOF", b"%PDF-" + bytes(5000)])
def test_a_pdf_with_nothing_in_it_is_damaged(read: ReadFile, content: bytes) -> None:
    with pytest.raises(LoadError):
        read("a.pdf", content)


@pytest.mark.parametrize("content", [b"just text", b"\x89PNG\r\n\x1a\n", bytes(3000), b"<html></html>"])
def test_what_is_no_pdf_says_so(read: ReadFile, content: bytes) -> None:
    with pytest.raises(Damaged, match="not a PDF, although its name says so"):
        read("a.pdf", content)


def test_a_pdf_by_another_name_is_read_as_what_it_is(tmp_path: Path, read: ReadFile) -> None:
    write_pdf(tmp_path, "report.txt", ["Apples are red."])
    assert read("report.txt").format == "pdf"


def test_too_many_pages_and_too_much_text_name_the_limit(tmp_path: Path, read: ReadFile) -> None:
    write_pdf(tmp_path, "a.pdf", ["Apples are red."] * 3)
    with pytest.raises(TooLarge, match="MAX_PDF_PAGES"):
        read("a.pdf", limits=Limits(max_pages=2))
    with pytest.raises(TooLarge, match="MAX_SOURCE_CHARS"):
        read("a.pdf", limits=Limits(max_chars=20))
