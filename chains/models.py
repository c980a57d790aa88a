"""The chat model by name: `extractive`, or `provider:model` as LangChain's `init_chat_model` names them."""

from __future__ import annotations

import socket
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from chains.errors import UnknownModel

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

EXTRACTIVE = "extractive"
REACHABLE_FOR = 15.0  # seconds for which the result of a connection test is believed
_tests: dict[str, tuple[float, str | None]] = {}  # by address: when it was tested, and what was wrong


@lru_cache(maxsize=8)
def load_chat_model(name: str, timeout: float, retries: int = 2) -> BaseChatModel | None:
    """The LangChain chat model, or None for `extractive`. UnknownModel says what is wrong.

    timeout: seconds. retries: those that the provider's client makes by itself.
    """
    if name == EXTRACTIVE:
        return None
    if ":" not in name:
        raise UnknownModel(
            f"CHAT_MODEL={name!r} is neither {EXTRACTIVE!r} nor provider:model, for instance openai:gpt-4o-mini."
        )
    from langchain.chat_models import init_chat_model

    options: dict[str, Any] = {"timeout": timeout, "max_retries": retries}
    if name.startswith("openai:"):
        options["stream_usage"] = True  # token counts also from servers that only speak OpenAI's protocol
    try:
        model: BaseChatModel = init_chat_model(name, **options)
    except Exception as error:
        raise UnknownModel(f"CHAT_MODEL={name!r} cannot be loaded: {error}") from error
    return model


def reachability_problem(model: BaseChatModel) -> str | None:
    """Why the model's server cannot be reached, for servers whose address is known; None when nothing is wrong."""
    client = getattr(model, "root_client", None)  # langchain-openai's; it knows OPENAI_BASE_URL and its default
    if client is None:
        return None
    url = str(client.base_url)
    at, problem = _tests.get(url, (-REACHABLE_FOR, None))
    if time.monotonic() - at >= REACHABLE_FOR:
        problem = _connection_problem(url)
        _tests[url] = (time.monotonic(), problem)
    return problem


def _connection_problem(url: str) -> str | None:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname or "", port), timeout=2).close()
    except OSError as error:
        return f"{parts.hostname}:{port} cannot be reached ({error.strerror or error})"
    return None
