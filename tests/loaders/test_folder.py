"""The scan: what is taken, what is left alone, and what is named as a problem."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from loaders.errors import ChangedWhileReading, FolderUnavailable
from loaders.folder import hash_file, scan


def test_files_are_listed_by_relative_path_with_size_and_time(tmp_path: Path) -> None:
    (tmp_path / "hr").mkdir()
    (tmp_path / "hr" / "b.md").write_text("two")
    (tmp_path / "a file 🙂.md").write_text("one")
    found = scan(tmp_path)
    assert [(entry.path, entry.size) for entry in found.files] == [("a file 🙂.md", 3), ("hr/b.md", 3)]
    assert found.files[1].mtime_ns == (tmp_path / "hr" / "b.md").stat().st_mtime_ns
    assert found.problems == ()


@pytest.mark.parametrize(
    "name", [".hidden.md", ".git/config", "~$report.docx", "a.md~", "a.pdf.part", "b.crdownload", "#a.md#", "x.tmp"]
)
def test_hidden_and_temporary_names_are_left_alone(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("x")
    found = scan(tmp_path)
    assert (found.files, found.problems) == ((), ())


def test_links_inside_are_followed_and_links_out_are_not(tmp_path: Path) -> None:
    root = tmp_path / "knowledge"
    (root / "real").mkdir(parents=True)
    (root / "real" / "a.md").write_text("x")
    (tmp_path / "secret.md").write_text("secret")
    (root / "link.md").symlink_to("real/a.md")
    (root / "folder").symlink_to("real")
    (root / "out.md").symlink_to("../secret.md")
    (root / "out").symlink_to("..")
    (root / "real" / "loop").symlink_to("..")
    (root / "broken.md").symlink_to("nowhere.md")
    found = scan(root)
    assert {entry.path for entry in found.files} == {"folder/a.md", "link.md", "real/a.md"}
    reasons = {problem.path: problem.reason for problem in found.problems}
    assert set(reasons) == {"broken.md", "out", "out.md"}
    assert "outside" in reasons["out.md"]


def test_a_folder_whose_name_begins_like_the_root_is_outside(tmp_path: Path) -> None:
    (tmp_path / "knowledge").mkdir()
    (tmp_path / "knowledge-secret").mkdir()
    (tmp_path / "knowledge-secret" / "a.md").write_text("x")
    (tmp_path / "knowledge" / "link").symlink_to("../knowledge-secret")
    assert scan(tmp_path / "knowledge").files == ()


def test_pipes_are_named_and_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.md")
    assert [problem.path for problem in scan(tmp_path).problems] == ["pipe.md"]


def test_a_name_that_cannot_be_stored_is_named_in_escapes(tmp_path: Path) -> None:
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff.md"))).write_text("x")
    (tmp_path / "line\nbreak.md").write_text("x")
    assert [problem.path for problem in scan(tmp_path).problems] == ["bad\\udcff.md", "line\\nbreak.md"]


def test_a_missing_folder_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(FolderUnavailable, match="nowhere"):
        scan(tmp_path / "nowhere")


def test_a_hash_is_of_the_file_that_was_scanned(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("abc")
    entry = scan(tmp_path).files[0]
    assert hash_file(tmp_path, entry) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    (tmp_path / "a.md").write_text("abcd")
    with pytest.raises(ChangedWhileReading):
        hash_file(tmp_path, entry)
