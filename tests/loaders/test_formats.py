"""Slides, spreadsheets, e-books, reStructuredText, and what HTML can hold: headings, tables, code, FAQs."""

from __future__ import annotations

import io
import json
import zipfile
from datetime import datetime
from pathlib import Path

import pytest
from openpyxl import Workbook
from pptx import Presentation
from pptx.util import Inches

from loaders.errors import Damaged, NoText, Protected, TooLarge, UnsupportedFormat
from loaders.registry import Limits
from tests.loaders.archives import zip_of
from tests.loaders.conftest import ReadFile


def test_slides_are_pages_with_titles_tables_and_notes(tmp_path: Path, read: ReadFile) -> None:
    deck = Presentation()
    first = deck.slides.add_slide(deck.slide_layouts[1])
    first.shapes.title.text = "The plan"
    first.placeholders[1].text = "Build the harbour\nThen the pier"
    first.notes_slide.notes_text_frame.text = "Say it slowly."
    second = deck.slides.add_slide(deck.slide_layouts[5])
    second.shapes.title.text = "Costs"
    table = second.shapes.add_table(2, 2, Inches(1), Inches(2), Inches(4), Inches(1)).table
    for row, cells in enumerate([("Item", "Price"), ("Stone", "900 | 950")]):
        for column, text in enumerate(cells):
            table.cell(row, column).text = text
    deck.save(str(tmp_path / "a.pptx"))
    loaded = read("a.pptx")
    assert (loaded.format, loaded.pages) == ("pptx", 2)
    assert [(chunk.page, chunk.heading) for chunk in loaded.chunks] == [(1, ("The plan",)), (2, ("Costs",))]
    assert "- Build the harbour\n- Then the pier" in loaded.chunks[0].text
    assert "Say it slowly." in loaded.chunks[0].text
    assert "| Item | Price |\n|---|---|\n| Stone | 900 / 950 |" in loaded.text
    with pytest.raises(TooLarge, match="2 slides"):
        read("a.pptx", None, Limits(max_pages=1))


def save(book: Workbook, path: Path) -> None:
    book.save(str(path))


def test_spreadsheets_are_rows_with_their_headers(tmp_path: Path, read: ReadFile) -> None:
    book = Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.title = "Prices"
    for row in (["Item", "Price", "Since"], ["Tea", 3.0, datetime(2024, 5, 1)], [], ["Cake", 4.5, None]):  # noqa: DTZ001
        sheet.append(row)
    book.create_sheet("Empty")
    hours = book.create_sheet("Hours")
    hours.append(["Day", "Open"])
    hours.append(["Monday", "8 to 17"])
    save(book, tmp_path / "a.xlsx")
    loaded = read("a.xlsx")
    assert loaded.format == "xlsx"
    assert loaded.text == (
        "Item: Tea\nPrice: 3\nSince: 2024-05-01\n\nItem: Cake\nPrice: 4.5\n\nDay: Monday\nOpen: 8 to 17\n\n"
    )
    assert loaded.chunks[-1].heading == ("Hours",)
    with pytest.raises(TooLarge, match="MAX_SOURCE_CHARS"):
        read("a.xlsx", None, Limits(max_chars=20))


def test_a_spreadsheet_of_questions_is_an_faq(tmp_path: Path, read: ReadFile) -> None:
    book = Workbook()
    sheet = book.active
    assert sheet is not None
    for row in (["Question", "Answer"], ["Is it free?", "Yes."], ["Is it blue?", None]):
        sheet.append(row)
    save(book, tmp_path / "a.xlsx")
    loaded = read("a.xlsx")
    assert (loaded.format, loaded.warnings) == ("faq", ("row 3: no answer",))
    assert [(chunk.kind, chunk.heading) for chunk in loaded.chunks] == [("faq", ("Is it free?",))]


def epub(chapters: dict[str, str], extra: dict[str, str] | None = None) -> bytes:
    buffer = io.BytesIO()
    items = "".join(f'<item id="{name}" href="text/{name}.xhtml"/>' for name in chapters)
    spine = "".join(f'<itemref idref="{name}"/>' for name in reversed(chapters))
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("mimetype", "application/epub+zip")
        archive.writestr(
            "META-INF/container.xml",
            '<?xml version="1.0"?><container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
            '<rootfile full-path="OEBPS/book.opf"/></rootfiles></container>',
        )
        archive.writestr(
            "OEBPS/book.opf",
            '<?xml version="1.0"?><package xmlns="http://www.idpf.org/2007/opf" '
            'xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata><dc:title>The  Sea</dc:title></metadata>'
            f"<manifest>{items}</manifest><spine>{spine}</spine></package>",
        )
        for name, body in chapters.items():
            archive.writestr(f"OEBPS/text/{name}.xhtml", f'<?xml version="1.0"?><html><body>{body}</body></html>')
        for name, content in (extra or {}).items():
            archive.writestr(name, content)
    return buffer.getvalue()


def test_an_e_book_is_its_chapters_in_the_order_of_reading(read: ReadFile) -> None:
    chapters = {
        "two": "<h1>Storms</h1><p>They pass quickly.</p>",
        "one": "<h1>Whales</h1><p>Whales sing for hours.</p>",
    }
    loaded = read("a.epub", epub(chapters))
    assert (loaded.format, loaded.title) == ("epub", "The Sea")
    assert [(chunk.heading, chunk.text) for chunk in loaded.chunks] == [
        (("Whales",), "Whales sing for hours."),
        (("Storms",), "They pass quickly."),
    ]
    drm = {"META-INF/encryption.xml": "<x/>", "META-INF/rights.xml": "<x/>"}
    with pytest.raises(Protected):
        read("b.epub", epub(chapters, drm))


