"""The environment, typed and checked once; no other module reads `os.environ`.

Values come from the process environment, then from `.env` beside manage.py. The providers' own variables
(`OPENAI_API_KEY`, ...) stay where their libraries look for them: `.env` is loaded into the environment first.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import secrets
from email.utils import parseaddr
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from django.core.exceptions import ImproperlyConfigured
from django.core.exceptions import ValidationError as NotValid
from django.core.validators import validate_email
from dotenv import load_dotenv
from limits import parse_many
from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from backend.jobs.schedules import parse_cron
from backend.outbox.server import MailServer, read_email_url

BASE_DIR = Path(__file__).resolve().parent.parent
SHORTEST_SECRET = 32  # characters; below it Django's own deployment check complains too

SHIPPED_CALIBRATION = "shipped"
SHARED_COUNTS = "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client's own


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _must_be_limits(value: str) -> str:
    try:
        parse_many(value or "1/minute")
    except ValueError as error:
        raise ValueError(f"{error}; write limits like this: 60/minute; 1000/day") from None
    return value


def _must_be_cron(value: str) -> str:
    return parse_cron(value, ZoneInfo("UTC")).text if value.strip() else ""


CommaSeparated = Annotated[list[str], NoDecode, BeforeValidator(_split)]
Limits = Annotated[str, AfterValidator(_must_be_limits)]
CronText = Annotated[str, AfterValidator(_must_be_cron)]


class Environment(BaseSettings):
    """Every setting of Footnote. `.env.example` and the README say the same in words."""

    model_config = SettingsConfigDict(case_sensitive=True, extra="ignore", env_ignore_empty=True)

    host: str = Field("127.0.0.1", alias="HOST")
    port: int = Field(8000, alias="PORT", ge=1, le=65535)
    web_threads: int = Field(64, alias="WEB_THREADS", ge=2, le=2000)
    web_workers: int = Field(1, alias="WEB_WORKERS", ge=1, le=64)
    data_dir: Path = Field(Path("data"), alias="DATA_DIR")
    knowledge_dir: Path = Field(Path("knowledge"), alias="KNOWLEDGE_DIR")
    database_url: str = Field("", alias="DATABASE_URL", pattern=r"^$|^(postgres(ql)?|sqlite)://")
    chroma_url: str = Field("", alias="CHROMA_URL")
    pinecone_api_key: str = Field("", alias="PINECONE_API_KEY", repr=False)
    pinecone_host: str = Field("", alias="PINECONE_HOST", pattern=r"^$|^https?://[^?#\s]+$")
    pinecone_index: str = Field("footnote", alias="PINECONE_INDEX", pattern=r"^[a-z0-9][a-z0-9-]{0,19}$")
    pinecone_region: str = Field("aws/us-east-1", alias="PINECONE_REGION", pattern=r"^(aws|gcp|azure)/[a-z0-9-]+$")
    vector_store: Literal["chroma", "faiss", "pgvector", "pinecone"] = Field("chroma", alias="VECTOR_STORE")
    chat_model: str = Field("extractive", alias="CHAT_MODEL")
    chat_model_fallback: str = Field("", alias="CHAT_MODEL_FALLBACK")
    chat_model_timeout: float = Field(60.0, alias="CHAT_MODEL_TIMEOUT", gt=0)
    answer_timeout: float = Field(300.0, alias="ANSWER_TIMEOUT", gt=0)
    max_chats: int = Field(512, alias="MAX_CHATS", ge=1, le=10_000)
    max_chats_per_user: int = Field(500, alias="MAX_CHATS_PER_USER", ge=1, le=10_000)
    embedding_model: str = Field("minilm", alias="EMBEDDING_MODEL")
    reranker: str = Field("", alias="RERANKER", pattern=r"^$|^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    reranker_options: Annotated[dict[str, Any], NoDecode] = Field({}, alias="RERANKER_OPTIONS")
    rerank_depth: int = Field(30, alias="RERANK_DEPTH", ge=1, le=200)
    no_match: Literal["abstain", "model"] = Field("abstain", alias="NO_MATCH")
    calibration: str = Field("", alias="CALIBRATION")
    prompt: str = Field("default", alias="PROMPT", pattern=r"^[A-Za-z0-9_-]+$")
    prices: str = Field("", alias="PRICES")
    daily_token_budget: int = Field(0, alias="DAILY_TOKEN_BUDGET", ge=0)
    daily_cost_budget: float = Field(0.0, alias="DAILY_COST_BUDGET", ge=0, allow_inf_nan=False)
    secret_key: str = Field("", alias="SECRET_KEY")
    debug: bool | None = Field(None, alias="DEBUG")
    allowed_hosts: CommaSeparated = Field([], alias="ALLOWED_HOSTS")
    secret_key_fallbacks: CommaSeparated = Field([], alias="SECRET_KEY_FALLBACKS")
    public_url: str = Field("", alias="PUBLIC_URL", pattern=r"^$|^https?://[^/?#\s]+$")
    cors_allowed_origins: CommaSeparated = Field([], alias="CORS_ALLOWED_ORIGINS")
    trusted_proxies: CommaSeparated = Field([], alias="TRUSTED_PROXIES")
    redis_url: str = Field("", alias="REDIS_URL", pattern=r"^$|^rediss?://")
    email_url: str = Field("", alias="EMAIL_URL")
    email_from: str = Field("Footnote <footnote@localhost>", alias="EMAIL_FROM")
    admin_emails: CommaSeparated = Field([], alias="ADMIN_EMAILS")
    require_verified_email: bool = Field(False, alias="REQUIRE_VERIFIED_EMAIL")
    throttle_signup: Limits = Field("100/minute", alias="THROTTLE_SIGNUP")
    throttle_login: Limits = Field("300/minute", alias="THROTTLE_LOGIN")
    throttle_login_failures: Limits = Field("30/minute; 500/hour", alias="THROTTLE_LOGIN_FAILURES")
    throttle_mail: Limits = Field("60/hour", alias="THROTTLE_MAIL")
    throttle_mail_to: Limits = Field("10/hour", alias="THROTTLE_MAIL_TO")
    throttle_chat: Limits = Field("6000/minute", alias="THROTTLE_CHAT")
    throttle_search: Limits = Field("6000/minute", alias="THROTTLE_SEARCH")
    throttle_upload: Limits = Field("600/minute", alias="THROTTLE_UPLOAD")
    signup_open: bool = Field(True, alias="SIGNUP_OPEN")
    sync_interval: float = Field(30.0, alias="SYNC_INTERVAL", ge=0, allow_inf_nan=False)
    watch_polling: bool = Field(False, alias="WATCH_POLLING")
    max_source_chars: int = Field(10_000_000, alias="MAX_SOURCE_CHARS", gt=0)
    max_pdf_pages: int = Field(5_000, alias="MAX_PDF_PAGES", gt=0)
    max_file_bytes: int = Field(200_000_000, alias="MAX_FILE_BYTES", gt=0)
    parse_seconds: float = Field(60.0, alias="PARSE_SECONDS", gt=0)
    ocr: bool = Field(False, alias="OCR")
    ocr_languages: str = Field("eng", alias="OCR_LANGUAGES", pattern=r"^[A-Za-z_]{3,20}(\+[A-Za-z_]{3,20})*$")
    ocr_seconds: float = Field(600.0, alias="OCR_SECONDS", gt=0)
    history_retention_days: int = Field(30, alias="HISTORY_RETENTION_DAYS", ge=1)
    backups_kept: int = Field(8, alias="BACKUPS_KEPT", ge=1)
    run_scheduler: bool = Field(True, alias="RUN_SCHEDULER")
    time_zone: str = Field("UTC", alias="TIME_ZONE")
    schedule_history: CronText = Field("0 2 * * *", alias="SCHEDULE_HISTORY")
    schedule_tokens: CronText = Field("0 3 * * *", alias="SCHEDULE_TOKENS")
    schedule_reconcile: CronText = Field("0 4 * * *", alias="SCHEDULE_RECONCILE")
    schedule_compact: CronText = Field("0 5 * * sun", alias="SCHEDULE_COMPACT")
    schedule_report: CronText = Field("0 8 * * *", alias="SCHEDULE_REPORT")
    schedule_backup: CronText = Field("0 1 * * sun", alias="SCHEDULE_BACKUP")
    audit_retention_days: int = Field(90, alias="AUDIT_RETENTION_DAYS", ge=1)
    tasks: Literal["inside", "celery"] = Field("inside", alias="TASKS")
    celery_broker_url: str = Field("", alias="CELERY_BROKER_URL")
    metrics_token: str = Field("", alias="METRICS_TOKEN")
    otel_exporter_otlp_endpoint: str = Field("", alias="OTEL_EXPORTER_OTLP_ENDPOINT", pattern=r"^$|^https?://\S+$")
    otel_exporter_otlp_protocol: Literal["http/protobuf", "grpc"] = Field(
        "http/protobuf", alias="OTEL_EXPORTER_OTLP_PROTOCOL"
    )
    otel_service_name: str = Field("footnote", alias="OTEL_SERVICE_NAME")
    sentry_dsn: str = Field("", alias="SENTRY_DSN", pattern=r"^$|^https?://[^@/\s]+@[^/\s]+(/\S*)?/\d+$")
    log_format: Literal["lines", "json"] = Field("lines", alias="LOG_FORMAT")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", alias="LOG_LEVEL")

    @field_validator("trusted_proxies")
    @classmethod
    def _must_be_networks(cls, value: list[str]) -> list[str]:
        for text in value:
            ipaddress.ip_network(text, strict=False)
        return value

    @field_validator("cors_allowed_origins")
    @classmethod
    def _must_be_origins(cls, value: list[str]) -> list[str]:
        for origin in value:
            if not re.fullmatch(r"https?://[^/?#\s*]+", origin):
                raise ValueError(f"{origin!r} is not an origin: scheme and host, such as https://app.example.org")
        return value

    @field_validator("vector_store")
    @classmethod
    def _must_have_its_place(cls, value: str, info: ValidationInfo) -> str:
        if value == "pgvector" and not info.data.get("database_url", "").startswith(("postgres://", "postgresql://")):
            raise ValueError("pgvector keeps the vectors in PostgreSQL; set DATABASE_URL to one")
        if value == "pinecone" and not info.data.get("pinecone_api_key"):
            raise ValueError("pinecone needs PINECONE_API_KEY")
        return value

    @field_validator("reranker_options", mode="before")
    @classmethod
    def _from_json(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except ValueError as error:
            raise ValueError("it is not a JSON object") from error

    @field_validator("email_url")
    @classmethod
    def _must_name_a_mail_server(cls, value: str) -> str:
        if value:
            read_email_url(value)
        return value

    @field_validator("email_from")
    @classmethod
    def _must_have_an_address(cls, value: str) -> str:
        _require_address(parseaddr(value)[1] if value.isprintable() else "")
        return value

    @field_validator("admin_emails")
    @classmethod
    def _must_be_addresses(cls, value: list[str]) -> list[str]:
        for address in value:
            _require_address(address)
        return value

    @field_validator("data_dir", "knowledge_dir")
    @classmethod
    def _from_the_root(cls, value: Path) -> Path:
        return (BASE_DIR / value.expanduser()).resolve()

    @field_validator("time_zone")
    @classmethod
    def _must_be_a_zone(cls, value: str) -> str:
        try:
            return ZoneInfo(value).key
        except (KeyError, ValueError, OSError) as error:  # KeyError: ZoneInfoNotFoundError is one
            raise ValueError(f"{value!r} is no time zone; they are named like Europe/Berlin") from error

    @field_validator("calibration")
    @classmethod
    def _must_exist(cls, value: str) -> str:
        if value in ("", SHIPPED_CALIBRATION):
            return value
        path = (BASE_DIR / Path(value).expanduser()).resolve()
        if not path.is_file():
            raise ValueError(f"there is no file {path}; `python -m evals calibrate` makes one")
        return str(path)

    @field_validator("prices")
    @classmethod
    def _must_be_there(cls, value: str) -> str:
        path = (BASE_DIR / Path(value).expanduser()).resolve()
        if value and not path.is_file():
            raise ValueError(f"there is no file {path}; backend/chat/prices.toml is an example")
        return value and str(path)

    @property
    def vectors_shared(self) -> bool:
        """Whether several processes may use the vectors at once: an embedded store has one owner."""
        return self.vector_store in ("pgvector", "pinecone") or (
            self.vector_store == "chroma" and bool(self.chroma_url)
        )

    @property
    def zone(self) -> ZoneInfo:
        """In which the schedules are meant."""
        return ZoneInfo(self.time_zone)

    @property
    def calibration_file(self) -> Path | None:
        """By what it is decided, without a chat model, whether to answer, if the file exists; None: as shipped."""
        if self.calibration == SHIPPED_CALIBRATION:
            return None
        return Path(self.calibration) if self.calibration else self.data_dir / "calibration.json"

    @property
    def mail_server(self) -> MailServer | None:
        """Of EMAIL_URL; None: mail is written to DATA_DIR/mail."""
        return read_email_url(self.email_url) if self.email_url else None

    @cached_property
    def production(self) -> bool:
        """Whether outsiders may reach this server: DEBUG is off in so many words, or it listens beyond this machine.

        A bare checkout (nothing set, loopback only) is development and makes its own key. See docs/adr/0002.
        """
        if self.debug is not None:
            return not self.debug
        return not is_loopback(self.host)

    @property
    def site(self) -> str:
        """Where clients reach this server, as links in mails say it: never what a request's Host says."""
        if self.public_url:
            return self.public_url
        named = [host for host in self.allowed_hosts if not host.startswith((".", "*"))]
        if self.production and named:
            return f"https://{named[0]}"
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host  # noqa: S104  # nosec B104
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    def require_key(self) -> str:
        """The signing key: given in production, otherwise made once and kept in DATA_DIR."""
        if self.secret_key:
            if self.production and is_weak(self.secret_key):
                raise ImproperlyConfigured(
                    f"SECRET_KEY is too weak: give at least {SHORTEST_SECRET} random characters, for instance from "
                    "`python -c 'import secrets; print(secrets.token_urlsafe(50))'`."
                )
            return self.secret_key
        if self.production:
            raise ImproperlyConfigured(
                "SECRET_KEY is missing, and DEBUG is off or HOST is not this machine alone. Set it to at least "
                f"{SHORTEST_SECRET} random characters, for instance from "
                "`python -c 'import secrets; print(secrets.token_urlsafe(50))'`."
            )
        return _kept_key(self.data_dir / "secret_key")

    def require_fallback_keys(self) -> list[str]:
        """Keys that signed what is still good: tokens, links, the admin's sessions. They sign nothing new."""
        for key in self.secret_key_fallbacks:
            if self.production and is_weak(key):
                raise ImproperlyConfigured("A key in SECRET_KEY_FALLBACKS is too weak: whoever finds it out can sign.")
        return self.secret_key_fallbacks

    def require_broker(self) -> str:
        """The address of Celery's broker; empty when nothing is sent to workers."""
        if self.tasks == "inside":
            return ""
        if not self.celery_broker_url.startswith(("redis://", "rediss://", "amqp://", "amqps://")):
            raise ImproperlyConfigured(
                "TASKS=celery needs CELERY_BROKER_URL: redis://host:6379/0 or amqp://user:password@host:5672//"
            )
        if not self.vectors_shared:
            raise ImproperlyConfigured(
                "TASKS=celery needs CHROMA_URL, or VECTOR_STORE=pgvector or pinecone: a worker writes the vectors that "
                "the server reads, and an embedded store is not shared between processes. `chroma run` starts a server."
            )
        return self.celery_broker_url

    def require_one_process(self) -> None:
        """ImproperlyConfigured when several processes are to answer by vectors that one process has for itself."""
        if self.web_workers > 1 and not self.vectors_shared:
            raise ImproperlyConfigured(
                f"WEB_WORKERS={self.web_workers} needs CHROMA_URL, or VECTOR_STORE=pgvector or pinecone: an embedded "
                "store is not shared between processes. `make up` starts a Chroma server beside the workers."
            )

    def require_hosts(self) -> list[str]:
        """The names this server answers to."""
        if self.allowed_hosts:
            return self.allowed_hosts
        if self.production:
            raise ImproperlyConfigured(
                "ALLOWED_HOSTS is empty, and DEBUG is off or HOST is not this machine alone. Set it to the names that "
                "clients use, separated by commas: ALLOWED_HOSTS=chat.example.org"
            )
        return ["127.0.0.1", "localhost", "[::1]"]


