"""A server per test, killed afterwards; the converted embedding model is shared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.server import Server
from vectorstore.embeddings import Embedder


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
