"""A temporary instance stays away from the real one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from evals import product
from evals.instance import isolated_settings, temporary_instance
from tests.evals.word_client import WordClient


def test_nothing_of_the_real_instance_is_inherited() -> None:
    settings = isolated_settings(Path("/tmp/x/data"), Path("/tmp/x/knowledge"))
    assert settings["DATA_DIR"] == "/tmp/x/data"
    assert settings["KNOWLEDGE_DIR"] == "/tmp/x/knowledge"
    assert {name for name, value in settings.items() if not value} == {
        "DATABASE_URL",
        "VECTOR_STORE",
        "CHROMA_URL",
        "PINECONE_API_KEY",
        "REDIS_URL",
        "EMAIL_URL",
        "TASKS",
        "CELERY_BROKER_URL",
    }


def test_an_instance_gets_copies_of_its_files_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.md").write_text("wanted")
    for name in isolated_settings(tmp_path, tmp_path):
        monkeypatch.setenv(name, "the real one")

    class Syncing(WordClient):
        def sync(self) -> None:
            self.texts.clear()
            self.texts.update(in_the_folder())

    def in_the_folder() -> dict[str, str]:
        folder = Path(os.environ["KNOWLEDGE_DIR"])
        return {p.relative_to(folder).as_posix(): p.read_text() for p in folder.rglob("*") if p.is_file()}

    @contextmanager
    def booted() -> Iterator[Syncing]:
        yield Syncing(in_the_folder())

    monkeypatch.setattr(product, "booted", booted)
    with temporary_instance({"PROMPT": "brief"}) as made:
        assert os.environ["DATA_DIR"] == "the real one", "nothing is made before it is needed"
        made.use({"sub/a.md": tmp_path / "a.md", "b.md": b"12345"})
        client = made.client()
        assert os.environ["PROMPT"] == "brief"
        folder = Path(os.environ["KNOWLEDGE_DIR"])
        assert folder.stat().st_mtime > (folder / "sub" / "a.md").stat().st_mtime
        assert client.source_text("sub/a.md", 0, 9) == "wanted"
        before = (folder / "b.md").stat()
        made.use({"b.md": b"54321"})
        assert made.client() is client
        assert client.source_text("sub/a.md", 0, 9) is None
        assert client.source_text("b.md", 0, 9) == "54321"
        after = (folder / "b.md").stat()
        assert (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns), "a sync sees the change"
    assert not folder.exists()
    assert os.environ["DATA_DIR"] == "the real one"
