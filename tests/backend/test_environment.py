"""Settings: what is wrong is named, production asks for its secrets, development makes its own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from backend.environment import BASE_DIR, Environment, as_unset, read_environment

GOOD_KEY = "n2Fv8sQ1pLx7Zr4Tb9Wc3Yd6Me5Kg0Hj"


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    return monkeypatch


def test_nothing_set_is_enough(given: pytest.MonkeyPatch, tmp_path: Path) -> None:
    env = read_environment()
    assert (env.host, env.port, env.chat_model, env.production) == ("127.0.0.1", 8000, "extractive", False)
    key = env.require_key()
    assert len(key) >= 50
    assert read_environment().require_key() == key, "it is kept"
    assert (tmp_path / "secret_key").stat().st_mode & 0o777 == 0o600
    assert "localhost" in env.require_hosts()


def test_processes_that_start_at_once_share_one_key(given: pytest.MonkeyPatch) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: read_environment().require_key(), range(8)))) == 1


@pytest.mark.parametrize(("name", "value"), [("DEBUG", "off"), ("DEBUG", "false"), ("HOST", "0.0.0.0"), ("HOST", "::")])
def test_production_wants_its_key_and_its_hosts(given: pytest.MonkeyPatch, name: str, value: str) -> None:
    given.setenv(name, value)
    env = read_environment()
    with pytest.raises(ImproperlyConfigured, match="SECRET_KEY is missing"):
        env.require_key()
    with pytest.raises(ImproperlyConfigured, match="ALLOWED_HOSTS is empty"):
        env.require_hosts()
    for weak in ("secret", "x" * 60):
        given.setenv("SECRET_KEY", weak)
        with pytest.raises(ImproperlyConfigured, match="too weak"):
            read_environment().require_key()
    given.setenv("SECRET_KEY", GOOD_KEY)
    given.setenv("ALLOWED_HOSTS", "chat.example.org, localhost,")
    env = read_environment()
    assert env.require_key() == GOOD_KEY
    assert env.require_hosts() == ["chat.example.org", "localhost"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.0.0.2"])
def test_loopback_is_not_production(given: pytest.MonkeyPatch, host: str) -> None:
    given.setenv("HOST", host)
    assert not read_environment().production


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "eighty"),
        ("PORT", "0"),
        ("PORT", "70000"),
        ("NO_MATCH", "guess"),
        ("PROMPT", "../../etc/passwd"),
        ("DEBUG", "perhaps"),
        ("HISTORY_RETENTION_DAYS", "0"),
        ("LOG_LEVEL", "LOUD"),
        ("CHAT_MODEL_TIMEOUT", "-1"),
        ("OCR_LANGUAGES", "eng; rm"),
        ("RERANKER", "package.module.Class"),
        ("RERANKER", "package.module:Class()"),
        ("RERANKER_OPTIONS", "model=small"),
        ("RERANKER_OPTIONS", '["small"]'),
        ("RERANK_DEPTH", "0"),
        ("EMAIL_URL", "http://mail.example.org"),
        ("EMAIL_URL", "smtp://ada:s3cret/@mail.example.org"),
        ("EMAIL_FROM", "Footnote"),
        ("EMAIL_FROM", "Footnote <a@example.org>\r\nBcc: eve@example.org"),
        ("ADMIN_EMAILS", "ada@example.org, eve"),
        ("SYNC_INTERVAL", "-1"),
        ("TIME_ZONE", "Middle-earth/Shire"),
        ("TIME_ZONE", "../../etc/passwd"),
        ("SCHEDULE_HISTORY", "0 25 * * *"),
        ("SCHEDULE_TOKENS", "nightly"),
        ("SCHEDULE_COMPACT", "0 0 31 2 *"),
        ("TASKS", "threads"),
    ],
)
def test_a_bad_value_is_named(given: pytest.MonkeyPatch, name: str, value: str) -> None:
    given.setenv(name, value)
    with pytest.raises(ImproperlyConfigured, match=name):
        read_environment()


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        ("THROTTLE_", "lots", "write limits like this: 60/minute; 1000/day"),
        ("THROTTLE_", "5/fortnight", "write limits like this: 60/minute; 1000/day"),
        ("SCHEDULE_", "nightly", "it has five fields, as in `0 2 [*] [*] [*]`"),
    ],
)
def test_every_bad_limit_and_schedule_is_told_how_it_is_written(
    given: pytest.MonkeyPatch, kind: str, value: str, said: str
) -> None:
    names = [name for name in as_unset() if name.startswith(kind)]
    assert len(names) >= 6
    for name in names:
        with given.context() as one:
            one.setenv(name, value)
            with pytest.raises(ImproperlyConfigured, match=f"{name}: .*{said}"):
                read_environment()


def test_a_wrong_mail_server_is_refused_without_its_password(given: pytest.MonkeyPatch) -> None:
    given.setenv("EMAIL_URL", "smtp://ada:s3cret/@mail.example.org:587")
    with pytest.raises(ImproperlyConfigured, match="EMAIL_URL") as error:
        read_environment()
    assert "s3cret" not in str(error.value)
    assert error.value.__cause__ is None


def test_a_mail_server_is_read(given: pytest.MonkeyPatch) -> None:
    assert read_environment().mail_server is None
    given.setenv("EMAIL_URL", "smtps://ada:s3cret@mail.example.org")
    given.setenv("ADMIN_EMAILS", "ada@example.org, bob@example.org,")
    env = read_environment()
    assert str(env.mail_server) == "smtps://mail.example.org:465"
    assert env.admin_emails == ["ada@example.org", "bob@example.org"]


def test_a_reranker_and_its_options_are_read(given: pytest.MonkeyPatch) -> None:
    given.setenv("RERANKER", "package.module:make_it")
    given.setenv("RERANKER_OPTIONS", '{"top_n": 20, "model": "small"}')
    env = read_environment()
    assert (env.reranker, env.reranker_options) == ("package.module:make_it", {"top_n": 20, "model": "small"})


def test_an_empty_value_is_the_default(given: pytest.MonkeyPatch) -> None:
    given.setenv("PORT", "")
    assert read_environment().port == 8000


def test_an_empty_schedule_is_off_and_an_unset_one_the_default(given: pytest.MonkeyPatch) -> None:
    given.setenv("SCHEDULE_HISTORY", "")
    given.setenv("SCHEDULE_TOKENS", "  30  4 * * MON ")
    given.delenv("SCHEDULE_REPORT", raising=False)
    env = read_environment()
    assert (env.schedule_history, env.schedule_tokens, env.schedule_report) == ("", "30 4 * * MON", "0 8 * * *")


def test_unset_is_every_default(given: pytest.MonkeyPatch) -> None:
    defaults = {name: field.default for name, field in Environment.model_fields.items()}
    for name, value in as_unset().items():
        given.setenv(name, value)
    env = read_environment().model_dump()
    paths = {"data_dir", "knowledge_dir"}
    assert {name: env[name] for name in env if name not in paths} == {
        name: defaults[name] for name in defaults if name not in paths
    }


def test_relative_paths_start_at_the_project(given: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given.setenv("KNOWLEDGE_DIR", "docs")
    given.chdir(tmp_path)
    assert read_environment().knowledge_dir == BASE_DIR / "docs"


def test_every_setting_is_in_the_example_and_in_the_readme() -> None:
    example = (BASE_DIR / ".env.example").read_text()
    readme = (BASE_DIR / "README.md").read_text()
    for field in Environment.model_fields.values():
        assert f"# {field.alias}=" in example, field.alias
        assert f"`{field.alias}`" in readme, field.alias


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"VECTOR_STORE": "milvus"}, "VECTOR_STORE"),
        ({"VECTOR_STORE": "pgvector"}, "DATABASE_URL"),
        ({"VECTOR_STORE": "pgvector", "DATABASE_URL": "sqlite:///x"}, "DATABASE_URL"),
        ({"VECTOR_STORE": "pinecone"}, "PINECONE_API_KEY"),
        ({"PINECONE_INDEX": "Upper_Case"}, "PINECONE_INDEX"),
        ({"PINECONE_REGION": "us-east-1"}, "PINECONE_REGION"),
        ({"PINECONE_HOST": "api.example.org"}, "PINECONE_HOST"),
    ],
)
def test_a_vector_store_without_its_place_is_refused(
    given: pytest.MonkeyPatch, values: dict[str, str], said: str
) -> None:
    given.delenv("DATABASE_URL", raising=False)
    for name, value in values.items():
        given.setenv(name, value)
    with pytest.raises(ImproperlyConfigured, match=said):
        read_environment()


@pytest.mark.parametrize(
    ("values", "shared"),
    [
        ({}, False),
        ({"CHROMA_URL": "http://127.0.0.1:8000"}, True),
        ({"VECTOR_STORE": "faiss", "CHROMA_URL": "http://127.0.0.1:8000"}, False),
        ({"VECTOR_STORE": "pgvector", "DATABASE_URL": "postgresql:///footnote"}, True),
        ({"VECTOR_STORE": "pinecone", "PINECONE_API_KEY": "key"}, True),
    ],
)
def test_which_stores_several_processes_may_use(
    given: pytest.MonkeyPatch, values: dict[str, str], shared: bool
) -> None:
    for name, value in values.items():
        given.setenv(name, value)
    env = read_environment()
    assert env.vectors_shared is shared
    assert "'key'" not in repr(env)
