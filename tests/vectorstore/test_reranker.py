"""The reranker: its order is taken, its words are not, and its failures cost nothing but itself."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document

from tests.vectorstore.test_retriever import TEXTS, Shelf
from vectorstore.embeddings import Embedder
from vectorstore.errors import RerankerUnavailable
from vectorstore.lexical import LexicalEntry, LexicalIndex
from vectorstore.reranker import PATIENCE, Reranker, find_compressor
from vectorstore.retriever import HybridRetriever
from vectorstore.stores.chroma import ChromaStore

HERE = "tests.vectorstore.test_reranker"


class Compressor(BaseDocumentCompressor):
    """Answers with what it was given; subclasses answer otherwise."""

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        return self.answer(list(documents))

    def answer(self, documents: list[Document]) -> list[Document]:
        return documents


class ShortestFirst(Compressor):
    """Scores by length; `longest` is the most that a passage may have."""

    longest: int = 1_000

    def answer(self, documents: list[Document]) -> list[Document]:
        kept = [document for document in documents if len(document.page_content) <= self.longest]
        for document in kept:
            document.metadata["relevance_score"] = -len(document.page_content)
        return sorted(kept, key=lambda document: len(document.page_content))


class Reversed(Compressor):
    """All equally good, the other way round."""

    def answer(self, documents: list[Document]) -> list[Document]:
        return [Document(one.page_content, metadata={**one.metadata, "relevance_score": 1}) for one in documents[::-1]]


class Raises(Compressor):
    def answer(self, documents: list[Document]) -> list[Document]:
        raise TimeoutError("the model did not answer\nin time")


class Stranger(Compressor):
    def answer(self, documents: list[Document]) -> list[Document]:
        return [Document("I was never in a file.", metadata={"chunk_id": "stranger"}), *documents]


class Nameless(Compressor):
    def answer(self, documents: list[Document]) -> list[Document]:
        return [Document(documents[0].page_content)]


class Twice(Compressor):
    def answer(self, documents: list[Document]) -> list[Document]:
        return [*documents, documents[0]]


class Rewrites(Compressor):
    """Writes into the very documents that it is given."""

    def answer(self, documents: list[Document]) -> list[Document]:
        documents[0].page_content = "Parental leave is 99 weeks."
        return documents


class Unhashable(Compressor):
    def answer(self, documents: list[Document]) -> list[Document]:
        documents[0].metadata["chunk_id"] = ["a list"]
        return documents


class Nothing(Compressor):
    def answer(self, documents: list[Document]) -> list[Document]:
        return None  # type: ignore[return-value]


class Relabels(Compressor):
    """Leaves the text as it is and says that it stands elsewhere."""

    def answer(self, documents: list[Document]) -> list[Document]:
        for document in documents:
            document.metadata |= {"source": "forged.md", "score": 1.0, "start": 99, "relevance_score": "high"}
        return documents


@pytest.fixture
def retriever(tmp_path: Path, embedder: Embedder) -> Iterator[HybridRetriever]:
    class Named(Shelf):
        def read(self, ids: Sequence[str]) -> dict[str, Document]:
            documents = dict(super().read(ids))
            for chunk_id, document in documents.items():
                document.metadata["chunk_id"] = chunk_id
            return documents

    vectors = ChromaStore.open(tmp_path / "chroma", None, "test", 384)
    lexical = LexicalIndex.open(tmp_path / "lexical")
    vectors.upsert(list(TEXTS), embedder.embed_array(list(TEXTS.values())), list(TEXTS))
    lexical.add([LexicalEntry(name, name, "", text) for name, text in TEXTS.items()])
    lexical.commit()
    shelf = Named(TEXTS)
    yield HybridRetriever(
        embedder=embedder, vectors=vectors, lexical=lexical, read_chunks=shelf.read, sources_of=shelf.sources_of, k=4
    )
    lexical.close()
    vectors.close()


QUESTION = "How long is parental leave?"


def ask(retriever: HybridRetriever, compressor: BaseDocumentCompressor, **options: int) -> list[Document]:
    return retriever.model_copy(update={"reranker": Reranker(lambda: compressor), **options}).invoke(QUESTION)


def ids(found: Sequence[Document]) -> list[str]:
    return [document.metadata["chunk_id"] for document in found]


def test_its_order_is_taken_and_the_score_is_still_the_retrievers(retriever: HybridRetriever) -> None:
    before = {document.metadata["chunk_id"]: document for document in retriever.invoke(QUESTION)}
    found = ask(retriever, ShortestFirst())
    assert ids(found) == sorted(TEXTS, key=lambda name: len(TEXTS[name])) != list(before)
    for document in found:
        name = document.metadata["chunk_id"]
        assert document.page_content == TEXTS[name]
        assert document.metadata == {**before[name].metadata, "rerank": -len(TEXTS[name])}


def test_what_it_drops_is_dropped(retriever: HybridRetriever) -> None:
    assert ids(ask(retriever, ShortestFirst(longest=len(TEXTS["food"])))) == ["food"]
    assert ask(retriever, ShortestFirst(longest=0)) == []


def test_it_is_given_the_best_and_the_k_first_of_its_order_are_taken(retriever: HybridRetriever) -> None:
    hybrid = ids(retriever.invoke(QUESTION))
    best = sorted(hybrid[:3], key=lambda name: len(TEXTS[name]))
    assert ids(ask(retriever, ShortestFirst(), k=2, rerank_depth=3)) == best[:2]
    assert len(ask(retriever, ShortestFirst(), k=4, rerank_depth=1)) == 4, "never fewer than are asked for"


def test_ties_stay_in_the_order_of_the_retriever(retriever: HybridRetriever) -> None:
    assert ids(ask(retriever, Reversed())) == ids(retriever.invoke(QUESTION))


@pytest.mark.parametrize(
    "compressor", [Raises(), Stranger(), Nameless(), Twice(), Rewrites(), Unhashable(), Nothing()], ids=repr
)
def test_one_that_fails_or_makes_things_up_is_not_heard(
    retriever: HybridRetriever, compressor: Compressor, caplog: pytest.LogCaptureFixture
) -> None:
    assert ask(retriever, compressor) == retriever.invoke(QUESTION)
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_only_the_order_is_heard(retriever: HybridRetriever) -> None:
    before = retriever.invoke(QUESTION)
    expected = [Document(one.page_content, metadata={**one.metadata, "rerank": None}) for one in before]
    assert ask(retriever, Relabels()) == expected


def test_it_is_loaded_once_and_warns_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    now, made = [0.0], []

    def make() -> BaseDocumentCompressor:
        made.append(now[0])
        return Raises()

    reranker = Reranker(make, lambda: now[0])
    given = [Document("a", metadata={"chunk_id": "a"})]
    assert made == []
    for moment in (0.0, PATIENCE - 1, PATIENCE + 1):
        now[0] = moment
        assert reranker.rerank("?", given) == given
    assert made == [0.0]
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2


def test_one_that_cannot_be_made_is_tried_again_after_a_while() -> None:
    now, made = [0.0], []

    def make() -> BaseDocumentCompressor:
        made.append(now[0])
        if now[0] == 0:
            raise OSError("its weights are not there")
        return ShortestFirst()

    reranker = Reranker(make, lambda: now[0])
    given = [Document("long", metadata={"chunk_id": "a"}), Document("s", metadata={"chunk_id": "b"})]
    assert reranker.rerank("?", given) == given
    now[0] = PATIENCE - 1
    assert reranker.rerank("?", given) == given
    now[0] = PATIENCE
    assert ids(reranker.rerank("?", given)) == ["b", "a"]
    assert made == [0.0, PATIENCE]


def test_a_factory_that_makes_something_else_is_not_heard(caplog: pytest.LogCaptureFixture) -> None:
    given = [Document("a", metadata={"chunk_id": "a"})]
    assert Reranker(lambda: "a string").rerank("?", given) == given
    assert "makes a str" in caplog.text


def test_a_class_is_found_by_its_name() -> None:
    assert find_compressor(f"{HERE}:ShortestFirst")(longest=3).longest == 3


@pytest.mark.parametrize(
    "name", ["no.such.module:Thing", f"{HERE}:Missing", f"{HERE}:HERE", "pathlib:Path", "builtins:", ":int"]
)
def test_a_name_of_nothing_says_so(name: str) -> None:
    with pytest.raises(RerankerUnavailable, match="RERANKER="):
        find_compressor(name)
