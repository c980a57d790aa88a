"""POST /sources and DELETE /sources/{id}: whole files under their own names, nothing outside the folder, staff only."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import override_settings
from rest_framework.test import APIClient

from backend.accounts.models import User
from backend.knowledge.models import Source, SyncRun
from backend.knowledge.uploads import DRAFT, remove_drafts
from tests.backend.conftest import Sync

WHALES = b"# Whales\n\nWhales sing for hours, at night.\n"


def upload(client: APIClient, *files: tuple[str, bytes], **fields: str) -> Any:
    sent = [SimpleUploadedFile(name, content) for name, content in files]
    return client.post("/sources", {"files": sent, **fields}, format="multipart")


def raw_upload(client: APIClient, name: bytes, content: bytes = WHALES) -> Any:
    """With a file name that the client library would not send."""
    body = b'--x\r\nContent-Disposition: form-data; name="files"; filename="' + name + b'"\r\n\r\n' + content
    return post_raw(client, body + b"\r\n--x--\r\n", "multipart/form-data; boundary=x")


def post_raw(client: APIClient, body: Any, content_type: str) -> Any:
    return client.generic("POST", "/sources", body, content_type)


def in_folder(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_uploads_are_answered_from_and_replaced_and_deleted(staff: APIClient, folder: Path, sync: Sync) -> None:
    done = upload(staff, ("whales.md", WHALES), ("notes.txt", b"Krill is small."), folder="sea/deep")
    assert done.status_code == 202, done.content
    assert [(row["path"], row["state"]) for row in done.json()["results"]] == [
        ("sea/deep/whales.md", "pending"),
        ("sea/deep/notes.txt", "pending"),
    ]
    assert SyncRun.objects.filter(trigger="upload", state="requested").count() == 1
    sync()
    found = staff.get("/search", {"q": "When do whales sing?"}).json()["results"][0]
    assert (found["source"], found["text"].split("\n")[-1]) == (
        "sea/deep/whales.md",
        "Whales sing for hours, at night.",
    )

    again = upload(staff, ("whales.md", b"# Whales\n\nWhales sing at noon.\n"), folder="sea/deep")
    assert again.json()["results"][0]["id"] == done.json()["results"][0]["id"]
    sync()
    assert "noon" in staff.get("/search", {"q": "When do whales sing?"}).json()["results"][0]["text"]

    path = f"/sources/{again.json()['results'][0]['id']}"
    assert staff.delete(path).status_code == 204
    assert in_folder(folder) == ["sea/deep/notes.txt"]
    assert "whales" not in str(staff.get("/search", {"q": "When do whales sing?"}).json()), "at once, before any sync"
    assert staff.get(path).json()["state"] == "removed"
    assert staff.delete(path).status_code == 404
    sync()
    assert staff.get(path).json()["state"] == "removed"


def test_only_staff_writes(
    client: APIClient, staff: APIClient, make_user: Callable[[str], User], client_of: Callable[[User], APIClient],
    folder: Path, sync: Sync,
) -> None:  # fmt: skip
    upload(staff, ("whales.md", WHALES))
    sync()
    path = f"/sources/{Source.objects.get().pk}"
    other = client_of(make_user("eve"))
    assert (upload(other, ("x.md", b"x")).status_code, other.delete(path).status_code) == (403, 403)
    nobody = APIClient()
    assert (upload(nobody, ("x.md", b"x")).status_code, nobody.delete(path).status_code) == (401, 401)
    assert in_folder(folder) == ["whales.md"]


@pytest.mark.parametrize(
    "name",
    [
        b"../outside.md",
        b"/etc/outside.md",
        b"..\\\\outside.md",
        b"C:\\\\outside.md",
        b"a\x00b.md",
        b"a\nb.md",
        b".hidden.md",
        b"draft.md~",
        b"draft.tmp",
        b"~$report.docx",
        b"con.md",
        b"LPT1.txt",
        b"program.exe",
        b"report.pdf.exe",
        b"noending",
        b".md",
        b" blank.md",
        b"a" * 300 + b".md",
        "turned‮fdp.md".encode(),
        "zero​width.md".encode(),
        b"what?.md",
        b"\xff\xfe.md",
        b"",
    ],
)  # fmt: skip
def test_names_that_are_refused_leave_nothing(staff: APIClient, folder: Path, name: bytes) -> None:
    refused = raw_upload(staff, name)
    assert (refused.status_code, refused.json()["error"]["code"]) in ((400, "invalid"), (400, "parse_error"))
    assert in_folder(folder) == []
    assert not any((folder.parent).glob("outside*"))
    assert not Source.objects.exists()


@pytest.mark.parametrize("folder_name", ["..", "../x", "/etc", "a/../b", "a//b", "a\\b", ".git", "a\x00b", "x" * 1025])
def test_folders_that_are_refused(staff: APIClient, folder: Path, folder_name: str) -> None:
    refused = upload(staff, ("whales.md", WHALES), folder=folder_name)
    assert refused.status_code == 400
    assert "folder" in refused.json()["error"]["fields"]
    assert in_folder(folder) == []


def test_a_link_out_of_the_folder_is_no_way_out(staff: APIClient, folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (folder / "link").symlink_to(outside)
    (folder / "file.md").write_text("A file.")
    (folder / "folder.md").mkdir()
    for where in ("link", "link/sub", "file.md", "file.md/sub"):
        assert upload(staff, ("whales.md", WHALES), folder=where).status_code == 400, where
    assert upload(staff, ("folder.md", WHALES)).status_code == 400
    assert list(outside.iterdir()) == []


def test_limits_end_an_upload(staff: APIClient, folder: Path, settings: Any) -> None:
    small = settings.ENV.model_copy(update={"max_file_bytes": 1000})
    with override_settings(ENV=small):
        assert upload(staff, ("big.md", b"x" * 1001)).status_code == 413
        assert upload(staff, ("fits.md", b"x" * 1000)).status_code == 202
        together = [(f"{i}.md", b"x" * 999) for i in range(6)]
        assert upload(staff, *together).status_code == 413
        assert upload(staff, *((f"{i}.md", b"x") for i in range(101))).status_code == 413
    assert in_folder(folder) == ["fits.md"]
    assert list(Path(settings.FILE_UPLOAD_TEMP_DIR).iterdir()) == []


def test_what_is_no_upload_is_refused(staff: APIClient, folder: Path) -> None:
    assert staff.post("/sources", {"files": []}, format="multipart").status_code == 400
    assert staff.post("/sources", {"files": "text"}, format="multipart").status_code == 400
    assert staff.post("/sources", {"files": ["a"]}).status_code == 415
    assert post_raw(staff, b"--x", "multipart/form-data; boundary=x").status_code == 400
    assert post_raw(staff, b"--x", "multipart/form-data").status_code == 400
    twice = upload(staff, ("whales.md", WHALES), ("whales.md", b"other"))
    assert (twice.status_code, in_folder(folder)) == (400, [])


def test_a_folder_that_cannot_be_written_says_so(staff: APIClient, folder: Path, sync: Sync) -> None:
    (folder / "a.md").write_text("# A\n\nText.")
    os.utime(folder / "a.md", (1, 1))
    sync()
    folder.rename(folder.with_name("moved"))
    folder.write_text("a file in its place")
    refused = upload(staff, ("whales.md", WHALES))
    assert refused.status_code in (400, 503)
    assert refused.json()["error"]["message"]


def test_a_damaged_upload_is_a_failed_source_and_what_killed_uploads_left_is_removed(
    staff: APIClient, folder: Path, sync: Sync
) -> None:
    upload(staff, ("broken.pdf", b"%PDF-1.7 nothing"), ("empty.md", b""), ("sheet.pdf", b"MZ\x90 a program"))
    (folder / "sub").mkdir()
    (folder / "sub" / f"{DRAFT}1234").write_bytes(b"half")
    sync()
    states = {row.path: (row.state, bool(row.error)) for row in Source.objects.all()}
    assert states == dict.fromkeys(("broken.pdf", "empty.md", "sheet.pdf"), ("failed", True))
    remove_drafts()
    assert in_folder(folder) == ["broken.pdf", "empty.md", "sheet.pdf"]