def read_environment() -> Environment:
    """Read and check all settings; ImproperlyConfigured names each bad one."""
    load_dotenv(BASE_DIR / ".env", override=False)
    # Everywhere else an empty value is an unset one.
    switched_off: dict[str, Any] = {name: "" for name in _schedules() if os.environ.get(name) == ""}
    try:
        return Environment(**switched_off)
    except ValidationError as error:
        lines = [f"{problem['loc'][0]}: {problem['msg']}" for problem in error.errors()]
        raise ImproperlyConfigured("These settings are not right: " + "; ".join(lines)) from None


def is_weak(secret: str) -> bool:
    """Whether a key is short, of hardly any different characters, or Django's example."""
    return len(secret) < SHORTEST_SECRET or len(set(secret)) < 5 or secret.startswith("django-insecure-")


def child_environment(**values: str) -> dict[str, str]:
    """The environment of this process with these values, for a program that it starts. It does not count with it."""
    return {name: value for name, value in os.environ.items() if name != SHARED_COUNTS} | values


def share_counts(folder: Path) -> None:
    """Have this process and those that it forks count in files there, if prometheus_client is not imported yet."""
    os.environ[SHARED_COUNTS] = str(folder)


def shared_counts() -> Path | None:
    """Where several processes count together; None where each counts for itself."""
    folder = os.environ.get(SHARED_COUNTS)
    return Path(folder) if folder else None


def _require_address(address: str) -> None:
    try:
        validate_email(address)
    except NotValid:
        raise ValueError(f"{address!r} is no e-mail address") from None


def as_unset() -> dict[str, str]:
    """What makes each setting its default, whatever `.env` says: for the environment of a server of one's own."""
    defaults = _schedules()
    return {str(field.alias): defaults.get(str(field.alias), "") for field in Environment.model_fields.values()}


def _schedules() -> dict[str, str]:
    """The settings that an empty value switches off, with their defaults."""
    fields = Environment.model_fields.values()
    return {str(field.alias): str(field.default) for field in fields if str(field.alias).startswith("SCHEDULE_")}


def is_loopback(host: str) -> bool:
    """Whether this name or address is this machine's alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _kept_key(path: Path) -> str:
    """Read the key at `path`, or make it; two processes that start at once end up with the same one."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(50))
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text().strip()
