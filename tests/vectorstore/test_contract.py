"""What Footnote asks of a vector store, asked of each: exact ids and deletion, order by cosine, models side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from evals.pinecone_stand_in import PineconeStandIn
from tests.stores import STORES
from vectorstore.errors import IndexUnavailable
from vectorstore.store import PineconeProject, Place, VectorStore, open_store
from vectorstore.stores import faiss, pgvector

AXES = np.eye(3, dtype=np.float32)
Opener = Callable[..., VectorStore]


@pytest.fixture(params=STORES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Where one of the stores keeps its vectors, of which there are none yet."""
    if request.param == "chroma server":
        return Place("chroma", tmp_path, chroma_url=request.getfixturevalue("chroma_server"))
    if request.param == "pgvector":
        return Place("pgvector", tmp_path, postgresql=request.getfixturevalue("pgvector_server"))
    if request.param == "pinecone":
        server: PineconeStandIn = request.getfixturevalue("pinecone_server")
        return Place("pinecone", tmp_path, pinecone=PineconeProject(server.api_key, server.url))
    return Place(request.param, tmp_path)


@pytest.fixture
def store(place: Place) -> Iterator[VectorStore]:
    store = open_store(place, "test", 3)
    yield store
    store.close()


def found(store: VectorStore, vector: list[float], k: int, source_ids: list[str] | None = None) -> list[str]:
    asked = np.array(vector, np.float32)
    return [hit.id for hit in store.query(asked / np.linalg.norm(asked), k, source_ids)]


def unit(rows: int, seed: int = 0) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(size=(rows, 3)).astype(np.float32)
    lengths: np.ndarray = np.linalg.norm(drawn, axis=1, keepdims=True)
    return np.asarray(drawn / lengths, np.float32)


def test_an_empty_store_has_nothing_and_minds_nothing(store: VectorStore) -> None:
    store.ping()
    store.warm_up()
    store.delete(["unknown"])
    store.delete([])
    store.upsert([], np.empty((0, 3), np.float32), [])
    assert (store.count(), store.ids(), store.ids("s"), store.owners()) == (0, set(), set(), {})
    assert store.vectors(["unknown"]) == store.vectors([]) == {}
    assert store.query(AXES[0], 3) == store.query(AXES[0], 3, ["s"]) == store.compare(AXES[0], ["a"]) == []


def test_vectors_are_found_by_cosine_and_gone_after_deletion(store: VectorStore) -> None:
    store.upsert(["a", "b", "c"], AXES, ["s1", "s1", "s2"])
    hits = store.query(np.array([0.8, 0.6, 0], np.float32), 2)
    assert [(hit.id, round(hit.score, 3)) for hit in hits] == [("a", 0.8), ("b", 0.6)]
    assert store.query(AXES[0], 0) == store.query(AXES[0], 3, []) == []
    store.delete(["a", "unknown"])
    assert (store.ids(), store.ids("s1"), store.count()) == ({"b", "c"}, {"b"}, 2)
    assert "a" not in found(store, [1, 0, 0], 3)
    assert store.vectors(["a"]) == {}


def test_a_filter_by_sources_is_exact(store: VectorStore) -> None:
    vectors = unit(60)
    ids, owners = [f"{i:02}" for i in range(60)], [f"s{i % 7}" for i in range(60)]
    store.upsert(ids, vectors, owners)
    for asked in unit(5, seed=1):
        near = sorted((i for i in range(60) if owners[i] in ("s2", "s5")), key=lambda i: -float(vectors[i] @ asked))
        assert [hit.id for hit in store.query(asked, 6, ["s2", "s5", "nowhere"])] == [ids[i] for i in near[:6]]
    assert store.query(AXES[0], 3, ["nowhere"]) == []


def test_a_filter_may_name_many_sources(store: VectorStore) -> None:
    vectors = np.array([[1, 0, 0], [0, 1, 0], [0.8, 0.6, 0]], np.float32)
    store.upsert(["first", "last", "not asked for"], vectors, ["s-0", "s-32999", "other"])
    assert found(store, [0.1, 0.9, 0], 5, [f"s-{number}" for number in range(33_000)]) == ["last", "first"]


def test_ties_are_ordered_by_id_and_more_may_be_asked_for_than_there_is(store: VectorStore) -> None:
    store.upsert(["b", "c", "a"], np.repeat(AXES[:1], 3, axis=0), ["s"] * 3)
    assert found(store, [1, 0, 0], 1_000) == ["a", "b", "c"]
    assert found(store, [1, 0, 0], 2_000, ["s"]) == ["a", "b", "c"]


