"""The vector index: Chroma, embedded or a server, one collection for each embedding fingerprint.

It holds ids, vectors and the id of the source; texts live in the database. Embedded Chroma is not shared between
processes, see backend.knowledge.index.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar
from urllib.parse import urlsplit

import numpy as np

from vectorstore.errors import IndexUnavailable

if TYPE_CHECKING:
    from chromadb.api import ClientAPI
    from chromadb.api.models.Collection import Collection

WRITE_BATCH = 5_000  # below Chroma's own limit of 5,461 records
READ_PAGE = 10_000  # an unbounded get() fails above 32,766 rows
FILTER_SOURCES = 30_000  # in one query: Chroma's SQLite takes 32,766 values
NEIGHBOURS, CONSTRUCTION_EF, SEARCH_EF = 32, 200, 400  # of the HNSW graph: recall at 60 of 100,000 (docs/scale.md)

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk's id and its score: the cosine from the vector index, the lexical share from the word index."""

    id: str
    score: float


class VectorStore:
    """One collection. Every method raises IndexUnavailable when Chroma does not answer."""

    def __init__(self, client: ClientAPI, collection: Collection, close: Callable[[], None]) -> None:
        self._client = client
        self._collection = collection
        self._close = close

    @classmethod
    def open(cls, path: Path | None, url: str | None, fingerprint: str, dimensions: int) -> VectorStore:
        """Embedded at `path`, or the server at `url`; the collection is made when it is missing."""
        import chromadb
        from chromadb.config import Settings

        options = Settings(anonymized_telemetry=False)

        def connect() -> tuple[ClientAPI, Collection]:
            if url:
                parts = urlsplit(url)
                port = parts.port or (443 if parts.scheme == "https" else 8000)
                client = chromadb.HttpClient(parts.hostname or "", port, parts.scheme == "https", settings=options)
            else:
                client = chromadb.PersistentClient(str(path), options)
            return client, _collection(client, fingerprint, dimensions)

        client, collection = _asking(connect)
        return cls(client, collection, getattr(client, "close", lambda: None))

    def sibling(self, fingerprint: str, dimensions: int) -> VectorStore:
        """The collection of another embedding model in the same place; made when it is missing. Closing is the first's
        affair.
        """
        return VectorStore(self._client, _asking(_collection, self._client, fingerprint, dimensions), lambda: None)

    def drop(self, fingerprint: str) -> None:
        """Forget the collection of another embedding model; one that is not there is no error."""
        from chromadb.errors import NotFoundError

        with contextlib.suppress(NotFoundError):
            _asking(self._client.delete_collection, _name_of(fingerprint))

    def upsert(self, ids: Sequence[str], vectors: np.ndarray, source_ids: Sequence[str]) -> None:
        """Write vectors (float32, shape (ids, dimensions)); an id that is there is replaced."""
        for part in _slices(len(ids), WRITE_BATCH):
            _asking(
                self._collection.upsert,
                ids=list(ids[part]),
                embeddings=vectors[part],
                metadatas=[{"source_id": source_id} for source_id in source_ids[part]],
            )

    def delete(self, ids: Sequence[str]) -> None:
        """Forget these ids; one that is not there is no error."""
        for part in _slices(len(ids), WRITE_BATCH):
            _asking(self._collection.delete, ids=list(ids[part]))

    def vectors(self, ids: Sequence[str]) -> dict[str, np.ndarray]:
        """The stored vectors of those ids that are there."""
        found: dict[str, np.ndarray] = {}
        for part in _slices(len(ids), WRITE_BATCH):
            got: Any = _asking(self._collection.get, ids=list(ids[part]), include=["embeddings"])
            found.update(zip(got["ids"], np.asarray(got["embeddings"], np.float32), strict=True))
        return found

    def owners(self) -> dict[str, str]:
        """The source's id that each vector really there was written with, by the chunk's id."""
        found: dict[str, str] = {}
        while True:
            got: Any = _asking(self._collection.get, include=["metadatas"], limit=READ_PAGE, offset=len(found))
            found.update(
                (chunk_id, str((metadata or {}).get("source_id", "")))
                for chunk_id, metadata in zip(got["ids"], got["metadatas"], strict=True)
            )
            if len(got["ids"]) < READ_PAGE:
                return found

    def ids(self, source_id: str | None = None) -> set[str]:
        """Every id that is really there, of one source or of all."""
        where: Any = {"source_id": source_id} if source_id else None
        found: set[str] = set()
        while True:
            got = _asking(self._collection.get, where=where, include=[], limit=READ_PAGE, offset=len(found))
            found.update(got["ids"])
            if len(got["ids"]) < READ_PAGE:
                return found

    def query(self, vector: np.ndarray, k: int, source_ids: Sequence[str] | None = None) -> list[Hit]:
        """The `k` nearest by cosine similarity, best first, ties by id; `source_ids` limits where to look."""
        if k <= 0 or (source_ids is not None and not source_ids):
            return []
        if source_ids is None:
            return self._query(vector, k, None)
        parts = _slices(len(source_ids), FILTER_SOURCES)
        found = [self._query(vector, k, {"source_id": {"$in": list(source_ids[part])}}) for part in parts]
        return sorted(itertools.chain(*found), key=best_first)[:k]

    def _query(self, vector: np.ndarray, k: int, where: Any) -> list[Hit]:
        got: Any = _asking(
            self._collection.query, query_embeddings=[vector], n_results=k, where=where, include=["distances"]
        )
        hits = [
            Hit(chunk_id, 1.0 - float(distance))
            for chunk_id, distance in zip(got["ids"][0], got["distances"][0], strict=True)
        ]
        return sorted(hits, key=best_first)

    def compare(self, vector: np.ndarray, ids: Sequence[str]) -> list[Hit]:
        """Those of these ids that are there, by their cosine similarity, exactly; best first, ties by id."""
        stored = self.vectors(ids)
        hits = [Hit(chunk_id, float(stored[chunk_id] @ vector)) for chunk_id in stored]
        return sorted(hits, key=best_first)

    def count(self) -> int:
        """How many vectors there are."""
        return _asking(self._collection.count)

    def ping(self) -> None:
        """IndexUnavailable when Chroma does not answer."""
        _asking(self._client.heartbeat)

    def warm_up(self) -> None:
        """Load the graph, which the first query would otherwise wait for."""
        dimensions = int((self._collection.metadata or {}).get("dimensions", 0))
        if dimensions and self.count():
            self.query(np.full(dimensions, dimensions**-0.5, np.float32), 1)

    def close(self) -> None:
        """Give the files up."""
        self._close()


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
    """Call Chroma; a server that is down, in whatever way its client says so, is IndexUnavailable."""
    import httpx
    from chromadb.errors import InternalError

    try:
        return function(*args, **kwargs)
    except (httpx.HTTPError, OSError) as error:
        raise IndexUnavailable(f"The Chroma server does not answer ({type(error).__name__}).") from error
    except ValueError as error:
        if "Could not connect" in str(error):
            raise IndexUnavailable("The Chroma server does not answer.") from error
        raise
    except InternalError as error:
        raise IndexUnavailable(f"The vector index failed: {error}") from error


def best_first(hit: Hit) -> tuple[float, str]:
    return -hit.score, hit.id


def _slices(length: int, size: int) -> Iterable[slice]:
    return (slice(start, start + size) for start in range(0, length, size))
