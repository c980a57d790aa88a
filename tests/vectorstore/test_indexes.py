"""Both indexes on disk: what is written is found, what is deleted is gone, and no question makes them fail."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vectorstore.errors import IndexDamaged, IndexUnavailable
from vectorstore.lexical import LexicalEntry, LexicalIndex
from vectorstore.stores.chroma import SEARCH_EF, ChromaStore, _asking


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ChromaStore]:
    store = ChromaStore.open(tmp_path / "chroma", None, "test", 3)
    yield store
    store.close()


AXES = np.eye(3, dtype=np.float32)


def test_vectors_are_found_by_cosine_and_gone_after_deletion(store: ChromaStore) -> None:
    store.upsert(["a", "b", "c"], AXES, ["s1", "s1", "s2"])
    hits = store.query(np.array([0.8, 0.6, 0], np.float32), 2)
    assert [(hit.id, round(hit.score, 3)) for hit in hits] == [("a", 0.8), ("b", 0.6)]
    assert [hit.id for hit in store.query(AXES[0], 3, ["s2"])] == ["c"]
    assert store.query(AXES[0], 3, []) == []
    store.delete(["a", "unknown"])
    assert store.ids() == {"b", "c"}
    assert store.ids("s1") == {"b"}
    assert "a" not in {hit.id for hit in store.query(AXES[0], 3)}
    assert store.count() == 2


def test_an_upsert_replaces_and_survives_reopening(tmp_path: Path) -> None:
    store = ChromaStore.open(tmp_path / "chroma", None, "test", 3)
    store.upsert(["a"], AXES[:1], ["s"])
    store.upsert(["a"], AXES[1:2], ["s"])
    store.close()
    again = ChromaStore.open(tmp_path / "chroma", None, "test", 3)
    assert again.vectors(["a", "b"])["a"] == pytest.approx(AXES[1])
    assert set(again.vectors(["a", "b"])) == {"a"}
    other = ChromaStore.open(tmp_path / "chroma", None, "other", 3)
    assert other.count() == 0
    again.close()


def test_a_collection_of_another_release_is_searched_as_widely_as_a_new_one(tmp_path: Path) -> None:
    import chromadb

    client: Any = chromadb.PersistentClient(
        str(tmp_path / "chroma"), chromadb.config.Settings(anonymized_telemetry=False)
    )
    before = client.create_collection("chunks-test", configuration={"hnsw": {"space": "cosine", "ef_search": 50}})
    before.add(ids=["a"], embeddings=AXES[:1], metadatas=[{"source_id": "s"}])
    client.close()
    for _ in range(2):
        store = ChromaStore.open(tmp_path / "chroma", None, "test", 3)
        kept: Any = store._client.get_collection("chunks-test").configuration["hnsw"]
        assert (kept["ef_search"], kept["space"]) == (SEARCH_EF, "cosine")
        assert [hit.id for hit in store.query(AXES[0], 1)] == ["a"]
        store.close()


WRITES_A_MOMENT = """
import sqlite3, sys, time
other = sqlite3.connect(sys.argv[1], isolation_level=None)
other.execute("BEGIN IMMEDIATE")
print("writing", flush=True)
time.sleep(0.5)
other.execute("COMMIT")
"""


def test_a_change_that_meets_another_writer_is_made_once_that_one_is_done(tmp_path: Path) -> None:
    store = ChromaStore.open(tmp_path / "chroma", None, "test", 3)
    writer = [sys.executable, "-c", WRITES_A_MOMENT, str(tmp_path / "chroma" / "chroma.sqlite3")]
    with subprocess.Popen(writer, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"writing\n"
        _asking(store._collection.modify, configuration={"hnsw": {"ef_search": 50}})
    kept: Any = store._client.get_collection("chunks-test").configuration["hnsw"]
    assert kept["ef_search"] == 50
    store.close()


def test_a_filter_may_name_more_sources_than_a_query_takes(store: ChromaStore) -> None:
    vectors = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0]], np.float32)
    store.upsert(["first", "last", "not asked for"], vectors, ["s-0", "s-39999", "other"])
    found = store.query(np.array([0.1, 0.9, 0], np.float32), 5, [f"s-{number}" for number in range(40_000)])
    assert [hit.id for hit in found] == ["last", "first"]


def test_given_ids_are_compared_exactly(store: ChromaStore) -> None:
    store.upsert(["a", "b", "c"], AXES, ["s"] * 3)
    hits = store.compare(np.array([0.6, 0.8, 0], np.float32), ["c", "a", "unknown", "b"])
    assert [(hit.id, round(hit.score, 3)) for hit in hits] == [("b", 0.8), ("a", 0.6), ("c", 0.0)]


def test_more_ids_than_one_page_are_all_listed(store: ChromaStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vectorstore.stores.chroma.READ_PAGE", 10)
    monkeypatch.setattr("vectorstore.stores.chroma.WRITE_BATCH", 7)
    ids = [f"{i:03}" for i in range(45)]
    store.upsert(ids, np.tile(AXES, (15, 1)), ["s"] * 45)
    assert store.ids() == set(ids)
    store.delete(ids[:40])
    assert store.ids() == set(ids[40:])


def test_a_server_that_is_down_is_unavailable() -> None:
    with pytest.raises(IndexUnavailable):
        ChromaStore.open(None, "http://127.0.0.1:9", "test", 3)


@pytest.fixture
def words(tmp_path: Path) -> Iterator[LexicalIndex]:
    index = LexicalIndex.open(tmp_path / "lexical")
    index.add(
        [
            LexicalEntry("a", "s1", "Leave", "Parental leaves are 16 weeks."),
            LexicalEntry("b", "s1", "Office", "The office opens at 8 in Zürich."),
            LexicalEntry("c", "s2", "Fehler", "ERR_4711: 東京 is unreachable."),
        ]
    )
    index.commit()
    yield index
    index.close()


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("parental leave", "a"),
        ("When does the zurich OFFICE open?", "b"),
        ("err_4711", "c"),
        ("京", "c"),
        ("Fehler", "c"),
    ],
)
def test_words_are_found_in_any_form(words: LexicalIndex, question: str, expected: str) -> None:
    assert words.query(question, 3)[0].id == expected


def test_words_of_deleted_chunks_are_gone_and_of_one_source_are_found(words: LexicalIndex) -> None:
    assert {hit.id for hit in words.query("office leave", 5, ["s1"])} == {"a", "b"}
    assert {hit.id for hit in words.query("office leave 東京", 5, ["s2"])} == {"c"}
    assert words.query("office", 5, []) == []
    assert words.ids_among(["s1", "nowhere"], 5) == ["a", "b"]
    assert len(words.ids_among(["s1", "s2"], 2)) == 2
    words.delete(["b"])
    words.commit()
    assert words.query("office", 5) == []
    assert words.ids() == {"a", "c"}


def test_adding_the_same_id_again_replaces_it(words: LexicalIndex) -> None:
    words.add([LexicalEntry("a", "s1", "", "Something else.")])
    words.commit()
    assert words.count() == 3
    assert words.query("parental", 3) == []


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=200) | st.text(st.sampled_from('"()[]{}+-&|!^~*?:\\/ANDORT 1'), max_size=60))
def test_no_question_makes_the_word_index_fail(words: LexicalIndex, question: str) -> None:
    for hit in words.query(question, 5):
        assert hit.score > 0


def test_a_rare_word_weighs_more(words: LexicalIndex) -> None:
    assert words.idf(["unknown"])[0] > words.idf(words.terms("office"))[0] > 0


def test_scores_are_shares_and_compare_tells_the_same_ones(words: LexicalIndex) -> None:
    found = words.query("Parental leave in the office", 5)
    assert all(0 < hit.score <= 1 for hit in found)
    assert words.compare("Parental leave in the office", [hit.id for hit in found]) == found
    assert words.compare("Parental leave in the office", [found[-1].id, "nowhere"]) == found[-1:]
    assert words.compare("Parental leave", []) == words.compare("the", ["a"]) == []


def test_a_long_passage_with_all_the_words_beats_a_short_one_that_repeats_some(words: LexicalIndex) -> None:
    filler = "Visitors are asked to sign in at the desk before they walk through the yard behind the old building. " * 6
    words.add(
        [
            LexicalEntry("some", "s3", "", "Bicycle bicycle shed shed shed."),
            LexicalEntry("all", "s3", "", f"{filler} There is a bicycle shed with a pump."),
        ]
    )
    words.commit()
    assert words.query("bicycle shed pump", 2)[0].id == "all"


def test_counts_are_of_chunks_by_stem(words: LexicalIndex) -> None:
    words.add([LexicalEntry("d", "s3", "", "Bicycles. A bicycle.")])
    words.commit()
    assert words.counts(["bicycle", "bicycles", "tricycle"]) == [1, 1, 0]
    assert words.counts([]) == []


def test_a_damaged_word_index_says_so(tmp_path: Path) -> None:
    (tmp_path / "lexical").mkdir()
    (tmp_path / "lexical" / "meta.json").write_text("{")
    with pytest.raises(IndexDamaged):
        LexicalIndex.open(tmp_path / "lexical")
