"""The parts that the tests of the backend have, the real server's, and one server for all tests that leave it whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.conftest import make_server
from tests.acceptance.server import Server, serving
from tests.backend.conftest import client, client_of, make_user, staff, sync, user
from tests.folder import write
from vectorstore.embeddings import Embedder

__all__ = ["client", "client_of", "make_server", "make_user", "staff", "sync", "user"]


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory, model_cache: Path, embedder: Embedder) -> Iterator[Server]:
    """A server over one document, for the tests of a module. It has few threads: each slow client could take one."""
    embedder.embed_query("the model is converted once for all")
    data = tmp_path_factory.mktemp("shared") / "data"
    data.mkdir()
    (data / "models").symlink_to(model_cache / "models")
    knowledge = data.with_name("knowledge")
    knowledge.mkdir()
    write(knowledge, "handbook.md", "# Leave\n\nParental leave is 16 weeks, paid in full.\n")
    with serving(Server(data, knowledge, WEB_THREADS="8", MAX_CHATS="8")) as server:
        yield server
