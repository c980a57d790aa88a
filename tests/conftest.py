"""Real parts for every test: the bundled model, Chroma and the word index in a folder of the test's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.contrib.auth.hashers import Argon2PasswordHasher
from pytest_django.fixtures import Settings

from backend.knowledge.index import KnowledgeIndex, close_index, get_index
from evals.model_server import ModelServer, running_model_server
from evals.pinecone_stand_in import PineconeStandIn, running_pinecone
from evals.smtp_server import MailCatcher, running_mail_catcher
from tests.stores import drop_vectors, postgresql_with_pgvector, running_chroma
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


@pytest.fixture
def mail_catcher() -> Iterator[MailCatcher]:
    """A mail server on this machine; see evals/smtp_server.py."""
    with running_mail_catcher() as server:
        yield server


@pytest.fixture(scope="session")
def _chroma_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_chroma(tmp_path_factory.mktemp("chroma-server")) as url:
        yield url


@pytest.fixture
def chroma_server(_chroma_process: str) -> str:
    """The address of a Chroma server, empty."""
    import chromadb

    parts = urlsplit(_chroma_process)
    client = chromadb.HttpClient(
        parts.hostname or "", parts.port or 0, settings=chromadb.config.Settings(anonymized_telemetry=False)
    )
    for collection in client.list_collections():
        client.delete_collection(collection.name)
    return _chroma_process


@pytest.fixture(scope="session")
def _pgvector_server() -> Iterator[str]:
    with postgresql_with_pgvector() as conninfo:
        yield conninfo


@pytest.fixture
def pgvector_server(_pgvector_server: str) -> str:
    """The connection string of a PostgreSQL with pgvector, without vectors; skips where there is none."""
    drop_vectors(_pgvector_server)
    return _pgvector_server


@pytest.fixture
def pinecone_server() -> Iterator[PineconeStandIn]:
    """A stand-in for Pinecone; see evals/pinecone_stand_in.py."""
    with running_pinecone() as server:
        yield server
