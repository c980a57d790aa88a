"""pgvector: a table in PostgreSQL for each embedding fingerprint, over connections of its own.

Several processes may use it at once. It is written outside of the transactions of the catalogue, like every other
store: one that is rolled back there leaves at most a row here that no passage has, which the next sync removes.

Unfiltered search takes the HNSW graph where it can give that many; among named sources, and where the graph gives too
few, every row is compared.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, LiteralString

import numpy as np

from vectorstore.errors import IndexUnavailable
from vectorstore.store import Hit, VectorStore, slices

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg_pool import ConnectionPool

CONNECTIONS = 8
PATIENCE = 10.0  # seconds for a connection
WRITE_BATCH = 1_000
NEIGHBOURS, CONSTRUCTION_EF = 16, 128  # of the graph
SEARCH_EF, MOST_EF = 400, 1_000  # how widely it is searched; pgvector's limit
MOST_INDEXED = 2_000  # dimensions that pgvector's graph takes
LOCK = 7_263_114_001  # of PostgreSQL's advisory locks: one process at a time makes tables


class PgvectorStore(VectorStore):
    """Safe to use from many threads and processes."""

    def __init__(
        self, pool: ConnectionPool[Connection[Any]], fingerprint: str, dimensions: int, *, owner: bool
    ) -> None:
        self._pool = pool
        self._table = _table_of(fingerprint)
        self._dimensions = dimensions
        self._owner = owner
        with self._connection() as connection:
            _make_table(connection, self._table, dimensions)

    @classmethod
    def open(cls, conninfo: str, fingerprint: str, dimensions: int) -> PgvectorStore:
        """In the database of this connection string; the extension and the table are made when they are missing."""
        import pgvector.psycopg
        import psycopg
        from psycopg_pool import ConnectionPool

        try:
            with psycopg.connect(conninfo, autocommit=True, connect_timeout=int(PATIENCE)) as connection:
                _make_extension(connection)
        except psycopg.Error as error:
            raise IndexUnavailable(_said(error)) from error
        register: Callable[[Connection[Any]], None] = pgvector.psycopg.register_vector
        pool: ConnectionPool[Connection[Any]] = ConnectionPool(
            conninfo,
            min_size=1,
            max_size=CONNECTIONS,
            timeout=PATIENCE,
            kwargs={"autocommit": True},
            configure=register,
            check=ConnectionPool.check_connection,
            name="vectors",
            open=True,
        )
        try:
            return cls(pool, fingerprint, dimensions, owner=True)
        except BaseException:
            pool.close()
            raise

    def sibling(self, fingerprint: str, dimensions: int) -> PgvectorStore:
        return PgvectorStore(self._pool, fingerprint, dimensions, owner=False)

    def drop(self, fingerprint: str) -> None:
        self._do("DROP TABLE IF EXISTS {table}", table=_table_of(fingerprint))

    def upsert(self, ids: Sequence[str], vectors: np.ndarray, source_ids: Sequence[str]) -> None:
        last = {chunk_id: place for place, chunk_id in enumerate(ids)}  # the later one of two that share an id
        places = list(last.values())
        for part in slices(len(places), WRITE_BATCH):
            self._do(
                "INSERT INTO {table} (id, source_id, vector) SELECT * FROM unnest(%s::text[], %s::text[], %s::vector[])"
                " ON CONFLICT (id) DO UPDATE SET source_id = excluded.source_id, vector = excluded.vector",
                [ids[place] for place in places[part]],
                [source_ids[place] for place in places[part]],
                [np.asarray(vectors[place], np.float32) for place in places[part]],
            )

    def delete(self, ids: Sequence[str]) -> None:
        for part in slices(len(ids), WRITE_BATCH):
            self._do("DELETE FROM {table} WHERE id = ANY(%s)", list(ids[part]))

    def vectors(self, ids: Sequence[str]) -> dict[str, np.ndarray]:
        rows = self._rows("SELECT id, vector FROM {table} WHERE id = ANY(%s)", list(ids)) if ids else []
        return {chunk_id: _array(vector) for chunk_id, vector in rows}

    def owners(self) -> dict[str, str]:
        return dict(self._rows("SELECT id, source_id FROM {table}"))

    def ids(self, source_id: str | None = None) -> set[str]:
        if source_id is None:
            return {row[0] for row in self._rows("SELECT id FROM {table}")}
        return {row[0] for row in self._rows("SELECT id FROM {table} WHERE source_id = %s", source_id)}

    def _nearest(self, vector: np.ndarray, k: int, source_ids: Sequence[str] | None) -> list[Hit]:
        question = np.asarray(vector, np.float32)
        if source_ids is not None:
            return self._compared(question, k, list(source_ids))
        ef = max(SEARCH_EF, k)
        if self._dimensions > MOST_INDEXED or ef > MOST_EF:
            return self._compared(question, k, None)
        with self._connection() as connection, connection.transaction():
            connection.execute(f"SET LOCAL hnsw.ef_search = {ef:d}".encode())
            rows = connection.execute(
                _composed(
                    "SELECT id, 1 - (vector <=> %s) FROM {table} ORDER BY vector <=> %s LIMIT %s",
                    self._table,
                ),
                [question, question, k],
            ).fetchall()
        if len(rows) < k and len(rows) < self.count():  # the graph still leads to rows that were deleted
            return self._compared(question, k, None)
        return _hits(rows)

    def _compared(self, question: np.ndarray, k: int, source_ids: list[str] | None) -> list[Hit]:
        return _hits(
            self._rows(
                "WITH among AS MATERIALIZED (SELECT id, vector <=> %s AS distance FROM {table}"
                " WHERE %s::text[] IS NULL OR source_id = ANY(%s))"
                " SELECT id, 1 - distance FROM among ORDER BY distance, id LIMIT %s",
                question,
                source_ids,
                source_ids,
                k,
            )
        )

    def count(self) -> int:
        return int(self._rows("SELECT count(*) FROM {table}")[0][0])

    def ping(self) -> None:
        self._rows("SELECT 1")

    def warm_up(self) -> None:
        self.query(np.full(self._dimensions, self._dimensions**-0.5, np.float32), 1)

    def close(self) -> None:
        if self._owner:
            self._pool.close()

    def _rows(self, statement: LiteralString, *given: Any) -> list[tuple[Any, ...]]:
        with self._connection() as connection:
            return connection.execute(_composed(statement, self._table), given).fetchall()

    def _do(self, statement: LiteralString, *given: Any, table: str = "") -> None:
        with self._connection() as connection:
            connection.execute(_composed(statement, table or self._table), given)

    @contextmanager
    def _connection(self) -> Iterator[Connection[Any]]:
        import psycopg
        from psycopg_pool import PoolClosed, PoolTimeout

        try:
            with self._pool.connection() as connection:
                yield connection
        except (PoolTimeout, PoolClosed) as error:
            raise IndexUnavailable("PostgreSQL does not answer.") from error
        except psycopg.Error as error:
            raise IndexUnavailable(_said(error)) from error


def _make_extension(connection: Connection[Any]) -> None:
    if connection.execute("SELECT 1 FROM pg_extension WHERE extname = 'vector'").fetchone():
        return
    if not connection.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'vector'").fetchone():
        raise IndexUnavailable("This PostgreSQL has no pgvector; install it, or choose another VECTOR_STORE.")
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")


def _make_table(connection: Connection[Any], table: str, dimensions: int) -> None:
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        if connection.execute("SELECT to_regclass(%s)", [f'"{table}"']).fetchone() != (None,):
            return
        connection.execute(
            _composed(
                "CREATE TABLE {table} (id text PRIMARY KEY, source_id text NOT NULL,"
                " vector vector({dimensions}) NOT NULL)",
                table,
                dimensions,
            )
        )
        connection.execute(_composed("CREATE INDEX ON {table} (source_id)", table))
        if dimensions <= MOST_INDEXED:
            connection.execute(
                _composed(
                    "CREATE INDEX ON {table} USING hnsw (vector vector_cosine_ops)"
                    f" WITH (m = {NEIGHBOURS:d}, ef_construction = {CONSTRUCTION_EF:d})",
                    table,
                )
            )


def _composed(statement: LiteralString, table: str, dimensions: int = 0) -> Any:
    from psycopg import sql

    return sql.SQL(statement).format(table=sql.Identifier(table), dimensions=sql.Literal(dimensions))


def _table_of(fingerprint: str) -> str:
    plain = re.sub(r"[^a-z0-9]", "_", fingerprint)
    if len(plain) > 40 or plain != fingerprint.replace("-", "_"):
        plain = hashlib.sha256(fingerprint.encode()).hexdigest()[:24]
    return f"footnote_vectors_{plain}"


def _array(vector: Any) -> np.ndarray:
    return np.asarray(vector.to_numpy() if hasattr(vector, "to_numpy") else vector, np.float32)


def _hits(rows: list[tuple[Any, ...]]) -> list[Hit]:
    return [Hit(chunk_id, float(score)) for chunk_id, score in rows]


def _said(error: Exception) -> str:
    return (
        f"PostgreSQL failed as the vector index: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
    )
