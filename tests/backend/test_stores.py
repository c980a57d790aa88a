"""The promises of the sync, kept on every vector store: tests of the sync and of the change of models, run again on
each that is not the default; and what a store that shows its writes late may and may not do.
"""
# ruff: noqa: F401 (what is imported is collected here, and finds this module's `index`)

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from django.conf import settings as django_settings
from django.db import connection
from pytest_django.fixtures import Settings

from backend.knowledge.index import KnowledgeIndex, close_index, get_index
from backend.knowledge.models import Chunk
from backend.knowledge.reconcile import compare, prepare_repair
from backend.knowledge.selectors import search
from evals.pinecone_stand_in import PineconeStandIn
from tests.backend.conftest import Sync
from tests.backend.state import state
from tests.backend.test_reindex import (
    filled,
    other_model,
    test_questions_during_the_switch_are_all_answered,
    test_the_command_and_what_it_keeps,
    test_the_switch_is_complete_and_the_way_back_is_short,
    test_what_comes_and_goes_during_the_build_is_right_after_the_switch,
)
from tests.backend.test_sync import (
    test_a_crash_between_two_writes_ends_in_the_state_of_an_undisturbed_run,
    test_a_file_that_comes_back_answers_again,
    test_a_removed_file_leaves_nothing_behind,
    test_a_removed_file_stops_answering_before_any_sync_sees_it,
    test_an_edited_file_replaces_its_chunks_and_embeds_only_what_is_new,
    test_lost_and_foreign_index_entries_are_mended_by_the_next_sync,
)
from tests.folder import write
from tests.stores import STORES, drop_vectors, has_pgvector
from vectorstore.embeddings import Embedder
from vectorstore.stores.pinecone import PineconeStore


@pytest.fixture(params=[store for store in STORES if store != "chroma"])
def index(
    request: pytest.FixtureRequest,
    folder: Path,
    embedder: Embedder,
    db: None,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[KnowledgeIndex]:
    """The index of this process on the store of the parameter, empty. pgvector is that of the catalogue's database, and
    of another one where that has none.
    """
    kind = request.param.split()[0]
    chosen = {"vector_store": kind}
    if request.param == "chroma server":
        chosen["chroma_url"] = request.getfixturevalue("chroma_server")
    elif kind == "pinecone":
        server: PineconeStandIn = request.getfixturevalue("pinecone_server")
        chosen |= {"pinecone_api_key": server.api_key, "pinecone_host": server.url}
    elif kind == "pgvector":
        from backend.knowledge.index import _conninfo

        if own := _conninfo() if connection.vendor == "postgresql" and has_pgvector(_conninfo()) else "":
            drop_vectors(own)
        else:
            other = request.getfixturevalue("pgvector_server")
            monkeypatch.setattr("backend.knowledge.index._conninfo", lambda: other)
    settings.ENV = settings.ENV.model_copy(update=chosen)
    embedder.embed_query("the model is converted before a test depends on it")
    yield get_index()
    close_index()


def test_differences_are_found_by_the_real_ids_and_mended(folder: Path, sync: Sync, index: KnowledgeIndex) -> None:
    write(folder, "a.md", "# A\n\nAnts are small.\n")
    write(folder, "b.md", "# B\n\nBees make honey.\n")
    sync()
    assert not compare(folder, index)
    ants, bees = (Chunk.objects.get(source__path=path) for path in ("a.md", "b.md"))
    index.vectors.delete([ants.id])
    index.vectors.upsert(["planted"], np.eye(1, 384, dtype=np.float32), ["nobody"])
    index.vectors.upsert([bees.id], np.eye(1, 384, dtype=np.float32), ["another"])
    differences = compare(folder, index, full=True)
    assert (differences.vectors_missing, differences.vectors_extra) == ([ants.id], ["planted"])
    assert differences.vectors_wrong == [bees.id]
    prepare_repair(index, differences)
    sync()
    assert not compare(folder, index, full=True)
    state(index)


@pytest.mark.parametrize("index", ["pinecone"], indirect=True)
def test_writes_that_are_seen_late_neither_bring_back_what_was_deleted_nor_lose_anything(
    folder: Path, sync: Sync, index: KnowledgeIndex, pinecone_server: PineconeStandIn
) -> None:
    write(folder, "leave.md", "# Leave\n\nParental leave is 16 weeks.\n")
    write(folder, "honey.md", "# Honey\n\nBees make honey.\n")
    sync()
    old = set(Chunk.objects.values_list("id", flat=True))
    pinecone_server.delay = 3600
    (folder / "honey.md").unlink()
    write(folder, "leave.md", "# Leave\n\nParental leave is 20 weeks.\n")
    sync()
    assert index.vectors.ids() == old, "Pinecone shows none of it yet"
    texts = [row["text"] for row in search(index, "How long is parental leave? Do bees make honey?", 5, None)]
    assert any("20 weeks" in text for text in texts), "by its words"
    assert not any("16 weeks" in text or "honey" in text for text in texts)
    store = index.vectors
    assert isinstance(store, PineconeStore)
    for one in pinecone_server.indexes.values():  # all of it is seen now
        one.waiting = [(0.0, namespace, pk, record) for _, namespace, pk, record in one.waiting]
    pinecone_server.delay = 0
    sync()
    state(index)


@pytest.mark.parametrize("index", ["faiss"], indirect=True)
def test_a_log_that_was_cut_is_mended_by_the_next_sync(folder: Path, sync: Sync, index: KnowledgeIndex) -> None:
    write(folder, "a.md", "# A\n\nAnts are small.\n")
    sync()
    write(folder, "b.md", "# B\n\nBees make honey.\n")
    sync()
    before = state(index)
    close_index()
    (log,) = (django_settings.ENV.data_dir / "faiss").iterdir()
    log.write_bytes(log.read_bytes()[:-7])
    assert get_index().vectors.count() == 1
    sync()
    assert state(get_index()) == before
