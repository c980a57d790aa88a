"""The hybrid retriever: both indexes heard, stale ids never answered, the same answer twice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever

from vectorstore.embeddings import Embedder
from vectorstore.lexical import LexicalEntry, LexicalIndex
from vectorstore.retriever import HybridRetriever, fuse
from vectorstore.stores.chroma import ChromaStore

TEXTS = {
    "leave": "Parental leave is 16 weeks, paid in full.",
    "office": "The office in Oslo opens at 8.",
    "error": "ERR_4711 means that the disk is full.",
    "food": "Lunch is free on Fridays.",
}


class Shelf:
    """The texts that may be answered from."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self.texts = dict(texts)

    def read(self, ids: Sequence[str]) -> Mapping[str, Document]:
        return {
            chunk_id: Document(
                page_content=self.texts[chunk_id], metadata={"source": f"{chunk_id}.md", "start": 0, "kind": "text"}
            )
            for chunk_id in ids
            if chunk_id in self.texts
        }

    def sources_of(self, ids: Sequence[str]) -> Mapping[str, str]:
        return {chunk_id: f"of {chunk_id}" for chunk_id in ids if chunk_id in self.texts}


@pytest.fixture
def shelf() -> Shelf:
    return Shelf(TEXTS)


@pytest.fixture
def retriever(tmp_path: Path, embedder: Embedder, shelf: Shelf) -> Iterator[HybridRetriever]:
    vectors = ChromaStore.open(tmp_path / "chroma", None, "test", 384)
    lexical = LexicalIndex.open(tmp_path / "lexical")
    vectors.upsert(list(TEXTS), embedder.embed_array(list(TEXTS.values())), [f"of {name}" for name in TEXTS])
    lexical.add([LexicalEntry(name, f"of {name}", "", text) for name, text in TEXTS.items()])
    lexical.commit()
    yield HybridRetriever(
        embedder=embedder, vectors=vectors, lexical=lexical, read_chunks=shelf.read, sources_of=shelf.sources_of, k=2
    )
    lexical.close()
    vectors.close()


def sources(retriever: HybridRetriever, question: str, **options: Any) -> list[str]:
    return [document.metadata["source"] for document in retriever.invoke(question, **options)]


def test_meaning_and_words_both_find(retriever: HybridRetriever) -> None:
    assert isinstance(retriever, BaseRetriever)
    assert sources(retriever, "How many days may new fathers stay at home?")[0] == "leave.md"
    assert sources(retriever, "err_4711")[0] == "error.md"


def test_scores_are_shares_and_descend(retriever: HybridRetriever) -> None:
    found = retriever.invoke("When does the Oslo office open?")
    scores = [document.metadata["score"] for document in found]
    assert scores == sorted(scores, reverse=True)
    assert 0 < scores[0] <= 1
    best = found[0].metadata
    assert best["score"] == pytest.approx(fuse(best["similarity"], best["lexical"]))


def test_what_may_not_be_answered_from_is_made_up_for_by_looking_deeper(
    retriever: HybridRetriever, shelf: Shelf
) -> None:
    del shelf.texts["office"]
    found = sources(retriever.model_copy(update={"depth": 1, "k": 3}), "When does the Oslo office open?")
    assert "office.md" not in found
    assert len(found) == 3


def test_only_the_given_sources_are_searched(retriever: HybridRetriever) -> None:
    assert sources(retriever, "When does the office open?", source_ids=["of food"]) == ["food.md"]
    assert sources(retriever, "When does the office open?", source_ids=[]) == []


SOURCES = 500
SUBJECTS = ("leave", "office", "lunch", "travel", "salary", "training", "bicycles", "printers")
CASES = {f"{n:04}": f"Case {n // 7} of {SUBJECTS[n % 8]} and {SUBJECTS[n % 5]}." for n in range(4 * SOURCES)}


def case_source(chunk_id: str) -> str:
    return f"source {int(chunk_id) % SOURCES}"


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory, embedder: Embedder) -> Iterator[HybridRetriever]:
    """2,000 chunks of 500 sources, so that filters lie on both sides of each limit."""

    class Catalogue(Shelf):
        def sources_of(self, ids: Sequence[str]) -> Mapping[str, str]:
            return {chunk_id: case_source(chunk_id) for chunk_id in ids}

    home, shelf = tmp_path_factory.mktemp("cases"), Catalogue(CASES)
    vectors = ChromaStore.open(home / "chroma", None, "test", 384)
    lexical = LexicalIndex.open(home / "lexical")
    vectors.upsert(list(CASES), embedder.embed_array(list(CASES.values())), [case_source(name) for name in CASES])
    lexical.add([LexicalEntry(name, case_source(name), "", text) for name, text in CASES.items()])
    lexical.commit()
    yield HybridRetriever(
        embedder=embedder, vectors=vectors, lexical=lexical, read_chunks=shelf.read, sources_of=shelf.sources_of, k=8
    )
    lexical.close()
    vectors.close()


