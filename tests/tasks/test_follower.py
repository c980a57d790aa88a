"""The folder is followed: what is dropped, edited or deleted shows without anybody asking."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

from backend.knowledge import services
from backend.knowledge.index import KnowledgeIndex, get_index
from backend.knowledge.models import Source, SyncRun, SyncState
from backend.knowledge.selectors import search
from evals.model_server import DIMENSIONS, ModelServer
from tasks.follower import FolderFollower
from tests.folder import write
from tests.waiting import wait_for

pytestmark = pytest.mark.django_db(transaction=True)


def state_of(path: str) -> str | None:
    return Source.objects.filter(path=path).values_list("state", flat=True).first()


def first_complete() -> bool:
    return SyncRun.objects.filter(state=SyncState.DONE).exists()


@pytest.fixture
def follower(folder: Path, index: KnowledgeIndex) -> Iterator[FolderFollower]:
    write(folder, "old.md", "# Old\n\nThe old page speaks of apples.\n")
    following = FolderFollower(folder)
    following.start()
    wait_for(first_complete, "the comparison at the start")
    yield following
    following.stop()
    assert not following.is_alive


def test_a_dropped_an_edited_and_a_deleted_file(folder: Path, index: KnowledgeIndex, follower: FolderFollower) -> None:
    assert state_of("old.md") == "indexed"
    (folder / "new.md").write_text("# New\n\nThe new page speaks of pears.\n")
    wait_for(lambda: state_of("new.md") == "indexed", "a dropped file")
    assert search(index, "Which page speaks of pears?", 1, None)[0]["source"] == "new.md"

    (folder / "new.md").write_text("# New\n\nThe new page speaks of plums now.\n")
    wait_for(lambda: any("plums" in r["text"] for r in search(index, "plums", 3, None)), "an edited file")
    assert not any("pears" in result["text"] for result in search(index, "pears", 5, None))

    (folder / "new.md").unlink()
    assert "new.md" not in {result["source"] for result in search(index, "plums", 5, None)}, "at once"
    wait_for(lambda: state_of("new.md") == "removed", "a deleted file")


def test_a_file_in_the_making_is_read_when_it_is_whole(folder: Path, follower: FolderFollower) -> None:
    with (folder / "growing.md").open("w") as file:
        for number in range(30):
            file.write(f"Line {number} of a file that grows.\n\n")
            file.flush()
            time.sleep(0.1)
            assert state_of("growing.md") in (None, "pending"), "never read by halves"
        file.write("The last line names the wombat.\n")
    wait_for(lambda: state_of("growing.md") == "indexed", "the whole file")
    text = Source.objects.select_related("current_version").get(path="growing.md").current_version
    assert text is not None
    assert text.text.endswith("wombat.\n")
    assert Source.objects.get(path="growing.md").versions.count() == 1


def test_a_request_of_another_process_is_carried_out(folder: Path, follower: FolderFollower) -> None:
    run = services.request_sync("api", full=True)
    wait_for(lambda: SyncRun.objects.get(pk=run.pk).state == SyncState.DONE, "the requested sync")
    assert SyncRun.objects.get(pk=run.pk).report["unchanged"] == 1


def test_a_folder_that_comes_back_is_followed_again(folder: Path, follower: FolderFollower) -> None:
    away = folder.rename(folder.with_name("away"))
    follower.wake()
    wait_for(lambda: SyncRun.objects.filter(state=SyncState.FAILED).exists(), "the failed sync")
    assert state_of("old.md") == "indexed", "a folder that is gone removes nothing"
    away.rename(folder)
    write(folder, "back.md", "# Back\n\nWe are back.\n")
    follower.wake()
    wait_for(lambda: state_of("back.md") == "indexed", "the folder's return")


def test_a_mount_without_events_is_looked_at(folder: Path, index: KnowledgeIndex) -> None:
    following = FolderFollower(folder, polling=True)
    following.start()
    wait_for(first_complete, "the comparison at the start")
    try:
        write(folder, "new.md", "# New\n\nThe new page speaks of pears.\n")
        wait_for(lambda: state_of("new.md") == "indexed", "a file that no event told of")
        (folder / "new.md").unlink()
        wait_for(lambda: state_of("new.md") == "removed", "a deletion that no event told of")
    finally:
        following.stop()
    assert not following.is_alive


def test_an_editor_that_saves_by_renaming_is_followed(folder: Path, follower: FolderFollower) -> None:
    """A swap file, a backup and a draft lie about while the new text is put into place in one step."""
    (folder / ".old.md.swp").write_bytes(b"swap")
    (folder / "old.md~").write_text("# Old\n\nA backup.\n")
    draft = folder / "4913"
    draft.write_text("# Old\n\nThe old page speaks of plums now.\n")
    draft.rename(folder / "old.md")
    wait_for(lambda: any("plums" in text for text in texts_of("old.md")), "the new text")
    (folder / ".old.md.swp").unlink()
    (folder / "old.md~").unlink()
    assert set(Source.objects.exclude(state="removed").values_list("path", flat=True)) <= {"old.md", "4913"}
    wait_for(lambda: state_of("4913") in (None, "removed"), "the draft's end")


def texts_of(path: str) -> list[str]:
    return list(Source.objects.filter(path=path).values_list("current_version__text", flat=True))


def test_another_embedding_model_takes_over_while_the_folder_is_followed(
    folder: Path, index: KnowledgeIndex, model_server: ModelServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, "old.md", "# Old\n\nThe old page speaks of apples.\n")
    services.sync("test")
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setenv("OPENAI_BASE_URL", model_server.url)
    settings.ENV = settings.ENV.model_copy(update={"embedding_model": "openai:words"})
    following = FolderFollower(folder)
    following.start()
    try:
        wait_for(lambda: get_index().embedder.dimensions == DIMENSIONS, "the new model")
        write(folder, "new.md", "# New\n\nThe new page speaks of pears.\n")
        wait_for(lambda: state_of("new.md") == "indexed", "a file after the switch")
        assert search(get_index(), "Which page speaks of pears?", 1, None)[0]["source"] == "new.md"
    finally:
        following.stop()
    assert not following.is_alive