RST = """
The tower
=========

Intro with ``code``.

Opening
-------

::

    def opens():
        return 8

+------+-------+
| Day  | Opens |
+======+=======+
| Mon  | 8     |
+------+-------+

* by bus
* on foot

.. include:: /etc/hostname
.. raw:: html
   :file: /etc/hostname
"""


def test_restructured_text_keeps_headings_code_and_tables_and_includes_nothing(read: ReadFile) -> None:
    loaded = read("a.rst", RST)
    assert (loaded.format, loaded.title) == ("rst", "The tower")
    assert "def opens():\n    return 8" in loaded.text
    assert "| Day | Opens |\n|---|---|\n| Mon | 8 |" in loaded.text
    assert "- by bus\n- on foot" in loaded.text
    assert Path("/etc/hostname").read_text().strip() not in loaded.text
    assert loaded.chunks[-1].heading == ("The tower", "Opening")


def faq_page(*pairs: tuple[str, str]) -> str:
    questions = [
        {"@type": "Question", "name": question, "acceptedAnswer": {"@type": "Answer", "text": answer}}
        for question, answer in pairs
    ]
    data = {"@graph": [{"@type": "WebPage"}, {"@type": ["FAQPage"], "mainEntity": questions}]}
    visible = "".join(f"<h2>{question}</h2><p>{answer}</p>" for question, answer in pairs)
    return (
        f"<!doctype html><html><head><script type='application/ld+json'>{json.dumps(data)}</script></head>"
        f"<body><h1>Help</h1>{visible}<p>Write to us at any time.</p></body></html>"
    )


def test_questions_that_a_page_tells_as_linked_data_are_an_faq(read: ReadFile) -> None:
    loaded = read("help.html", faq_page(("Is it free?", "Yes, <b>always</b>."), ("Is it blue?", "No.")))
    assert loaded.format == "faq"
    pairs = [chunk for chunk in loaded.chunks if chunk.kind == "faq"]
    assert [(chunk.heading, chunk.text) for chunk in pairs] == [
        (("Is it free?",), "Is it free?\nYes, always."),
        (("Is it blue?",), "Is it blue?\nNo."),
    ]
    assert loaded.text.count("Is it free?") == 1, "what the page shows of it again is left out"
    assert "Write to us at any time." in loaded.text


@pytest.mark.parametrize(
    "data", ["{", "[]", '{"@type": "FAQPage"}', '{"@type": "FAQPage", "mainEntity": [1, {}]}', "[" * 9999]
)
def test_linked_data_that_is_no_faq_is_no_harm(read: ReadFile, data: str) -> None:
    page = f"<html><script type=application/ld+json>{data}</script><p>The office opens at eight.</p></html>"
    loaded = read("a.html", page)
    assert (loaded.format, loaded.text.strip()) == ("html", "The office opens at eight.")


def test_html_tables_code_and_lists_stay_readable(read: ReadFile) -> None:
    page = (
        "<h1>T</h1><table><thead><tr><th>Day</th><th>Opens</th></tr></thead><tr><td>Mon</td><td>8</td></tr></table>"
        "<pre><code>def f():\n    return 1\n</code></pre><ul><li>one</li><li>two</li></ul>"
    )
    loaded = read("a.html", page)
    assert "| Day | Opens |\n|---|---|\n| Mon | 8 |" in loaded.text
    assert "def f():\n    return 1" in loaded.text
    assert "- one\n- two" in loaded.text


@pytest.mark.parametrize(
    ("name", "content", "kind", "reason"),
    [
        ("a.xlsx", zip_of(**{"xl/workbook.xml": "<x/>"}), Damaged, "spreadsheet cannot be read"),
        ("a.pptx", zip_of(**{"ppt/presentation.xml": "<x/>"}), Damaged, "slides cannot be read"),
        ("a.epub", zip_of(mimetype="application/epub+zip"), Damaged, "epub file cannot be read"),
        ("a.epub", epub({}), NoText, "no text was found"),
        ("a.xlsx", b"a,b\n1,2\n", Damaged, "not a spreadsheet, although its name says so"),
        ("a.pptx", b"PK\x03\x04 cut", Damaged, "the presentation is damaged or not completely written"),
        ("a.docx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), Protected, "encrypted with a password"),
        ("a.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), UnsupportedFormat, "old Office file"),
        ("a.odt", zip_of(mimetype="application/vnd.oasis.opendocument.text"), UnsupportedFormat, "archive"),
    ],
)
def test_what_cannot_be_read_says_why(
    read: ReadFile, name: str, content: bytes, kind: type[Exception], reason: str
) -> None:
    with pytest.raises(kind, match=reason):
        read(name, content)


def test_a_format_is_told_by_content_not_by_name(tmp_path: Path, read: ReadFile) -> None:
    book = Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append(["Item", "Price"])
    sheet.append(["Tea", 3])
    save(book, tmp_path / "report.docx")
    assert read("report.docx").format == "xlsx"
    assert read("page.txt", "<!DOCTYPE html><html><p>The office opens at eight.</p></html>").format == "html"
