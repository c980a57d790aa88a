"""The vector index: one seam, several stores, one collection for each embedding fingerprint.

It holds ids, vectors and the id of the source; texts live in the database, which alone decides what is answered from
(docs/adr/0001). So a store may be late to forget what was deleted; it may not invent.
"""

from __future__ import annotations

import itertools
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np

from vectorstore.errors import IndexUnavailable

Kind = Literal["chroma", "faiss", "pgvector", "pinecone"]


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk's id and its score: the cosine from the vector index, the lexical share from the word index."""

    id: str
    score: float


class VectorStore(ABC):
    """One collection of vectors of unit length. Every method raises IndexUnavailable when the store does not answer.

    most_sources: that one question to the store may name.
    """

    most_sources: ClassVar[int] = sys.maxsize

    @abstractmethod
    def sibling(self, fingerprint: str, dimensions: int) -> Self:
        """The collection of another embedding model in the same place; made when it is missing. Closing is the first's
        affair.
        """

    @abstractmethod
    def drop(self, fingerprint: str) -> None:
        """Forget the collection of another embedding model; one that is not there is no error."""

    @abstractmethod
    def upsert(self, ids: Sequence[str], vectors: np.ndarray, source_ids: Sequence[str]) -> None:
        """Write vectors (float32, shape (ids, dimensions)); an id that is there is replaced."""

    @abstractmethod
    def delete(self, ids: Sequence[str]) -> None:
        """Forget these ids; one that is not there is no error."""

    @abstractmethod
    def vectors(self, ids: Sequence[str]) -> dict[str, np.ndarray]:
        """The stored vectors of those ids that are there."""

    @abstractmethod
    def owners(self) -> dict[str, str]:
        """The source's id that each vector really there was written with, by the chunk's id."""

    @abstractmethod
    def ids(self, source_id: str | None = None) -> set[str]:
        """Every id that is really there, of one source or of all."""

    def query(self, vector: np.ndarray, k: int, source_ids: Sequence[str] | None = None) -> list[Hit]:
        """The `k` nearest by cosine similarity, best first, ties by id; `source_ids` limits where to look."""
        if k <= 0 or (source_ids is not None and not source_ids):
            return []
        if source_ids is None:
            return sorted(self._nearest(vector, k, None), key=best_first)
        parts = slices(len(source_ids), self.most_sources)
        found = itertools.chain(*(self._nearest(vector, k, source_ids[part]) for part in parts))
        return sorted(found, key=best_first)[:k]

    @abstractmethod
    def _nearest(self, vector: np.ndarray, k: int, source_ids: Sequence[str] | None) -> list[Hit]:
        """The `k` nearest in any order, of all or of 1 to `most_sources` sources; `k` is at least 1."""

    def compare(self, vector: np.ndarray, ids: Sequence[str]) -> list[Hit]:
        """Those of these ids that are there, by their cosine similarity, exactly; best first, ties by id."""
        stored = self.vectors(ids)
        hits = [Hit(chunk_id, float(stored[chunk_id] @ vector)) for chunk_id in stored]
        return sorted(hits, key=best_first)

    @abstractmethod
    def count(self) -> int:
        """How many vectors there are."""

    @abstractmethod
    def ping(self) -> None:
        """IndexUnavailable when the store does not answer."""

    @abstractmethod
    def warm_up(self) -> None:
        """Load what the first query would otherwise wait for."""

    @abstractmethod
    def close(self) -> None:
        """Give files and connections up."""


@dataclass(frozen=True, slots=True)
class PineconeProject:
    """host: of the control plane, where it is not Pinecone's own. prefix: begins the names of this instance's indexes.
    region: where indexes are made, as cloud/region.
    """

    api_key: str = field(repr=False)
    host: str = ""
    prefix: str = "footnote"
    region: str = "aws/us-east-1"


@dataclass(frozen=True, slots=True)
class Place:
    """Where the vectors are kept.

    folder: below which an embedded store has its files.
    chroma_url: of a Chroma server instead of the embedded one.
    postgresql: libpq's connection string, for pgvector.
    pinecone: for Pinecone.
    """

    kind: Kind
    folder: Path
    chroma_url: str = ""
    postgresql: str = field(default="", repr=False)
    pinecone: PineconeProject | None = None


def open_store(place: Place, fingerprint: str, dimensions: int) -> VectorStore:
    """The collection of this embedding model, made when it is missing. IndexUnavailable also where the store's library
    is not installed.
    """
    try:
        return _open(place, fingerprint, dimensions)
    except ModuleNotFoundError as error:
        raise IndexUnavailable(
            f"VECTOR_STORE={place.kind} needs the package {error.name}: pip install -r requirements-stores.txt"
        ) from error


def _open(place: Place, fingerprint: str, dimensions: int) -> VectorStore:
    if place.kind == "faiss":
        from vectorstore.stores.faiss import FaissStore

        return FaissStore.open(place.folder / "faiss", fingerprint, dimensions)
    if place.kind == "pgvector":
        from vectorstore.stores.pgvector import PgvectorStore

        return PgvectorStore.open(place.postgresql, fingerprint, dimensions)
    if place.kind == "pinecone":
        from vectorstore.stores.pinecone import PineconeStore

        if place.pinecone is None:
            raise IndexUnavailable("VECTOR_STORE=pinecone needs PINECONE_API_KEY.")
        return PineconeStore.open(place.pinecone, fingerprint, dimensions)
    from vectorstore.stores.chroma import ChromaStore

    path = None if place.chroma_url else place.folder / "chroma"
    return ChromaStore.open(path, place.chroma_url or None, fingerprint, dimensions)


def best_first(hit: Hit) -> tuple[float, str]:
    return -hit.score, hit.id


def slices(length: int, size: int) -> Iterable[slice]:
    return (slice(start, start + size) for start in range(0, length, size))
