"""Real parts for every test: the bundled model, Chroma and the word index in a folder of the test's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.contrib.auth.hashers import Argon2PasswordHasher
from pytest_django.fixtures import Settings

from backend.knowledge.index import KnowledgeIndex, close_index, get_index
from evals.model_server import ModelServer, running_model_server
from vectorstore.embeddings import Embedder, load_embeddings


class QuickArgon2(Argon2PasswordHasher):
    """The product's hash with the least work that argon2 allows: most tests sign somebody in."""

    time_cost = 1
    memory_cost = 8
    parallelism = 1


@pytest.fixture(autouse=True)
def _quick_passwords(settings: Settings) -> None:
    settings.PASSWORD_HASHERS = ["tests.conftest.QuickArgon2"]


@pytest.fixture(scope="session")
def model_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the converted embedding model is kept during the run."""
    return tmp_path_factory.mktemp("models-cache")


@pytest.fixture(scope="session")
def embedder(model_cache: Path) -> Embedder:
    """The bundled embedding model."""
    return load_embeddings("minilm", model_cache)


@pytest.fixture
def folder(tmp_path: Path, settings: Settings, model_cache: Path) -> Path:
    """An empty watched folder; DATA_DIR lies beside it and shares the converted model."""
    knowledge = tmp_path / "knowledge"
    knowledge.mkdir()
    data = tmp_path / "data"
    data.mkdir()
    (model_cache / "models").mkdir(exist_ok=True)
    (data / "models").symlink_to(model_cache / "models")
    settings.ENV = settings.ENV.model_copy(update={"data_dir": data, "knowledge_dir": knowledge})
    return knowledge


@pytest.fixture
def index(folder: Path, embedder: Embedder, db: None) -> Iterator[KnowledgeIndex]:
    """The index of this process over `folder`, empty."""
    embedder.embed_query("the model is converted before a test depends on it")
    yield get_index()
    close_index()


@pytest.fixture
def model_server() -> Iterator[ModelServer]:
    """A chat model's server on this machine; see evals/model_server.py."""
    with running_model_server() as server:
        yield server
