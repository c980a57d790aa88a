"""Every kind of file is read, or says why it is not."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
from docx import Document as WordDocument
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loaders.errors import Damaged, LoadError, NoText, TooLarge, UnsupportedFormat
from loaders.registry import Limits, title_from
from tests.loaders.archives import zip_of
from tests.loaders.conftest import ReadFile


def test_text_in_any_encoding_is_read(read: ReadFile) -> None:
    text = "Müller's café opens at 8. Straße, naïve."
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "cp1252"):
        assert read(f"{encoding}.txt", text.encode(encoding)).text == text
    assert read("no suffix", text).format == "text"


def test_nul_in_a_text_is_replaced_because_databases_refuse_it(read: ReadFile) -> None:
    assert read("a.txt", "before\x00after " * 3 + "plain text " * 50).text.startswith("before\ufffdafter")


@pytest.mark.parametrize(("name", "content"), [("a.md", b""), ("a.pdf", b""), ("a.txt", b" \n\t "), ("a.csv", b"\n\n")])
def test_an_empty_file_says_so(read: ReadFile, name: str, content: bytes) -> None:
    with pytest.raises(NoText, match="the file is empty"):
        read(name, content)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.png", b"\x89PNG\r\n\x1a\n" + bytes(100), "picture"),
        ("a.doc", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(100), "docx"),
        ("a.zip", zip_of(x="y"), "archive"),
        ("a.bin", bytes(range(256)) * 20, "binary"),
        ("a.md", bytes(range(256)) * 20, "binary"),
        ("a", b"\x7fELF" + bytes(100), "program"),
    ],
)
def test_a_format_that_is_not_read_says_what_it_is(read: ReadFile, name: str, content: bytes, reason: str) -> None:
    with pytest.raises(UnsupportedFormat, match=reason):
        read(name, content)


def test_a_text_that_is_too_long_names_the_limit(read: ReadFile) -> None:
    with pytest.raises(TooLarge, match="MAX_SOURCE_CHARS"):
        read("a.txt", b"word " * 10_000, Limits(max_chars=1_000))
    with pytest.raises(TooLarge, match="MAX_FILE_BYTES"):
        read("a.txt", b"word " * 10_000, Limits(max_file_bytes=1_000))


def test_html_has_headings_and_neither_scripts_nor_menus(read: ReadFile) -> None:
    page = (
        "<!doctype html><html><head><title>T</title><script>evil()</script></head><body>"
        "<h1>Leave</h1><p>Parental leave is 16 weeks long.</p><h2>Notice</h2><p>Give notice of eight weeks.</p>"
        '<img src="http://192.0.2.1/x.png"></body></html>'
    )
    loaded = read("a.html", page)
    assert loaded.format == "html"
    assert [(chunk.heading, chunk.text) for chunk in loaded.chunks] == [
        (("Leave",), "Parental leave is 16 weeks long."),
        (("Leave", "Notice"), "Give notice of eight weeks."),
    ]


def test_a_word_document_has_headings_and_tables(tmp_path: Path, read: ReadFile) -> None:
    word = WordDocument()
    word.add_heading("Leave", 1)
    word.add_paragraph("Parental leave is 16 weeks long.")
    table = word.add_table(rows=2, cols=2)
    for row, values in zip(table.rows, [("who", "weeks"), ("all", "16")], strict=True):
        for cell, value in zip(row.cells, values, strict=True):
            cell.text = value
    word.save(str(tmp_path / "a.docx"))
    loaded = read("a.docx")
    assert loaded.format == "docx"
    assert loaded.chunks[0].heading == ("Leave",)
    assert "Parental leave is 16 weeks long." in loaded.chunks[0].text
    assert "| who | weeks |\n|---|---|\n| all | 16 |" in loaded.text


def test_mail_is_read(read: ReadFile) -> None:
    mail = (
        "From: a@example.org\nTo: b@example.org\nSubject: Office\nContent-Type: text/plain\n\nThe office opens at 8.\n"
    )
    assert "The office opens at 8." in read("a.eml", mail).text


@pytest.mark.parametrize("name", ["a.docx", "a.zip"])
def test_a_cut_archive_is_damaged(read: ReadFile, name: str) -> None:
    with pytest.raises(Damaged, match="not completely written"):
        read(name, zip_of(**{"word/document.xml": "<x/>" * 50})[:60])


def test_a_word_document_with_rubbish_inside_is_damaged(read: ReadFile) -> None:
    with pytest.raises(Damaged):
        read("a.docx", zip_of(**{"word/document.xml": "<x"}))
    with pytest.raises(Damaged, match="not a Word document"):
        read("a.docx", b"just text")


def test_a_document_that_unpacks_to_gigabytes_is_refused(read: ReadFile) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", bytes(20_000_000))
    with pytest.raises(TooLarge, match="unpacked"):
        read("a.docx", buffer.getvalue(), Limits(max_file_bytes=10_000_000))


def test_a_title_comes_from_the_file_name() -> None:
    assert title_from("hr/Staff_handbook-2024.v2.pdf") == "Staff handbook 2024 v2"


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["a.md", "a.csv", "a.tsv", "a.json", "a.yaml", "a.txt", "a.pdf", "a.docx", "a.rst", "a.html", "a"]),
    st.binary(max_size=300) | st.text(max_size=200).map(str.encode),
)
def test_any_bytes_under_any_name_are_read_or_refused_with_a_reason(read: ReadFile, name: str, content: bytes) -> None:
    try:
        assert read(name, content).chunks
    except LoadError as error:
        assert str(error)  # noqa: PT017 (both ends are right here)
