"""The environment, typed and checked once; no other module reads `os.environ`.

Values come from the process environment, then from `.env` beside manage.py. The providers' own variables
(`OPENAI_API_KEY`, ...) stay where their libraries look for them: `.env` is loaded into the environment first.
"""

from __future__ import annotations

import ipaddress
import json
import os
import secrets
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from django.core.exceptions import ImproperlyConfigured
from dotenv import load_dotenv
from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

BASE_DIR = Path(__file__).resolve().parent.parent
SHORTEST_SECRET = 32  # characters; below it Django's own deployment check complains too

SHIPPED_CALIBRATION = "shipped"

CommaSeparated = Annotated[list[str], NoDecode]


class Environment(BaseSettings):
    """Every setting of Footnote. `.env.example` and the README say the same in words."""

    model_config = SettingsConfigDict(case_sensitive=True, extra="ignore", env_ignore_empty=True)

    host: str = Field("127.0.0.1", alias="HOST")
    port: int = Field(8000, alias="PORT", ge=1, le=65535)
    web_threads: int = Field(64, alias="WEB_THREADS", ge=2, le=2000)
    data_dir: Path = Field(Path("data"), alias="DATA_DIR")
    knowledge_dir: Path = Field(Path("knowledge"), alias="KNOWLEDGE_DIR")
    database_url: str = Field("", alias="DATABASE_URL")
    chroma_url: str = Field("", alias="CHROMA_URL")
    chat_model: str = Field("extractive", alias="CHAT_MODEL")
    chat_model_fallback: str = Field("", alias="CHAT_MODEL_FALLBACK")
    chat_model_timeout: float = Field(60.0, alias="CHAT_MODEL_TIMEOUT", gt=0)
    answer_timeout: float = Field(300.0, alias="ANSWER_TIMEOUT", gt=0)
    max_chats: int = Field(512, alias="MAX_CHATS", ge=1, le=10_000)
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
    signup_open: bool = Field(True, alias="SIGNUP_OPEN")
    sync_interval: float = Field(30.0, alias="SYNC_INTERVAL", gt=0)
    watch_polling: bool = Field(False, alias="WATCH_POLLING")
    max_source_chars: int = Field(10_000_000, alias="MAX_SOURCE_CHARS", gt=0)
    max_pdf_pages: int = Field(5_000, alias="MAX_PDF_PAGES", gt=0)
    max_file_bytes: int = Field(200_000_000, alias="MAX_FILE_BYTES", gt=0)
    parse_seconds: float = Field(60.0, alias="PARSE_SECONDS", gt=0)
    ocr: bool = Field(False, alias="OCR")
    ocr_languages: str = Field("eng", alias="OCR_LANGUAGES", pattern=r"^[A-Za-z_]{3,20}(\+[A-Za-z_]{3,20})*$")
    ocr_seconds: float = Field(600.0, alias="OCR_SECONDS", gt=0)
    history_retention_days: int = Field(30, alias="HISTORY_RETENTION_DAYS", ge=1)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", alias="LOG_LEVEL")

    @field_validator("allowed_hosts", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("reranker_options", mode="before")
    @classmethod
    def _from_json(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except ValueError as error:
            raise ValueError("it is not a JSON object") from error

    @field_validator("data_dir", "knowledge_dir")
    @classmethod
    def _from_the_root(cls, value: Path) -> Path:
        return (BASE_DIR / value.expanduser()).resolve()

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
    def calibration_file(self) -> Path | None:
        """By what it is decided, without a chat model, whether to answer, if the file exists; None: as shipped."""
        if self.calibration == SHIPPED_CALIBRATION:
            return None
        return Path(self.calibration) if self.calibration else self.data_dir / "calibration.json"

    @cached_property
    def production(self) -> bool:
        """Whether outsiders may reach this server: DEBUG is off in so many words, or it listens beyond this machine.

        A bare checkout (nothing set, loopback only) is development and makes its own key. See docs/adr/0002.
        """
        if self.debug is not None:
            return not self.debug
        return not _is_loopback(self.host)

    def require_key(self) -> str:
        """The signing key: given in production, otherwise made once and kept in DATA_DIR."""
        if self.secret_key:
            if self.production and (len(self.secret_key) < SHORTEST_SECRET or len(set(self.secret_key)) < 5):
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
    try:
        return Environment()
    except ValidationError as error:
        lines = [f"{problem['loc'][0]}: {problem['msg']}" for problem in error.errors()]
        raise ImproperlyConfigured("These settings are not right: " + "; ".join(lines)) from None


def _is_loopback(host: str) -> bool:
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
