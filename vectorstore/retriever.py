"""Dense and lexical retrieval, fused into one score that means the same for every question. Whatever one of the two
finds is measured by the other as well.

score = dense * cosine + (1 - dense) * lexical, where `lexical` is a share in [0, 1] of what a chunk could reach at the
most for this question (vectorstore/lexical.py), as the cosine is for texts that have anything in common. Ranks are not
used: they would make the best of nothing look like the best of a good find.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import ConfigDict

from vectorstore import spans
from vectorstore.embeddings import Embedder, known_words
from vectorstore.errors import IndexUnavailable
from vectorstore.lexical import LexicalIndex
from vectorstore.reranker import Reranker
from vectorstore.spelling import mend
from vectorstore.store import Hit, VectorStore

# Weight of the cosine, by kind of passage, tuned on the development sets (docs/adr/0005). Names, numbers and rare words
# decide among paragraphs; people who ask a FAQ use other words than it does.
DENSE = 0.6
DENSE_FAQ = 0.85
DEPTH = 60  # candidates from each index
READ_FACTOR = 3  # times k candidates are read at once; mostly the first time is enough

# The indexes' own filters take time for each source that is named and each of its chunks: 0.4 s where the filter leaves
# nearly all of 100,000. So a few chunks are compared one by one, and those of many are picked out of the best of all.
FEW_CHUNKS = 300  # that many vectors are read in 8 ms
FEW_SOURCES = 300  # that many are looked up in the word index in 1 ms
WIDEN = 4  # times more hits than are wanted are looked through at first, and again where that was nearly enough
MOST_LOOKED_THROUGH = 2_000  # beyond it the indexes' own filters are as quick


class HybridRetriever(BaseRetriever):
    """The `k` best current passages for a question, best first; deterministic, ties by source path and place.

    `read_chunks` maps chunk ids to Documents and leaves out those that may not be answered from; what it leaves out is
    made up for by looking deeper. `sources_of` maps chunk ids to the ids of their sources, for a search among some.
    Each returned Document carries in its metadata `score` in [0, 1], `similarity` (the cosine with the question) and
    `lexical` in [0, 1]; and `query`, the question as it was searched, with its misspelt words mended. Equal texts of
    several files are returned once.

    A `reranker` is given the `rerank_depth` best; the order is then its own, and `score` still tells what it was.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    embedder: Embedder
    vectors: VectorStore
    lexical: LexicalIndex
    read_chunks: Callable[[Sequence[str]], Mapping[str, Document]]
    sources_of: Callable[[Sequence[str]], Mapping[str, str]]
    k: int = 8
    depth: int = DEPTH
    reranker: Reranker | None = None
    rerank_depth: int = 30

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun | None = None,
        source_ids: Sequence[str] | None = None,
    ) -> list[Document]:
        if not query.strip() or (source_ids is not None and not source_ids):
            return []
        query = mend(query, self.lexical.counts, known_words())
        if self.reranker is None:
            return self._find(query, self.k, source_ids)
        found = self._find(query, max(self.k, self.rerank_depth), source_ids)
        with spans.span("rerank"):
            return self.reranker.rerank(query, found)[: self.k]

    def _find(self, query: str, k: int, source_ids: Sequence[str] | None) -> list[Document]:
        """The `k` best by score."""
        told = spans.of_model("embeddings", self.embedder.name)
        with spans.span(f"embeddings {told['gen_ai.request.model']}", told):
            vector = self.embedder.embed_array([query])[0]
        depth = max(self.depth, k)
        while True:
            scored, exhausted = self._candidates(query, vector, depth, source_ids)
            found = self._best(scored, k)
            if len(found) >= k or exhausted:
                break
            depth *= 4
        for document in found:
            document.metadata["query"] = query
        return found

    def _best(self, scored: Mapping[str, tuple[float, float]], k: int) -> list[Document]:
        """The `k` best of the candidates; no more of them are read than it takes to be sure of these."""
        bounds = {chunk_id: max(fuse(*both), fuse(*both, "faq")) for chunk_id, both in scored.items()}
        order = sorted(bounds, key=lambda chunk_id: (-bounds[chunk_id], chunk_id))
        read: dict[str, Document] = {}
        ranked: list[Document] = []
        for start in range(0, len(order), READ_FACTOR * k):
            part = order[start : start + READ_FACTOR * k]
            if len(ranked) == k and ranked[-1].metadata["score"] > bounds[part[0]]:
                break
            read.update(self.read_chunks(part))
            ranked = _rank(scored, read)[:k]
        return ranked

    def _candidates(
        self, query: str, vector: np.ndarray, depth: int, source_ids: Sequence[str] | None
    ) -> tuple[dict[str, tuple[float, float]], bool]:
        """(cosine, lexical share) by chunk id, and whether there is nothing beyond these."""
        dense = self._nearest(vector, depth, source_ids)
        words = self._best_worded(query, depth, source_ids)
        if source_ids is None and words and not dense:
            raise IndexUnavailable("The vector store is empty; what it lost is made anew.")
        similarity = {hit.id: hit.score for hit in dense}
        similarity |= self._cosines(vector, [hit.id for hit in words if hit.id not in similarity])
        share = {hit.id: hit.score for hit in words}
        if len(words) == depth:  # otherwise no other chunk holds any of the words
            share |= {
                hit.id: hit.score
                for hit in self.lexical.compare(query, [chunk_id for chunk_id in similarity if chunk_id not in share])
            }
        scored = {chunk_id: (cosine, share.get(chunk_id, 0.0)) for chunk_id, cosine in similarity.items()}
        return scored, len(dense) < depth and len(words) < depth

    @spans.traced("dense")
    def _nearest(self, vector: np.ndarray, depth: int, source_ids: Sequence[str] | None) -> list[Hit]:
        if source_ids is None:
            return self.vectors.query(vector, depth)
        if len(source_ids) <= FEW_SOURCES:
            ids = self.lexical.ids_among(source_ids, FEW_CHUNKS + 1)
            if 0 < len(ids) <= FEW_CHUNKS:
                return self.vectors.compare(vector, ids)[:depth]
        found = self._picked_out(functools.partial(self.vectors.query, vector), depth, source_ids)
        return self.vectors.query(vector, depth, source_ids) if found is None else found

    @spans.traced("lexical")
    def _best_worded(self, query: str, depth: int, source_ids: Sequence[str] | None) -> list[Hit]:
        if source_ids is None or len(source_ids) <= FEW_SOURCES:
            return self.lexical.query(query, depth, source_ids)
        found = self._picked_out(functools.partial(self.lexical.query, query), depth, source_ids)
        return self.lexical.query(query, depth, source_ids) if found is None else found

    def _picked_out(
        self, search: Callable[[int], list[Hit]], depth: int, source_ids: Sequence[str]
    ) -> list[Hit] | None:
        """The `depth` best of these sources, out of the best of all; None where they are too rare among those."""
        wanted = frozenset(source_ids)
        for width in (WIDEN * depth, WIDEN * WIDEN * depth):
            if width > MOST_LOOKED_THROUGH:
                break
            hits = search(width)
            source_of = self.sources_of([hit.id for hit in hits])
            found = [hit for hit in hits if source_of.get(hit.id) in wanted]
            if len(found) >= depth or len(hits) < width:
                return found[:depth]
            if len(found) * WIDEN < depth:
                break
        return None

    def _cosines(self, vector: np.ndarray, ids: Sequence[str]) -> dict[str, float]:
        stored = self.vectors.vectors(ids) if ids else {}
        return {chunk_id: float(stored[chunk_id] @ vector) if chunk_id in stored else 0.0 for chunk_id in ids}


