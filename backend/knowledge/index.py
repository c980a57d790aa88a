"""The derived indexes of this process: opened once, and written by one process at a time.

The owner holds `DATA_DIR/index.lock`. An embedded vector store is not shared between processes (a second one goes on
reading deleted chunks), so there anyone else gets IndexBusy and asks the owner through the database instead. Where the
vectors are in a server, other processes open the index to read it (`write_elsewhere`), and one of them can become the
owner when there is none (`take_over`).
"""

from __future__ import annotations

import fcntl
import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone
from filelock import FileLock, Timeout

from vectorstore.errors import IndexDamaged, IndexUnavailable

if TYPE_CHECKING:
    from backend.environment import Environment
    from vectorstore.embeddings import Embedder
    from vectorstore.lexical import LexicalIndex
    from vectorstore.reranker import Reranker
    from vectorstore.store import Place, VectorStore


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
_elsewhere = threading.Event()
_used: IO[str] | None = None  # held by a process that uses this DATA_DIR without owning its index

USED = "used.lock"


def get_index() -> KnowledgeIndex:
    """The index of this process, opened at the first call; IndexBusy when another process has it."""
    global _opened
    if _opened is None:
        with _opening:
            if _opened is None:
                env = settings.ENV
                _opened = open_index(env.data_dir, env.embedding_model, store_place(env))
    return _opened


def write_elsewhere() -> None:
    """From now on this process opens the index to read it: another one of the same DATA_DIR owns and writes it."""
    hold_data_dir()
    _elsewhere.set()


def hold_data_dir() -> None:
    """Until this process ends no other one is `alone` with this DATA_DIR: for those that work on its database without
    owning the index.
    """
    global _used
    if _used is None:
        settings.ENV.data_dir.mkdir(parents=True, exist_ok=True)
        _used = (settings.ENV.data_dir / USED).open("a")
        fcntl.flock(_used, fcntl.LOCK_SH)


@contextmanager
def alone() -> Iterator[None]:
    """No other process uses this DATA_DIR meanwhile, to write or to read; IndexBusy when one does."""
    data_dir = settings.ENV.data_dir
    lock = _lock(data_dir)
    with (data_dir / USED).open("a") as used:
        try:
            lock.acquire()
            fcntl.flock(used, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (Timeout, BlockingIOError):
            lock.release()
            raise IndexBusy(f"Another Footnote process is using {data_dir}.") from None
        try:
            yield
        finally:
            lock.release()


def take_over() -> bool:
    """Become the process that owns and writes the index, unless another one is. Whether it is this one now.

    IndexUnavailable when the vectors do not answer; nobody owns the index then.
    """
    global _opened
    data_dir = settings.ENV.data_dir
    lock = _lock(data_dir)
    with _opening:
        try:
            lock.acquire()
        except Timeout:
            return False
        try:
            words = _open_words(data_dir / "lexical")
            get_index().vectors.ping()
            follow_switch()
            _opened = replace(get_index(), lexical=words, lock=lock)
        except BaseException:
            lock.release()
            raise
        _elsewhere.clear()
    return True


def follow_switch() -> None:
    """Where another process writes the index: compare by the embedding model that answers now, as the database says."""
    from backend.knowledge.models import Embedding, EmbeddingState
    from vectorstore.embeddings import load_embeddings

    active = Embedding.objects.filter(state=EmbeddingState.ACTIVE).first()
    if active and active.fingerprint != get_index().embedder.fingerprint:
        embedder = load_embeddings(active.name, settings.ENV.data_dir)
        switch_index(embedder, get_index().vectors.sibling(embedder.fingerprint, embedder.dimensions))


def is_open() -> bool:
    """Whether this process owns the index already."""
    return _opened is not None


def is_owned() -> bool:
    """Whether another process owns the index at the moment."""
    lock = _lock(settings.ENV.data_dir)
    try:
        lock.acquire()
    except Timeout:
        return True
    lock.release()
    return False


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


def store_place(env: Environment) -> Place:
    """Where VECTOR_STORE says that the vectors are; pgvector's are in the catalogue's database."""
    from vectorstore.store import PineconeProject, Place

    pinecone = PineconeProject(env.pinecone_api_key, env.pinecone_host, env.pinecone_index, env.pinecone_region)
    return Place(env.vector_store, env.data_dir, env.chroma_url, _conninfo(), pinecone)


def _conninfo() -> str:
    """The catalogue's database as libpq names it, if it is PostgreSQL; Django's own options are not libpq's."""
    if connection.vendor != "postgresql":
        return ""
    from psycopg.conninfo import make_conninfo
    from psycopg.pq import Conninfo

    known = {option.keyword.decode() for option in Conninfo.get_defaults()}
    given: dict[str, object] = connection.get_connection_params()
    return make_conninfo(**{name: str(value) for name, value in given.items() if name in known and value is not None})


def open_index(data_dir: Path, embedding_model: str, place: Place) -> KnowledgeIndex:
    """Open everything below `data_dir`; a damaged word index is emptied, the next sync fills it from the database.

    The embedding model is the one that answers, which the configured one replaces only when its vectors are complete
    (backend/knowledge/reindex.py).
    """
    from vectorstore.embeddings import load_embeddings
    from vectorstore.store import open_store

    lock = _lock(data_dir)
    reader = _elsewhere.is_set()
    try:
        if not reader:
            lock.acquire()
    except Timeout:
        raise IndexBusy(f"Another Footnote process is using {data_dir}.") from None
    try:
        embedder = load_embeddings(active_embedding(embedding_model), data_dir)
        vectors = open_store(place, embedder.fingerprint, embedder.dimensions)
        lexical = _read_words(data_dir) if reader else _open_words(data_dir / "lexical")
    except BaseException:
        lock.release()
        raise
    return KnowledgeIndex(embedder, vectors, lexical, lock)


def _lock(data_dir: Path) -> FileLock:
    data_dir.mkdir(parents=True, exist_ok=True)
    return FileLock(data_dir / "index.lock", timeout=0, thread_local=False)


def _open_words(folder: Path) -> LexicalIndex:
    """For the owner: a damaged word index is emptied."""
    from vectorstore.lexical import LexicalIndex

    try:
        return LexicalIndex.open(folder)
    except IndexDamaged:
        shutil.rmtree(folder)
        return LexicalIndex.open(folder)


def _read_words(data_dir: Path) -> LexicalIndex:
    """For a process that reads along. IndexUnavailable until the owner has made it, or mended it."""
    from vectorstore.lexical import LexicalIndex

    try:
        return LexicalIndex.open(data_dir / "lexical", reader=True)
    except IndexDamaged as error:
        raise IndexUnavailable(f"{error} The process that owns the index makes it anew.") from error
