"""Pinecone: an index of its own for each embedding fingerprint, over its client.

Pinecone shows what was written only after a while (docs.pinecone.io, "Check data freshness"). For answers that is no
matter: the catalogue decides what they may come from. For a sync it means that a vector may look missing, or one that
was deleted may look present, until the next one.

Several processes may use it at once.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from vectorstore.errors import IndexUnavailable
from vectorstore.store import Hit, PineconeProject, VectorStore, slices

if TYPE_CHECKING:
    from pinecone import Pinecone

# Pinecone's limits: 2 MB and 1,000 records in an upsert, 1,000 ids in a deletion, 10,000 values in a filter, 10,000
# matches of a query. Ids to fetch stand in the address of the request.
WRITE_BYTES, NUMBER_BYTES, WRITE_BATCH = 1_500_000, 22, 500
DELETE_BATCH, FETCH_BATCH, MOST_SOURCES, MOST_MATCHES = 1_000, 100, 10_000, 10_000
NAMESPACE = "chunks"
PATIENCE = 20.0  # seconds for a request
MADE_WITHIN = 300  # seconds that an index may take to be made


class PineconeStore(VectorStore):
    """Safe to use from many threads and processes."""

    most_sources = MOST_SOURCES

    def __init__(
        self, client: Pinecone, project: PineconeProject, fingerprint: str, dimensions: int, *, owner: bool
    ) -> None:
        self._client = client
        self._project = project
        self._dimensions = dimensions
        self._owner = owner
        with _asking():
            self._index: Any = client.index(host=_host(client, project, fingerprint, dimensions))

    @classmethod
    def open(cls, project: PineconeProject, fingerprint: str, dimensions: int) -> PineconeStore:
        """The index is made when it is missing, and waited for."""
        from pinecone import Pinecone, RetryConfig

        with _asking():
            client = Pinecone(
                api_key=project.api_key,
                host=project.host or None,
                timeout=PATIENCE,
                retry_config=RetryConfig(max_retries=2, max_wait=2.0),
            )
        return cls(client, project, fingerprint, dimensions, owner=True)

    def sibling(self, fingerprint: str, dimensions: int) -> PineconeStore:
        return PineconeStore(self._client, self._project, fingerprint, dimensions, owner=False)

    def drop(self, fingerprint: str) -> None:
        from pinecone.errors.exceptions import NotFoundError

        with _asking(), contextlib.suppress(NotFoundError):
            self._client.indexes.delete(_name_of(self._project, fingerprint), timeout=-1)

    def upsert(self, ids: Sequence[str], vectors: np.ndarray, source_ids: Sequence[str]) -> None:
        size = max(1, min(WRITE_BATCH, WRITE_BYTES // (self._dimensions * NUMBER_BYTES)))
        last = {chunk_id: place for place, chunk_id in enumerate(ids)}  # the later one of two that share an id
        places = list(last.values())
        for part in slices(len(places), size):
            records = [
                {
                    "id": ids[place],
                    "values": np.asarray(vectors[place], np.float32).tolist(),
                    "metadata": {"source_id": source_ids[place]},
                }
                for place in places[part]
            ]
            with _asking():
                self._index.upsert(vectors=records, namespace=NAMESPACE)

    def delete(self, ids: Sequence[str]) -> None:
        for part in slices(len(ids), DELETE_BATCH):
            self._unless_empty(partial(self._index.delete, ids=list(ids[part]), namespace=NAMESPACE))

    def vectors(self, ids: Sequence[str]) -> dict[str, np.ndarray]:
        return {chunk_id: np.asarray(record.values, np.float32) for chunk_id, record in self._fetch(list(ids))}

    def owners(self) -> dict[str, str]:
        fetched = self._fetch(sorted(self.ids()))
        return {chunk_id: str((record.metadata or {}).get("source_id", "")) for chunk_id, record in fetched}

    def ids(self, source_id: str | None = None) -> set[str]:
        if source_id is not None:
            return {chunk_id for chunk_id, owner in self.owners().items() if owner == source_id}
        pages = self._unless_empty(lambda: list(self._index.list(namespace=NAMESPACE))) or []
        return {item.id for page in pages for item in page.vectors}

    def _nearest(self, vector: np.ndarray, k: int, source_ids: Sequence[str] | None) -> list[Hit]:
        among = None if source_ids is None else {"source_id": {"$in": list(source_ids)}}
        got = self._unless_empty(
            lambda: self._index.query(
                vector=np.asarray(vector, np.float32).tolist(),
                top_k=min(k, MOST_MATCHES),
                namespace=NAMESPACE,
                filter=among,
            )
        )
        return [Hit(match.id, float(match.score)) for match in got.matches] if got else []

    def count(self) -> int:
        with _asking():
            return int(self._index.describe_index_stats().total_vector_count)

    def ping(self) -> None:
        self.count()

    def warm_up(self) -> None:
        self.query(np.full(self._dimensions, self._dimensions**-0.5, np.float32), 1)

    def close(self) -> None:
        self._index.close()
        if self._owner:
            self._client.close()

    def _fetch(self, ids: list[str]) -> Iterator[tuple[str, Any]]:
        for part in slices(len(ids), FETCH_BATCH):
            got = self._unless_empty(partial(self._index.fetch, ids=ids[part], namespace=NAMESPACE))
            yield from got.vectors.items() if got else ()

    def _unless_empty(self, ask: Callable[[], Any]) -> Any:
        """Its answer; None where nothing was ever written: a namespace is there from the first record on."""
        from pinecone.errors.exceptions import NotFoundError

        with _asking():
            try:
                return ask()
            except NotFoundError:
                return None


def _host(client: Pinecone, project: PineconeProject, fingerprint: str, dimensions: int) -> str:
    """Of the index of this fingerprint, which is made when it is missing."""
    from pinecone.errors.exceptions import ConflictError, NotFoundError

    name = _name_of(project, fingerprint)
    try:
        described = client.indexes.describe(name)
    except NotFoundError:
        cloud, _, region = project.region.partition("/")
        with contextlib.suppress(ConflictError):  # another process was quicker
            client.indexes.create(
                name=name,
                dimension=dimensions,
                metric="cosine",
                deployment={"deployment_type": "managed", "cloud": cloud, "region": region},
                timeout=MADE_WITHIN,
            )
        described = client.indexes.describe(name)
    if not described.host:
        raise IndexUnavailable(f"Pinecone is still making the index {name}.")
    return described.host


def _name_of(project: PineconeProject, fingerprint: str) -> str:
    """Lower-case letters, digits and hyphens, at most 45, as Pinecone asks."""
    name = f"{project.prefix}-{fingerprint}"
    if len(name) <= 45 and re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", name):
        return name
    return f"{project.prefix}-{hashlib.sha256(fingerprint.encode()).hexdigest()[:12]}"


@contextmanager
def _asking() -> Iterator[None]:
    """Whatever goes wrong with Pinecone is IndexUnavailable."""
    from pinecone.errors.exceptions import PineconeError

    try:
        yield
    except PineconeError as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise IndexUnavailable(f"Pinecone failed: {said}") from error
