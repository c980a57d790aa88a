"""Uploads made to hurt: refused, or a failed source with its reason; nothing lands outside the folder. Names, folders,
links and limits are in tests/backend/test_uploads.py, what files can hold in tests/loaders/test_hostile.py.
"""

from __future__ import annotations

import io
import stat
import zipfile
import zlib
from pathlib import Path

import pytest
from rest_framework.test import APIClient

from backend.knowledge.models import Source
from tests.backend.conftest import Sync
from tests.backend.test_uploads import in_folder, post_raw, upload
from tests.folder import write_pdf
from tests.loaders.test_hostile import SECRET, deflated, word

CANARY = "the-canary-sings-only-here"


def with_entries(original: bytes, *entries: tuple[zipfile.ZipInfo, bytes]) -> bytes:
    buffer = io.BytesIO(original)
    with zipfile.ZipFile(buffer, "a") as archive:
        for entry, content in entries:
            archive.writestr(entry, content)
    return buffer.getvalue()


def link(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.create_system = 3  # Unix
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry


def pdf_bomb(megabytes: int) -> bytes:
    """A page whose content is deflated twice."""
    packed = zlib.compress(zlib.compress(b"BT /F1 12 Tf (x) Tj ET\n" * (megabytes * 45_000), 9), 9)
    parts = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 200] /Contents 4 0 R >>",
        b"<< /Length %d /Filter [/FlateDecode /FlateDecode] >>\nstream\n%s\nendstream" % (len(packed), packed),
    ]
    body = b"".join(b"%d 0 obj\n%s\nendobj\n" % (number, part) for number, part in enumerate(parts, start=1))
    return b"%PDF-1.4\n" + body + b"trailer << /Root 1 0 R /Size 5 >>\n%%EOF\n"


@pytest.mark.django_db
def test_links_and_paths_in_an_archive_lead_nowhere(staff: APIClient, folder: Path, sync: Sync, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text(SECRET)
    target = str(secret).encode()
    linked = with_entries(word(), (link("word/media/image1.png"), target), (link("word/footnotes.xml"), target))
    outside = with_entries(
        word(), *((zipfile.ZipInfo(name), CANARY.encode()) for name in ("../outside.md", "/tmp/outside.md", "..\\x.md"))
    )
    done = upload(staff, ("linked.docx", linked), ("outside.docx", outside))
    assert done.status_code == 202
    sync()
    assert in_folder(folder) == ["linked.docx", "outside.docx"]
    assert not list(tmp_path.rglob("outside.md"))
    for row in Source.objects.all():
        text = staff.get(f"/sources/{row.pk}/chunks").content.decode() + row.error
        assert SECRET not in text
        assert CANARY not in text


@pytest.mark.django_db
def test_a_file_that_is_several_things_is_one_of_them_or_fails(staff: APIClient, folder: Path, sync: Sync) -> None:
    """What it is read as is told by its content; a page's script and a program in it are text or nothing."""
    pdf = write_pdf(folder.parent, "plain.pdf", ["The office opens at eight."]).read_bytes()
    page = b"<html><script>alert('x')</script><body>The office opens at nine.</body></html>"
    files = {
        "pdf-then-zip.pdf": pdf + word("The office opens at ten."),
        "zip-then-pdf.docx": word("The office opens at ten.") + pdf,
        "gif-then-page.html": b"GIF89a/*" + page,
        "page.pdf": page,
        "pdf.md": pdf,
        "program.md": b"MZ\x90\x00" + bytes(range(256)) * 10,
        "archive.txt": word(),
    }
    assert upload(staff, *files.items()).status_code == 202
    sync()
    rows = {row.path: row for row in Source.objects.select_related("current_version")}
    assert set(rows) == set(files)
    for name, row in rows.items():
        assert row.state in ("indexed", "failed"), name
        assert (row.state == "failed") == bool(row.error), name
        if row.current_version is not None:
            text = row.current_version.text
            assert "alert(" not in text, name
            assert "%PDF" not in text, name
            assert "PK\x03" not in text, name
    assert rows["program.md"].state == "failed"


@pytest.mark.django_db
def test_bombs_are_failed_sources_and_the_next_file_is_read(staff: APIClient, folder: Path, sync: Sync) -> None:
    bombs = {
        "bomb.docx": deflated("word/document.xml", 300),
        "bomb.xlsx": deflated("xl/workbook.xml", 300),
        "bomb.pdf": pdf_bomb(300),
        "nested.docx": with_entries(word(), (zipfile.ZipInfo("word/inner.zip"), deflated("a", 50))),
    }
    assert max(map(len, bombs.values())) < 1_000_000
    assert upload(staff, *bombs.items(), ("after.md", b"# Office\n\nIt opens at eight.")).status_code == 202
    sync()
    rows = {row.path: (row.state, bool(row.error)) for row in Source.objects.all()}
    assert rows["bomb.docx"] == rows["bomb.xlsx"] == ("failed", True)
    assert rows["bomb.pdf"][0] in ("failed", "indexed"), "cut or refused, and over"
    assert rows["after.md"] == ("indexed", False)
    assert "eight" in staff.get("/search", {"q": "When does the office open?"}).content.decode()


@pytest.mark.django_db
@pytest.mark.parametrize("kind", ["files", "fields"])
def test_ten_thousand_of_them_are_turned_away(staff: APIClient, folder: Path, kind: str) -> None:
    name = '"files"; filename="{}.md"' if kind == "files" else '"field{}"'
    part = "--x\r\nContent-Disposition: form-data; name=" + name + "\r\n\r\nx\r\n"
    body = "".join(part.format(number) for number in range(10_000)) + "--x--\r\n"
    refused = post_raw(staff, body.encode(), "multipart/form-data; boundary=x")
    assert (refused.status_code, refused.json()["error"]["code"]) == (413, "too_large")
    assert in_folder(folder) == []
