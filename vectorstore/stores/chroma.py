"""Chroma, embedded or a server: a collection for each embedding fingerprint.

Embedded Chroma is not shared between processes, see backend.knowledge.index.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar
from urllib.parse import urlsplit

import numpy as np

from vectorstore.errors import IndexUnavailable
from vectorstore.store import Hit, VectorStore, slices

if TYPE_CHECKING:
    from chromadb.api import ClientAPI
    from chromadb.api.models.Collection import Collection

WRITE_BATCH = 5_000  # below Chroma's own limit of 5,461 records
READ_PAGE = 10_000  # an unbounded get() fails above 32,766 rows
NEIGHBOURS, CONSTRUCTION_EF, SEARCH_EF = 32, 200, 400  # of the HNSW graph: recall at 60 of 100,000 (docs/scale.md)
CONNECT_SECONDS = 5.0  # to the server
ANSWER_SECONDS = 30.0  # of it, to one request
LOCKED_WAITS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)  # seconds before each further try when its SQLite is locked

P = ParamSpec("P")
R = TypeVar("R")


class ChromaStore(VectorStore):
    """One collection. Every method raises IndexUnavailable when Chroma does not answer."""

    most_sources = 30_000  # Chroma's SQLite takes 32,766 values in a query

    def __init__(self, client: ClientAPI, fingerprint: str, dimensions: int, close: Callable[[], None]) -> None:
        self._client = client
        self._close = close
        self._open = functools.partial(_collection, client, fingerprint, dimensions)
        self._collection = _asking(self._open)

    @classmethod
    def open(cls, path: Path | None, url: str | None, fingerprint: str, dimensions: int) -> ChromaStore:
        """Embedded at `path`, or the server at `url`; the collection is made when it is missing."""
        import chromadb
        import httpx
        from chromadb.config import Settings

        options = Settings(anonymized_telemetry=False)

        def connect() -> ClientAPI:
            if not url:
                return chromadb.PersistentClient(str(path), options)
            parts = urlsplit(url)
            port = parts.port or (443 if parts.scheme == "https" else 8000)
            # The client waits for ever, also while it is made: nobody should wait for a server that is not there.
            httpx.get(f"{url.rstrip('/')}/api/v2/heartbeat", timeout=CONNECT_SECONDS).raise_for_status()
            client = chromadb.HttpClient(parts.hostname or "", port, parts.scheme == "https", settings=options)
            session = getattr(getattr(client, "_server", None), "_session", None)
            if isinstance(session, httpx.Client):
                session.timeout = httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS)
            return client

        client = _asking(connect)
        return cls(client, fingerprint, dimensions, getattr(client, "close", lambda: None))

    def sibling(self, fingerprint: str, dimensions: int) -> ChromaStore:
        return ChromaStore(self._client, fingerprint, dimensions, lambda: None)

    def drop(self, fingerprint: str) -> None:
        from chromadb.errors import NotFoundError

        with contextlib.suppress(NotFoundError):
            _asking(self._client.delete_collection, _name_of(fingerprint))

    def upsert(self, ids: Sequence[str], vectors: np.ndarray, source_ids: Sequence[str]) -> None:
        for part in slices(len(ids), WRITE_BATCH):
            self._ask(
                "upsert",
                ids=list(ids[part]),
                embeddings=vectors[part],
                metadatas=[{"source_id": source_id} for source_id in source_ids[part]],
            )

    def delete(self, ids: Sequence[str]) -> None:
        for part in slices(len(ids), WRITE_BATCH):
            self._ask("delete", ids=list(ids[part]))

    def vectors(self, ids: Sequence[str]) -> dict[str, np.ndarray]:
        found: dict[str, np.ndarray] = {}
        for part in slices(len(ids), WRITE_BATCH):
            got: Any = self._ask("get", ids=list(ids[part]), include=["embeddings"])
            found.update(zip(got["ids"], np.asarray(got["embeddings"], np.float32), strict=True))
        return found

    def owners(self) -> dict[str, str]:
        found: dict[str, str] = {}
        while True:
            got: Any = self._ask("get", include=["metadatas"], limit=READ_PAGE, offset=len(found))
            found.update(
                (chunk_id, str((metadata or {}).get("source_id", "")))
                for chunk_id, metadata in zip(got["ids"], got["metadatas"], strict=True)
            )
            if len(got["ids"]) < READ_PAGE:
                return found

    def ids(self, source_id: str | None = None) -> set[str]:
        where: Any = {"source_id": source_id} if source_id else None
        found: set[str] = set()
        while True:
            got = self._ask("get", where=where, include=[], limit=READ_PAGE, offset=len(found))
            found.update(got["ids"])
            if len(got["ids"]) < READ_PAGE:
                return found

    def _nearest(self, vector: np.ndarray, k: int, source_ids: Sequence[str] | None) -> list[Hit]:
        where: Any = None if source_ids is None else {"source_id": {"$in": list(source_ids)}}
        got: Any = self._ask("query", query_embeddings=[vector], n_results=k, where=where, include=["distances"])
        return [
            Hit(chunk_id, 1.0 - float(distance))
            for chunk_id, distance in zip(got["ids"][0], got["distances"][0], strict=True)
        ]

    def count(self) -> int:
        return int(self._ask("count"))

    def ping(self) -> None:
        _asking(self._client.heartbeat)

    def warm_up(self) -> None:
        dimensions = int((self._collection.metadata or {}).get("dimensions", 0))
        if dimensions and self.count():
            self.query(np.full(dimensions, dimensions**-0.5, np.float32), 1)

    def close(self) -> None:
        self._close()

    def _ask(self, method: str, **arguments: Any) -> Any:
        from chromadb.errors import NotFoundError

        try:
            return _asking(getattr(self._collection, method), **arguments)
        except NotFoundError as error:
            self._collection = _asking(self._open)
            raise IndexUnavailable("The Chroma server has lost the vectors; they are made anew.") from error


def _name_of(fingerprint: str) -> str:
    return f"chunks-{fingerprint}"


def _collection(client: ClientAPI, fingerprint: str, dimensions: int) -> Collection:
    collection = client.get_or_create_collection(
        _name_of(fingerprint),
        embedding_function=None,
        configuration={
            "hnsw": {
                "space": "cosine",
                "max_neighbors": NEIGHBOURS,
                "ef_construction": CONSTRUCTION_EF,
                "ef_search": SEARCH_EF,
            }
        },
        metadata={"dimensions": dimensions},
    )
    if (collection.configuration.get("hnsw") or {}).get("ef_search") != SEARCH_EF:  # it was made by another release
        collection.modify(configuration={"hnsw": {"ef_search": SEARCH_EF}})
    return collection


def _asking(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call Chroma; a server that is down, in whatever way its client says so, is IndexUnavailable.

    Its SQLite refuses at once to turn a transaction that has read into one that writes while another writes. Nothing of
    it is done then, and a moment later it can be.
    """
    import httpx
    from chromadb.errors import InternalError

    waits = iter(LOCKED_WAITS)
    while True:
        try:
            return function(*args, **kwargs)
        except (httpx.HTTPError, OSError) as error:
            raise IndexUnavailable(f"The Chroma server does not answer ({type(error).__name__}).") from error
        except ValueError as error:
            if "Could not connect" in str(error):
                raise IndexUnavailable("The Chroma server does not answer.") from error
            raise
        except InternalError as error:
            wait = next(waits, None)
            if wait is None or "database is locked" not in str(error):
                raise IndexUnavailable(f"The vector index failed: {error}") from error
            time.sleep(wait)
