"""A second look at the best passages, by any LangChain document compressor that the configuration names.

It may reorder what it is given and leave some of it out, no more. What comes back is matched by chunk id and text, and
the retriever's own documents are passed on, so nothing that a reranker wrote reaches an answer. One that fails or gives
back anything else is not heard for that question.
"""

from __future__ import annotations

import copy
import importlib
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from langchain_core.documents import BaseDocumentCompressor, Document

from vectorstore.errors import RerankerUnavailable

logger = logging.getLogger(__name__)

PATIENCE = 60.0  # seconds between two warnings, and before what could not be loaded is tried again


class Reranker:
    """`make` gives the compressor; called at the first use. Safe to use from many threads, as far as that one is."""

    def __init__(self, make: Callable[[], Any], clock: Callable[[], float] = time.monotonic) -> None:
        self._make = make
        self._clock = clock
        self._lock = threading.Lock()
        self._compressor: BaseDocumentCompressor | None = None
        self._unloadable: Exception | None = None
        self._tried_at = self._warned_at = -math.inf

    def rerank(self, query: str, passages: Sequence[Document]) -> list[Document]:
        """The passages in the compressor's order, without those that it drops; as given when it fails.

        Metadata gains `rerank`: the compressor's `relevance_score`, None where it gives none. Equal scores in a row
        stay in the order given.
        """
        if not passages:
            return []
        try:
            # Copies: a compressor that writes into what it is given does not write into what is answered from.
            answered = self._load().compress_documents(copy.deepcopy(list(passages)), query)
            return list(_accepted(passages, answered))
        except Exception as error:  # noqa: BLE001 (somebody else's code, of which anything may come)
            self._warn(error)
            return list(passages)

    def _load(self) -> BaseDocumentCompressor:
        with self._lock:
            if self._compressor is not None:
                return self._compressor
            if self._unloadable is None or self._clock() - self._tried_at >= PATIENCE:
                self._tried_at = self._clock()
                try:
                    made = self._make()
                    if isinstance(made, BaseDocumentCompressor):
                        self._compressor = made
                        return made
                    self._unloadable = TypeError(f"RERANKER makes a {type(made).__name__}, not a document compressor")
                except Exception as error:  # noqa: BLE001 (as in rerank)
                    self._unloadable = error
            raise RerankerUnavailable(str(self._unloadable)) from self._unloadable

    def _warn(self, error: Exception) -> None:
        with self._lock:
            now = self._clock()
            if now - self._warned_at < PATIENCE:
                return
            self._warned_at = now
        logger.warning("the reranker was not heard: %s: %s", type(error).__name__, error)


def find_compressor(name: str) -> Callable[..., Any]:
    """What `package.module:ClassOrFactory` names; RerankerUnavailable when there is no such thing to call."""
    module_name, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except Exception as error:
        raise RerankerUnavailable(f"RERANKER={name!r} cannot be loaded: {type(error).__name__}: {error}") from error
    if not callable(found) or (isinstance(found, type) and not issubclass(found, BaseDocumentCompressor)):
        raise RerankerUnavailable(f"RERANKER={name!r} is neither a document compressor's class nor a function.")
    made_by: Callable[..., Any] = found
    return made_by


class _Refused(Exception):
    """What came back is not what was given."""


def _accepted(given: Sequence[Document], answered: Sequence[Document]) -> Iterator[Document]:
    places = {passage.metadata["chunk_id"]: place for place, passage in enumerate(given)}
    runs: list[tuple[int, float | None, int]] = []  # run of equal scores, the score, the place among the given
    for document in answered:
        place = places.pop(document.metadata.get("chunk_id"), None)
        if place is None:
            raise _Refused("it returned a passage that it was not given, or one twice")
        if document.page_content != given[place].page_content:
            raise _Refused("it returned a passage with another text")
        score = _score(document)
        is_tied = bool(runs) and score is not None and score == runs[-1][1]
        runs.append((runs[-1][0] if is_tied else len(runs), score, place))
    for _, score, place in sorted(runs, key=lambda entry: (entry[0], entry[2])):
        passage = given[place]
        yield Document(page_content=passage.page_content, metadata={**passage.metadata, "rerank": score})


def _score(document: Document) -> float | None:
    try:
        score = float(document.metadata.get("relevance_score", math.nan))
    except (TypeError, ValueError):
        return None
    return score if math.isfinite(score) else None