@pytest.mark.parametrize(
    "chosen",
    [[3], [3, 40, 41, 300], range(90), range(250), range(1, SOURCES), range(SOURCES), [-1]],
    ids=["one", "few", "a fifth", "half", "all but one", "all", "unknown"],
)
def test_a_filter_finds_the_best_of_its_sources(cases: HybridRetriever, chosen: Sequence[int]) -> None:
    source_ids = [f"source {number}" for number in chosen]
    for question in ("What is case 30 of travel?", "Who repairs printers and bicycles?"):
        vector = cases.embedder.embed_array([question])[0]
        exact = cases.vectors.compare(vector, [name for name in CASES if case_source(name) in source_ids])[:60]
        found = cases._nearest(vector, 60, source_ids)
        assert len(found) == len(exact)
        near_enough = [hit for hit in found if hit.score >= exact[-1].score - 1e-5]
        assert len(near_enough) >= 0.95 * len(exact), "as many as the graph finds without a filter"
        assert {case_source(hit.id) for hit in found} <= set(source_ids)
        by_words = cases.lexical.query(question, 60, source_ids)
        worded = cases._best_worded(question, 60, source_ids)
        assert [hit.score for hit in worded] == [hit.score for hit in by_words]
        passages = cases.invoke(question, source_ids=source_ids)
        assert {case_source(one.metadata["source"].removesuffix(".md")) for one in passages} <= set(source_ids)
        assert len(passages) == min(8, len(exact))


def test_equal_texts_are_returned_once(retriever: HybridRetriever, shelf: Shelf) -> None:
    shelf.texts["food"] = shelf.texts["office"]
    assert sources(retriever.model_copy(update={"k": 4}), "Oslo office").count("food.md") <= 1
    texts = [document.page_content for document in retriever.model_copy(update={"k": 4}).invoke("Oslo office")]
    assert len(texts) == len(set(texts)) == 3


@pytest.mark.parametrize("question", ["", "  ", "?", "the of and", "\x00", "漢" * 5000])
def test_a_question_without_content_finds_little_and_breaks_nothing(retriever: HybridRetriever, question: str) -> None:
    assert len(retriever.invoke(question)) <= 2


def test_reading_no_more_than_needed_finds_the_same(tmp_path: Path, embedder: Embedder) -> None:
    """Against every candidate read and ranked: the same passages in the same order, and fewer read."""
    subjects = ("leave", "office", "lunch", "travel", "salary", "training")
    texts = {
        f"{subject}-{number}": f"Note {number} tells what the rules for {subject} say about case {number % 7}."
        for subject in subjects
        for number in range(20)
    }
    read: list[str] = []

    class Kinds(Shelf):
        def read(self, ids: Sequence[str]) -> Mapping[str, Document]:
            read.extend(ids)
            documents = super().read(ids)
            for chunk_id, document in documents.items():
                document.metadata["kind"] = "faq" if chunk_id.endswith(("1", "4", "7")) else "text"
            return documents

    shelf = Kinds(texts)
    vectors = ChromaStore.open(tmp_path / "chroma", None, "test", 384)
    lexical = LexicalIndex.open(tmp_path / "lexical")
    vectors.upsert(list(texts), embedder.embed_array(list(texts.values())), ["of"] * len(texts))
    lexical.add([LexicalEntry(name, "of", "", text) for name, text in texts.items()])
    lexical.commit()
    retriever = HybridRetriever(
        embedder=embedder,
        vectors=vectors,
        lexical=lexical,
        read_chunks=shelf.read,
        sources_of=shelf.sources_of,
        k=4,
        depth=120,
    )
    for subject in subjects:
        question = f"What do the rules for {subject} say about case 3?"
        scored, _ = retriever._candidates(question, embedder.embed_array([question])[0], 120, None)
        scores = {
            chunk_id: fuse(*scored[chunk_id], document.metadata["kind"])
            for chunk_id, document in shelf.read(list(scored)).items()
        }
        best = sorted(scores, key=lambda chunk_id: (-scores[chunk_id], f"{chunk_id}.md"))[:4]
        read.clear()
        assert sources(retriever, question) == [f"{chunk_id}.md" for chunk_id in best]
        assert len(read) < len(texts) / 2
    lexical.close()
    vectors.close()


def test_a_misspelt_question_finds_what_the_right_one_does(retriever: HybridRetriever) -> None:
    found = retriever.invoke("How long is praental laeve?")
    assert found[0].metadata["query"] == "How long is parental leave?"
    assert [(one.metadata["source"], one.metadata["score"]) for one in found] == [
        (one.metadata["source"], one.metadata["score"]) for one in retriever.invoke("How long is parental leave?")
    ]


def test_what_only_the_vectors_found_is_measured_by_its_words_too(retriever: HybridRetriever) -> None:
    wide, narrow = retriever.model_copy(update={"depth": 60, "k": 4}), retriever.model_copy(update={"depth": 1, "k": 1})
    question = "When is the office free, on Fridays or at 8?"
    best = narrow.invoke(question)[0].metadata
    assert best["lexical"] > 0
    shares = {one.metadata["source"]: one.metadata["lexical"] for one in wide.invoke(question)}
    assert best["lexical"] == pytest.approx(shares[best["source"]])
