"""The derived indexes of this process: opened once, by one process at a time.

Embedded Chroma and the word index are not shared between processes (a second one goes on reading deleted chunks), so
the owner holds `DATA_DIR/index.lock`; anyone else gets IndexBusy and asks the owner through the database instead.
"""

from __future__ import annotations

import json
import shutil
import threading
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from filelock import FileLock, Timeout

from vectorstore.errors import IndexDamaged

if TYPE_CHECKING:
    from vectorstore.embeddings import Embedder
    from vectorstore.lexical import LexicalIndex
    from vectorstore.reranker import Reranker
    from vectorstore.store import VectorStore


class IndexBusy(Exception):
    """Another process owns the index in this DATA_DIR."""


@dataclass(frozen=True)
class KnowledgeIndex:
    """The embedding model and both indexes, open for reading and writing."""

    embedder: Embedder
    vectors: VectorStore
    lexical: LexicalIndex
    lock: FileLock

    def close(self) -> None:
        self.lexical.close()
        self.vectors.close()
        self.lock.release()


_opened: KnowledgeIndex | None = None
_retired: list[VectorStore] = []  # of models that answered before; the first of them owns the connection
_opening = threading.RLock()


def get_index() -> KnowledgeIndex:
    """The index of this process, opened at the first call; IndexBusy when another process has it."""
    global _opened
    if _opened is None:
        with _opening:
            if _opened is None:
                env = settings.ENV
                _opened = open_index(env.data_dir, env.embedding_model, env.chroma_url)
    return _opened


def is_open() -> bool:
    """Whether this process owns the index already."""
    return _opened is not None


def close_index() -> None:
    """Give the index up, so that another process (or the next test) can own it."""
    global _opened
    with _opening:
        if _opened is not None:
            for vectors in _retired:
                vectors.close()
            _retired.clear()
            _opened.close()
            _opened = None


def configured_reranker() -> Reranker | None:
    """What looks at the best passages a second time, if anything; it is kept, and loaded at its first use."""
    env = settings.ENV
    return _reranker(env.reranker, json.dumps(env.reranker_options)) if env.reranker else None


@cache
def _reranker(name: str, options: str) -> Reranker:
    from vectorstore.reranker import Reranker, find_compressor

    return Reranker(lambda: find_compressor(name)(**json.loads(options)))


def switch_index(embedder: Embedder, vectors: VectorStore) -> None:
    """From now on, questions and passages of this process are compared by these; what began before ends with the old
    ones, which stay open.
    """
    global _opened
    with _opening:
        if _opened is not None:
            _retired.append(_opened.vectors)
            _opened = replace(_opened, embedder=embedder, vectors=vectors)


def active_embedding(configured: str) -> str:
    """The name of the embedding model that answers: the configured one when there was none before.

    A release whose model of that name gives other vectors than before cannot answer by the old ones: the first
    comparison makes all of them anew.
    """
    from backend.knowledge.models import Embedding, EmbeddingState
    from vectorstore.embeddings import load_embeddings

    active = Embedding.objects.filter(state=EmbeddingState.ACTIVE).first()
    name = active.name if active else configured
    fingerprint = load_embeddings(name, settings.ENV.data_dir).fingerprint
    if active is None or active.fingerprint != fingerprint:
        record_active(name, fingerprint)
    return name


def record_active(name: str, fingerprint: str) -> None:
    """This embedding model answers from the next opening on; the one before is kept."""
    from backend.knowledge.models import Embedding, EmbeddingState

    with transaction.atomic():
        Embedding.objects.filter(state=EmbeddingState.ACTIVE).update(state=EmbeddingState.KEPT)
        Embedding.objects.update_or_create(
            fingerprint=fingerprint,
            defaults={"name": name, "state": EmbeddingState.ACTIVE, "active_since": timezone.now()},
        )


def open_index(data_dir: Path, embedding_model: str, chroma_url: str) -> KnowledgeIndex:
    """Open everything below `data_dir`; a damaged word index is emptied, the next sync fills it from the database.

    The embedding model is the one that answers, which the configured one replaces only when its vectors are complete
    (backend/knowledge/reindex.py).
    """
    from vectorstore.embeddings import load_embeddings
    from vectorstore.lexical import LexicalIndex
    from vectorstore.store import VectorStore

    data_dir.mkdir(parents=True, exist_ok=True)
    lock = FileLock(data_dir / "index.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise IndexBusy(f"Another Footnote process is using {data_dir}.") from None
    try:
        embedder = load_embeddings(active_embedding(embedding_model), data_dir)
        path = None if chroma_url else data_dir / "chroma"
        vectors = VectorStore.open(path, chroma_url or None, embedder.fingerprint, embedder.dimensions)
        try:
            lexical = LexicalIndex.open(data_dir / "lexical")
        except IndexDamaged:
            shutil.rmtree(data_dir / "lexical")
            lexical = LexicalIndex.open(data_dir / "lexical")
    except BaseException:
        lock.release()
        raise
    return KnowledgeIndex(embedder, vectors, lexical, lock)
