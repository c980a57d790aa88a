"""A server per test, killed afterwards; the converted embedding model is shared. Databases are the test's own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from tests.acceptance.server import Server
from vectorstore.embeddings import Embedder

HOME = os.environ.get("TEST_DATABASE_URL") or "postgresql:///postgres"  # beside which databases are made


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[Callable[[], str]]:
    """Makes a DATABASE_URL of a database that is empty."""
    if request.param == "sqlite":
        yield lambda: ""
        return
    try:
        home = psycopg.connect(HOME, autocommit=True)
    except psycopg.OperationalError as error:
        pytest.skip(f"PostgreSQL does not answer: {error}")
    names: list[str] = []

    def make() -> str:
        names.append(f"footnote_test_{os.getpid()}_{len(names)}")
        home.execute(f'CREATE DATABASE "{names[-1]}"')
        address, _, _ = HOME.rpartition("/")
        return f"{address}/{names[-1]}"

    yield make
    for name in names:
        home.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    home.close()


@pytest.fixture
def make_server(tmp_path: Path, model_cache: Path, embedder: Embedder) -> Iterator[Callable[..., Server]]:
    """Makes servers that are not started; each has its own DATA_DIR and, unless told, the test's one folder."""
    embedder.embed_query("the model is converted once for all")
    made: list[Server] = []

    def make(knowledge: Path | None = None, **settings: str) -> Server:
        data = tmp_path / f"data-{len(made)}"
        data.mkdir()
        (data / "models").symlink_to(model_cache / "models")
        folder = knowledge or tmp_path / "knowledge"
        folder.mkdir(exist_ok=True)
        made.append(Server(data, folder, **settings))
        return made[-1]

    yield make
    for server in made:
        server.kill()
