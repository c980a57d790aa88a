"""Files made to hurt: each is read, or refused with a reason, within its limits; the parser goes on."""

from __future__ import annotations

import io
import json
import os
import socket
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pypdf
import pytest
from docx import Document as WordDocument
from openpyxl import Workbook

from loaders.errors import Damaged, LoadError, NoText, ParserDied, Protected, TooLarge, UnsupportedFormat
from loaders.parser import Limits, Parser
from tests.folder import write, write_pdf
from tests.loaders.test_formats import epub
from vectorstore.embeddings import tokenizer_path

LAUGHS = (
    '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "lol">'
    + "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefghi", "bcdefghij", strict=True))
    + "]>"
)
SECRET = "the-secret-of-this-machine"


@pytest.fixture(scope="module")
def parser() -> Iterator[Parser]:
    with Parser(tokenizer_path(), Limits(seconds=25, max_chars=2_000_000, memory_bytes=1_200_000_000)) as parser:
        yield parser


@contextmanager
def listening() -> Iterator[tuple[str, list[bytes]]]:
    """An address, and what was ever asked of it."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    asked.append(connection.recv(1000))

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", asked
        server.shutdown(socket.SHUT_RDWR)


def rewritten(original: bytes, name: str, change: Callable[[str], str]) -> bytes:
    """The zip with one of its files changed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(original)) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.namelist():
            data = old.read(entry)
            new.writestr(entry, change(data.decode()) if entry == name else data)
    return buffer.getvalue()


def word(text: str = "Some text is here.") -> bytes:
    buffer = io.BytesIO()
    document = WordDocument()
    document.add_paragraph(text)
    document.save(buffer)
    return buffer.getvalue()


def sheet() -> bytes:
    buffer = io.BytesIO()
    book = Workbook()
    assert book.active is not None
    book.active.append(["Item", "Price"])
    book.active.append(["Tea", "3"])
    book.save(buffer)
    return buffer.getvalue()


def pdf_bytes(folder: Path, pages: list[str]) -> bytes:
    return write_pdf(folder, "made.pdf", pages).read_bytes()


def encrypted(folder: Path, user_password: str) -> bytes:
    writer = pypdf.PdfWriter()
    for page in pypdf.PdfReader(io.BytesIO(pdf_bytes(folder, ["The text of the page."]))).pages:
        writer.add_page(page)
    writer.encrypt(user_password, "owner")
    buffer = io.BytesIO()
    writer.write(buffer)
    return buffer.getvalue()


def many_pages(number: int) -> bytes:
    kids = " ".join("3 0 R" for _ in range(number))
    parts = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {number} >>",
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 200] >>",
    ]
    body = "".join(f"{i} 0 obj\n{part}\nendobj\n" for i, part in enumerate(parts, start=1))
    return f"%PDF-1.4\n{body}trailer << /Root 1 0 R /Size 4 >>\n%%EOF\n".encode()