def fuse(cosine: float, lexical: float, kind: str = "text") -> float:
    """The score of a passage of that kind, in [0, 1]."""
    dense = DENSE_FAQ if kind == "faq" else DENSE
    return dense * min(1.0, max(0.0, cosine)) + (1 - dense) * lexical


def _rank(scored: Mapping[str, tuple[float, float]], documents: Mapping[str, Document]) -> list[Document]:
    scores = {chunk_id: fuse(*scored[chunk_id], document.metadata["kind"]) for chunk_id, document in documents.items()}
    ranked = sorted(
        ((scores[chunk_id], chunk_id, document) for chunk_id, document in documents.items()),
        key=lambda found: (-found[0], found[2].metadata["source"], found[2].metadata["start"], found[1]),
    )
    return [
        Document(
            page_content=document.page_content,
            metadata=_with_scores(document.metadata, score, *scored[chunk_id]),
        )
        for score, chunk_id, document in _without_repeats(ranked)
    ]


def _with_scores(place: dict[str, Any], score: float, cosine: float, lexical: float) -> dict[str, Any]:
    return {**place, "score": score, "similarity": cosine, "lexical": lexical}


def _without_repeats(ranked: Iterable[tuple[float, str, Document]]) -> Iterable[tuple[float, str, Document]]:
    seen: set[str] = set()
    for found in ranked:
        text = " ".join(found[2].page_content.split())
        if text not in seen:
            seen.add(text)
            yield found
