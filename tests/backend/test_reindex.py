"""Another embedding model: the old one answers until the new one's vectors are complete, then one switch, and back."""

from __future__ import annotations

import threading
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from pytest_django.fixtures import Settings

from backend.knowledge import reindex, services
from backend.knowledge.index import KnowledgeIndex, close_index, get_index
from backend.knowledge.models import Chunk, Embedding, SyncRun, SyncState, Task
from backend.knowledge.selectors import search
from evals.model_server import DIMENSIONS, ModelServer
from tests.backend.conftest import Sync
from tests.backend.state import state
from tests.folder import write
from vectorstore.embeddings import load_embeddings

QUESTION = "How long is parental leave?"


@pytest.fixture
def filled(folder: Path, sync: Sync) -> Path:
    write(folder, "leave.md", "# Leave\n\nParental leave is 16 weeks.\n")
    write(folder, "office.md", "# Office\n\nThe office opens at eight.\n")
    sync()
    return folder


@pytest.fixture
def other_model(model_server: ModelServer, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> str:
    """The configured embedding model is another one from now on."""
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setenv("OPENAI_BASE_URL", model_server.url)
    name = "openai:words"
    settings.ENV = settings.ENV.model_copy(update={"embedding_model": name})
    return name


def change_over() -> SyncRun:
    return services.sync_or_request("test", task=Task.REINDEX)


def best(question: str = QUESTION) -> str:
    return str(search(get_index(), question, 1, None)[0]["source"])


def test_a_restart_with_another_model_goes_on_with_the_old_one(
    filled: Path, index: KnowledgeIndex, other_model: str, model_server: ModelServer, sync: Sync
) -> None:
    close_index()
    assert get_index().embedder.dimensions == 384
    assert services.needs_reindex()
    assert best() == "leave.md"
    write(filled, "new.md", "# Cats\n\nCats sleep all day.\n")
    assert sync().report["chunks_embedded"] == 1
    assert model_server.requests == [], "nothing is embedded by the new model before somebody asks for it"
    state(get_index())


def test_the_switch_is_complete_and_the_way_back_is_short(
    filled: Path, index: KnowledgeIndex, other_model: str, settings: Settings, sync: Sync
) -> None:
    done = change_over()
    assert (done.state, done.report) == (SyncState.DONE, {"read": 0, "embedded": 2, "model": other_model})
    now = get_index()
    assert now.embedder.dimensions == DIMENSIONS
    assert {len(vector) for vector in now.vectors.vectors(sorted(now.vectors.ids())).values()} == {DIMENSIONS}
    assert best() == "leave.md"
    state(now)
    assert not services.needs_reindex()
    assert change_over().report["embedded"] == 0, "a second time there is nothing to do"
    close_index()
    assert get_index().embedder.dimensions == DIMENSIONS, "also after a restart"

    (filled / "office.md").unlink()
    write(filled, "new.md", "# Cats\n\nCats sleep all day.\n")
    sync()
    settings.ENV = settings.ENV.model_copy(update={"embedding_model": "minilm"})
    assert change_over().report["embedded"] == 1, "only what changed since"
    assert best("When do cats sleep?") == "new.md"
    state(get_index())
    assert list(Embedding.objects.order_by("state").values_list("name", "state")) == [
        ("minilm", "active"),
        (other_model, "kept"),
    ]


def test_what_comes_and_goes_during_the_build_is_right_after_the_switch(
    filled: Path, index: KnowledgeIndex, other_model: str, sync: Sync
) -> None:
    embedder = load_embeddings(other_model, filled)
    assert reindex.build(index, embedder, other_model, lambda *_: None, lambda: False) == 2
    assert get_index().embedder.dimensions == 384, "the old one answers"
    (filled / "office.md").unlink()
    write(filled, "leave.md", "# Leave\n\nParental leave is 18 weeks.\n")
    write(filled, "new.md", "# Cats\n\nCats sleep all day.\n")
    sync()
    assert best() == "leave.md"
    assert change_over().state == SyncState.DONE
    state(get_index())
    assert "18 weeks" in search(get_index(), QUESTION, 1, None)[0]["text"]


def test_a_build_that_was_stopped_goes_on_where_it_was(
    filled: Path, index: KnowledgeIndex, other_model: str, model_server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reindex, "PIECE_CHUNKS", 1)
    asked = iter([False, True, True, True])
    stopped = services.carry_out(
        SyncRun.objects.create(trigger="test", task=Task.REINDEX), stopping=lambda: next(asked, True)
    )
    assert (stopped.state, stopped.report["embedded"]) == (SyncState.FAILED, 1)
    assert get_index().embedder.dimensions == 384
    assert change_over().report["embedded"] == 1
    assert get_index().embedder.dimensions == DIMENSIONS


def test_a_provider_that_does_not_answer_changes_nothing(
    filled: Path, index: KnowledgeIndex, other_model: str, model_server: ModelServer
) -> None:
    model_server.fail_with = 401
    failed = change_over()
    assert failed.state == SyncState.FAILED
    assert "did not answer" in failed.error
    assert best() == "leave.md"
    state(get_index())
    with pytest.raises(CommandError, match="did not answer"):
        call_command("reindex")


def test_a_release_whose_bundled_model_gives_other_vectors_makes_all_anew(
    filled: Path, index: KnowledgeIndex, sync: Sync, monkeypatch: pytest.MonkeyPatch
) -> None:
    close_index()
    monkeypatch.setattr("vectorstore.embeddings.GRAPH", "of-the-next-release")
    assert get_index().vectors.ids() == set()
    sync()
    assert best() == "leave.md"
    state(get_index())
    assert Embedding.objects.get(state="active").fingerprint.endswith("of-the-next-release")
    assert not services.needs_reindex()
    assert reindex.forget_kept(get_index()) == ["minilm"]


def test_the_command_and_what_it_keeps(
    filled: Path, index: KnowledgeIndex, other_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.management.commands.reindex.close_index", lambda: None)
    out = StringIO()
    call_command("reindex", stdout=out)
    assert out.getvalue() == f"{other_model} answers; 2 passages were embedded.\n"
    call_command("reindex", "--forget-kept", stdout=out)
    assert "Forgotten: minilm." in out.getvalue()
    call_command("reindex", "--forget-kept", stdout=out)
    assert "nothing to forget" in out.getvalue()
    assert best() == "leave.md"
    state(get_index())


def test_questions_during_the_switch_are_all_answered(filled: Path, index: KnowledgeIndex, other_model: str) -> None:
    """Each search has a model and vectors that belong together: mixed ones would not even have the same length."""
    found: list[str] = []
    errors: list[BaseException] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            try:
                current = get_index()
                vector = current.embedder.embed_array([QUESTION])[0]
                found.append(current.vectors.query(np.asarray(vector), 1)[0].id)
            except BaseException as error:  # noqa: BLE001 (it is the test's to tell)
                errors.append(error)
                return

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        assert change_over().state == SyncState.DONE
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert errors == []
    assert set(found) <= set(Chunk.objects.values_list("id", flat=True))