def test_given_ids_are_compared_exactly(store: VectorStore) -> None:
    store.upsert(["a", "b", "c"], AXES, ["s"] * 3)
    hits = store.compare(np.array([0.6, 0.8, 0], np.float32), ["c", "a", "unknown", "b"])
    assert [(hit.id, round(hit.score, 3)) for hit in hits] == [("b", 0.8), ("a", 0.6), ("c", 0.0)]


def test_an_upsert_replaces_vector_and_owner(store: VectorStore) -> None:
    store.upsert(["a"], AXES[:1], ["s"])
    store.upsert(["a"], AXES[1:2], ["t"])
    assert store.vectors(["a"])["a"] == pytest.approx(AXES[1])
    assert (store.owners(), store.count(), store.ids("s")) == ({"a": "t"}, 1, set())
    assert store.query(AXES[0], 1, ["s"]) == []


def test_what_was_written_is_there_after_reopening(place: Place) -> None:
    vectors = unit(5)
    store = open_store(place, "test", 3)
    store.upsert(["a", "b", "c", "d", "e"], vectors, ["s", "s", "t", "t", "t"])
    store.delete(["b", "d"])
    store.close()
    again = open_store(place, "test", 3)
    assert again.owners() == {"a": "s", "c": "t", "e": "t"}
    assert again.vectors(["c", "b"])["c"] == pytest.approx(vectors[2], abs=1e-6)
    assert found(again, list(vectors[4]), 1) == ["e"]
    again.close()


def test_many_ids_are_all_listed_and_all_deleted(store: VectorStore) -> None:
    ids = [f"{i:04}" for i in range(2_345)]
    store.upsert(ids, unit(len(ids)), [f"s{i % 3}" for i in range(len(ids))])
    assert store.ids() == set(ids)
    assert store.count() == len(ids)
    assert set(store.vectors(ids[:400])) == set(ids[:400])
    store.delete(ids[:2_300])
    assert store.ids() == set(ids[2_300:])
    assert len(found(store, [1, 1, 1], 60)) == 45, "what was deleted leaves no hole in what is found"


def test_collections_of_two_models_lie_side_by_side(store: VectorStore) -> None:
    store.upsert(["a", "b"], AXES[:2], ["s", "s"])
    other = store.sibling("another-model-00ff", 5)
    other.upsert(["a"], np.eye(1, 5, dtype=np.float32), ["s"])
    same = store.sibling("another-model-00ff", 5)
    assert (store.ids(), other.ids(), same.ids()) == ({"a", "b"}, {"a"}, {"a"})
    assert other.vectors(["a"])["a"].shape == (5,)
    same.upsert(["c"], np.eye(1, 5, k=1, dtype=np.float32), ["s"])
    assert other.ids() == {"a", "c"}
    other.close()
    assert store.count() == 2, "closing is the first's affair"
    store.drop("another-model-00ff")
    store.drop("never there")
    assert store.ids() == {"a", "b"}
    assert store.sibling("another-model-00ff", 5).count() == 0


@pytest.mark.parametrize(
    "place",
    [
        Place("chroma", Path("/nowhere"), chroma_url="http://127.0.0.1:9"),
        Place("pgvector", Path("/nowhere"), postgresql="host=127.0.0.1 port=9 connect_timeout=2"),
        Place("pinecone", Path("/nowhere"), pinecone=PineconeProject("key", "http://127.0.0.1:9")),
        Place("pinecone", Path("/nowhere")),
        Place("faiss", Path("/proc/nowhere")),
    ],
    ids=lambda place: place.kind,
)
def test_a_store_that_cannot_be_reached_is_unavailable(place: Place) -> None:
    with pytest.raises(IndexUnavailable):
        open_store(place, "test", 3)


