"""A temporary instance stays away from the real one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from evals import instance
from evals.instance import isolated_settings, temporary_instance
from evals.runner import Client
from tests.evals.word_client import WordClient


def test_nothing_of_the_real_instance_is_inherited() -> None:
    settings = isolated_settings(Path("/tmp/x/data"), Path("/tmp/x/knowledge"))
    assert settings["DATA_DIR"] == "/tmp/x/data"
    assert settings["KNOWLEDGE_DIR"] == "/tmp/x/knowledge"
    assert {name for name, value in settings.items() if not value} == {
        "DATABASE_URL",
        "CHROMA_URL",
        "REDIS_URL",
        "EMAIL_URL",
    }


def test_an_instance_gets_copies_of_the_named_files_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.md").write_text("wanted")
    (tmp_path / "b.md").write_text("not wanted")
    for name in isolated_settings(tmp_path, tmp_path):
        monkeypatch.setenv(name, "the real one")

    @contextmanager
    def booted() -> Iterator[Client]:
        folder = Path(os.environ["KNOWLEDGE_DIR"])
        files = [path for path in folder.rglob("*") if path.is_file()]
        yield WordClient({path.relative_to(folder).as_posix(): path.read_text() for path in files})

    monkeypatch.setattr(instance, "_booted", booted)
    with temporary_instance(tmp_path, ["sub/a.md"]) as client:
        folder = Path(os.environ["KNOWLEDGE_DIR"])
        assert folder.stat().st_mtime > (folder / "sub" / "a.md").stat().st_mtime
        assert client.source_text("sub/a.md") == "wanted"
        assert client.source_text("b.md") is None
    assert not folder.exists()
    assert os.environ["DATABASE_URL"] == "the real one"