def deflated(name: str, megabytes: int, **others: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for other, content in others.items():
            archive.writestr(other, content)
        with archive.open(name, "w", force_zip64=True) as file:
            for _ in range(megabytes):
                file.write(bytes(1 << 20))
    return buffer.getvalue()


def laughing_aliases() -> bytes:
    lines = [f"{b}: &{b} [{f'*{a},' * 9}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)]
    return "\n".join(["a: &a [x,x,x,x,x,x,x,x,x]", *lines]).encode()


REFUSED: dict[str, tuple[str, Callable[[Path], bytes], tuple[type[LoadError], ...]]] = {
    "PDF with a password": ("a.pdf", lambda folder: encrypted(folder, "user"), (Protected,)),
    "PDF cut in the middle": ("a.pdf", lambda folder: pdf_bytes(folder, ["Page."] * 20)[:900], (Damaged, NoText)),
    "PDF of rubbish": ("a.pdf", lambda _: b"%PDF-1.7\n" + os.urandom(5000), (Damaged,)),
    "PDF of 10,000 pages": ("a.pdf", lambda _: many_pages(10_000), (TooLarge,)),
    "Word, 300 MB unpacked": ("a.docx", lambda _: deflated("word/document.xml", 300), (TooLarge,)),
    "slides, 300 MB unpacked": ("a.pptx", lambda _: deflated("ppt/presentation.xml", 300), (TooLarge,)),
    "e-book with a chapter of 100 MB": (
        "a.epub",
        lambda _: rewritten(epub({"one": "x"}), "OEBPS/text/one.xhtml", lambda text: text + "<p>x</p>" * 12_000_000),
        (TooLarge, ParserDied),
    ),
    "Word with laughing entities": (
        "a.docx",
        lambda _: rewritten(
            word(), "word/document.xml", lambda text: LAUGHS + text.split("?>", 1)[1].replace("Some text", "&j;")
        ),
        (LoadError,),
    ),
    "sheet with laughing entities": (
        "a.xlsx",
        lambda _: rewritten(
            sheet(), "xl/worksheets/sheet1.xml", lambda text: LAUGHS + text.split("?>", 1)[-1].replace("Tea", "&j;")
        ),
        (LoadError,),
    ),
    "YAML with laughing aliases": (
        "a.yaml",
        lambda _: laughing_aliases(),
        (LoadError,),
    ),
    "HTML nested 20,000 deep": ("a.html", lambda _: b"<html>" + b"<div>" * 20_000 + b"Text.", (NoText,)),
    "two encodings in one text": (
        "a.txt",
        lambda _: b"The text. " + "Größe".encode("utf-16-le")[:-1],
        (UnsupportedFormat,),
    ),
    "JSON nested 100,000 deep": ("a.json", lambda _: b"[" * 100_000 + b"]" * 100_000, (Damaged,)),
    "YAML nested 100,000 deep": ("a.yaml", lambda _: b"[" * 100_000 + b"]" * 100_000, (LoadError,)),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_it_is_refused_with_a_reason(what: str, tmp_path: Path, parser: Parser) -> None:
    name, make, kinds = REFUSED[what]
    path = write(tmp_path, name, make(tmp_path))
    if what == "YAML with laughing aliases":
        # As text it is nine short lines; nothing of it is multiplied.
        assert len(parser.parse(path, name).text) < 1000
    else:
        with pytest.raises(kinds) as refused:
            parser.parse(path, name)
        assert str(refused.value)
        assert "Traceback" not in str(refused.value)
    assert parser.parse(write(tmp_path, "after.md", "# A\n\nText."), "after.md").chunks


READ: dict[str, tuple[str, Callable[[Path], bytes]]] = {
    "PDF whose owner forbids much": ("a.pdf", lambda folder: encrypted(folder, "")),
    "markdown of 50,000 brackets": ("a.md", lambda _: b"The text of the page.\n\n" + b"[" * 50_000),
    "markdown quoted 5,000 deep": ("a.md", lambda _: b"The text of the page.\n\n" + b">" * 5_000 + b" x"),
    "a line of 1,900,000 letters": ("a.txt", lambda _: b"The text of the page. " + b"x" * 1_900_000),
    "text with NUL and control characters": ("a.txt", lambda _: b"The text of the page.\x00\x01 " + b"and more " * 50),
    "text in a wrong encoding": ("a.md", lambda _: b"The text of the page. \xe9\xff\xfe\x80 caf\xe9 " * 3),
    "CSV of one endless cell": ("a.csv", lambda _: b'name,text\nx,"The text of the page. ' + b"y" * 1_000_000),
    "right-to-left marks and emoji": ("a.md", lambda _: "# ‮egap\n\nThe text of the page. 🏴‍☠️\u200b".encode()),
}


@pytest.mark.parametrize("what", READ)
def test_it_is_read_in_time(what: str, tmp_path: Path, parser: Parser) -> None:
    name, make = READ[what]
    loaded = parser.parse(write(tmp_path, name, make(tmp_path)), name)
    assert "The text of the page." in " ".join(loaded.text.split())
    for chunk in loaded.chunks:
        assert loaded.text[chunk.start : chunk.end] == chunk.text


def test_a_text_of_a_gigabyte_is_refused_without_reading_it(tmp_path: Path, parser: Parser) -> None:
    path = tmp_path / "a.txt"
    with path.open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(TooLarge):
        parser.parse(path, "a.txt")


def test_what_takes_too_long_ends_and_the_next_file_is_read(tmp_path: Path) -> None:
    with Parser(tokenizer_path(), Limits(seconds=0.5)) as parser:
        assert parser.parse(write(tmp_path, "a.md", "# A\n\nText."), "a.md").chunks
        slow = write(tmp_path, "slow.html", "<table>" + "<tr><td>x" * 200_000)
        with pytest.raises(ParserDied, match="PARSE_SECONDS"):
            parser.parse(slow, "slow.html")
        parser.limits = Limits()
        assert parser.parse(write(tmp_path, "b.md", "# B\n\nText."), "b.md").chunks


def test_nothing_outside_a_file_is_ever_fetched(tmp_path: Path, parser: Parser) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text(SECRET)
    with listening() as (url, asked):
        entity = f'<!DOCTYPE x [<!ENTITY e SYSTEM "file://{secret}"><!ENTITY % d SYSTEM "{url}/dtd">%d;]>'
        page = (
            f'<!doctype html><html><head><link rel="stylesheet" href="{url}/s.css"><script src="{url}/s.js"></script>'
            f'<base href="{url}/"><meta http-equiv="refresh" content="0;url={url}/"></head><body>'
            f'<img src="{url}/i.png"><iframe src="file://{secret}"></iframe><object data="{url}/o"></object>'
            "<p>The office opens at eight.</p></body></html>"
        )
        linked = rewritten(
            word(),
            "word/_rels/document.xml.rels",
            lambda text: text.replace(
                "</Relationships>",
                '<Relationship Id="rId99" TargetMode="External" Type="http://schemas.openxmlformats.org/'
                f'officeDocument/2006/relationships/attachedTemplate" Target="{url}/t.dotx"/></Relationships>',
            ),
        )
        files = {
            "a.html": page.encode(),
            "a.md": f"# A\n\n![x]({url}/i.png) <img src='{url}/j.png'> The office opens at eight.\n".encode(),
            "a.rst": f".. image:: {url}/i.png\n.. include:: {secret}\n\nOpen.".encode(),
            "a.eml": f"Subject: x\nContent-Type: text/html\n\n{page}".encode(),
            "linked.docx": linked,
            "a.docx": rewritten(
                word("&e;"), "word/document.xml",
                lambda text: text.replace("?>", f"?>{entity}", 1).replace("&amp;e;", "&e;"),
            ),
            "a.xlsx": rewritten(
                sheet(), "xl/worksheets/sheet1.xml", lambda text: f"{entity}{text.replace('Tea', '&e;')}"
            ),
            "a.epub": rewritten(
                epub({"one": f'<p>Whales sing. <img src="{url}/x.png"/> &e;</p>'}), "OEBPS/book.opf",
                lambda text: text.replace("?>", f"?>{entity}", 1).replace("The  Sea", "&e;"),
            ),
            "a.json": json.dumps({"$ref": f"file://{secret}", "$schema": f"{url}/schema"}).encode(),
            "a.yaml": f'!!python/object/apply:os.system ["curl {url}"]'.encode(),
        }  # fmt: skip
        for name, content in files.items():
            try:
                loaded = parser.parse(write(tmp_path, name, content), name)
            except LoadError as error:
                assert SECRET not in str(error), name  # noqa: PT017 (both ends are right here)
            else:
                assert SECRET not in loaded.text + loaded.title, name
        assert asked == []