# --- FAISS: what is on disk ---


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log of two vectors, closed."""
    store = faiss.FaissStore.open(tmp_path, "test", 3)
    store.upsert(["a"], AXES[:1], ["s"])
    store.upsert(["b"], AXES[1:2], ["t"])
    store.close()
    return tmp_path / "chunks-test.log"


def reopened(log: Path) -> dict[str, str]:
    """What is there; and it can be written to."""
    store = faiss.FaissStore.open(log.parent, "test", 3)
    owners = store.owners()
    store.upsert(["later"], AXES[2:], ["u"])
    store.close()
    again = faiss.FaissStore.open(log.parent, "test", 3)
    assert again.owners() == {**owners, "later": "u"}
    again.close()
    return owners


def test_a_log_that_was_cut_anywhere_holds_what_was_whole_before(log: Path) -> None:
    whole = log.read_bytes()
    lengths = []
    for length in range(len(whole) + 1):
        log.write_bytes(whole[:length])
        lengths.append(len(reopened(log)))
    assert lengths == sorted(lengths)
    assert (lengths[0], lengths[-1]) == (0, 2)


def test_a_record_with_a_wrong_byte_and_what_follows_it_are_not_believed(log: Path) -> None:
    whole = bytearray(log.read_bytes())
    whole[-1] ^= 1
    log.write_bytes(whole)
    assert reopened(log) == {"a": "s"}


def test_a_log_of_deleted_vectors_is_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faiss, "WASTE", 1_000)
    store = faiss.FaissStore.open(tmp_path, "test", 3)
    for _ in range(50):
        store.upsert(["a", "b", "c"], AXES, ["s", "s", "t"])
        store.delete(["b"])
    store.close()
    log = tmp_path / "chunks-test.log"
    assert log.stat().st_size < 3_000
    assert reopened(log) == {"a": "s", "c": "t"}
    assert [path.name for path in tmp_path.iterdir()] == [log.name]


def test_a_draft_of_a_killed_process_is_not_read(log: Path) -> None:
    log.with_suffix(".draft").write_bytes(b"half of it")
    assert reopened(log) == {"a": "s", "b": "t"}


# --- pgvector ---


def test_a_graph_full_of_deleted_rows_still_gives_as_many_as_are_asked_for(pgvector_server: str) -> None:
    store = pgvector.PgvectorStore.open(pgvector_server, "test", 3)
    vectors = unit(1_500)
    asked = vectors[0]
    nearest_first = sorted(range(1_500), key=lambda i: -float(vectors[i] @ asked))
    store.upsert([f"{i:04}" for i in range(1_500)], vectors, ["s"] * 1_500)
    store.delete([f"{i:04}" for i in nearest_first[:1_400]])
    assert [hit.id for hit in store.query(asked, 60)] == [f"{i:04}" for i in nearest_first[1_400:1_460]]
    store.close()


def test_two_processes_see_what_the_other_writes(pgvector_server: str) -> None:
    one = pgvector.PgvectorStore.open(pgvector_server, "test", 3)
    two = pgvector.PgvectorStore.open(pgvector_server, "test", 3)
    one.upsert(["a"], AXES[:1], ["s"])
    assert found(two, [1, 0, 0], 1) == ["a"]
    two.delete(["a"])
    assert one.query(AXES[0], 1) == []
    one.close()
    two.close()


# --- Pinecone ---


def test_pinecone_is_unavailable_while_it_fails_and_back_afterwards(pinecone_server: PineconeStandIn) -> None:
    project = PineconeProject(pinecone_server.api_key, pinecone_server.url)
    store = open_store(Place("pinecone", Path(), pinecone=project), "test", 3)
    store.upsert(["a"], AXES[:1], ["s"])
    pinecone_server.failing = True
    for ask in (store.ping, store.count, lambda: store.query(AXES[0], 1), lambda: store.delete(["a"])):
        with pytest.raises(IndexUnavailable, match="Pinecone"):
            ask()
    pinecone_server.failing = False
    assert found(store, [1, 0, 0], 1) == ["a"]
    store.close()


def test_a_wrong_key_of_pinecone_is_unavailable(pinecone_server: PineconeStandIn) -> None:
    project = PineconeProject("another-key", pinecone_server.url)
    with pytest.raises(IndexUnavailable, match="Invalid API key"):
        open_store(Place("pinecone", Path(), pinecone=project), "test", 3)
    assert "another-key" not in repr(project)


def test_large_vectors_are_sent_in_parts_that_pinecone_takes(pinecone_server: PineconeStandIn) -> None:
    project = PineconeProject(pinecone_server.api_key, pinecone_server.url)
    store = open_store(Place("pinecone", Path(), pinecone=project), "large", 3_072)
    drawn = np.random.default_rng(0).normal(size=(150, 3_072)).astype(np.float32)
    store.upsert([str(i) for i in range(150)], drawn, ["s"] * 150)
    assert store.count() == 150
    store.close()
