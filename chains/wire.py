"""One reply of a chat model, read as it comes; what reads may block, so chains/calling.py gives it a thread.

OpenAI's protocol is read from the bytes themselves, with langchain-openai's own client around them (address, key,
certificates, proxies): LangChain makes a dozen objects of every token, which costs three times as much. Every other
provider is read through its LangChain class.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import BaseMessage

LARGEST_REPLY = 4_000_000  # bytes; beyond it, it is no answer


class BrokenReply(Exception):
    """What came is no reply of the protocol, or it ended before the reply did. `told`: what the server said of it."""

    def __init__(self, message: str, status: int | None = None, told: str = "") -> None:
        super().__init__(message)
        self.status_code = status
        self.told = told


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a reply. Tokens are None where the server does not tell them."""

    finish_reason: str
    input_tokens: int | None = None
    output_tokens: int | None = None


class HangUp:
    """Ends a reading from another thread, also while it waits for the server."""

    def __init__(self) -> None:
        self.asked = False
        self._response: Any = None
        self._lock = threading.Lock()

    def __call__(self) -> None:
        with self._lock:
            self.asked = True
            self._shut()

    def watch(self, response: Any) -> None:
        """From now on the connection of this httpx response is what is shut; None: nothing is, it may serve others."""
        with self._lock:
            self._response = response
            if self.asked:
                self._shut()

    def _shut(self) -> None:
        stream = self._response.extensions.get("network_stream") if self._response is not None else None
        connection = stream.get_extra_info("socket") if stream is not None else None
        if connection is not None:
            with suppress(OSError):  # closing it would not wake a thread that reads
                connection.shutdown(socket.SHUT_RDWR)


def read_reply(
    llm: BaseChatModel, messages: Sequence[BaseMessage], *, whole: bool, hang_up: HangUp
) -> Iterator[str | Ended]:
    """The reply's text in pieces, then Ended; "" is a sign of life without text. whole: it is asked for at once.

    Errors are the provider's, or BrokenReply.
    """
    payload = _openai_payload(llm, messages)
    if payload is None:
        return _read_by_langchain(llm, messages, whole=whole, hang_up=hang_up)
    return (_read_whole if whole else _read_events)(llm, payload, hang_up)


def _openai_payload(llm: Any, messages: Sequence[BaseMessage]) -> dict[str, Any] | None:
    """The body of a request to /chat/completions; None when that is not what this model is asked by."""
    if not hasattr(llm, "root_client") or not hasattr(llm, "_get_request_payload"):
        return None
    payload: dict[str, Any] = llm._get_request_payload(list(messages))
    return payload if "messages" in payload else None  # otherwise OpenAI's newer Responses API


def _read_whole(llm: Any, payload: dict[str, Any], hang_up: HangUp) -> Iterator[str | Ended]:
    with _post(llm, {**payload, "stream": False}) as response:
        hang_up.watch(response)
        body = b""
        try:
            for piece in response.iter_bytes():
                body += piece
                if len(body) > LARGEST_REPLY:
                    raise BrokenReply("it is too large")
        finally:
            hang_up.watch(None)
    try:
        reply = json.loads(body)
        choice = reply["choices"][0]
        text = choice["message"].get("content") or ""
        if not isinstance(text, str):
            raise TypeError
    except (ValueError, LookupError, TypeError, AttributeError):
        raise _error_in(body) from None
    yield text
    yield Ended(str(choice.get("finish_reason") or "stop"), *_tokens(reply))


def _read_events(llm: Any, payload: dict[str, Any], hang_up: HangUp) -> Iterator[str | Ended]:
    asked = {**payload, "stream": True}
    if llm.stream_usage:
        asked["stream_options"] = {"include_usage": True}
    finish_reason = ""
    tokens: tuple[int | None, int | None] = (None, None)
    with _post(llm, asked) as response:
        hang_up.watch(response)
        try:
            for events in _events(response.iter_bytes()):
                text = ""
                for event in events:
                    if event == b"[DONE]":
                        break
                    delta = _parse(event)
                    text += delta.text
                    finish_reason = delta.finish_reason or finish_reason
                    tokens = delta.tokens if delta.tokens[0] is not None else tokens
                if events:  # anything else that comes is no sign of life
                    yield text
        finally:
            hang_up.watch(None)
    if not finish_reason:  # a connection that ends early looks like the end of the answer
        raise BrokenReply("its connection ended before its answer did")
    yield Ended(finish_reason, *tokens)


@contextmanager
def _post(llm: Any, body: dict[str, Any]) -> Iterator[Any]:
    """The httpx response, its body not read yet. The client's own `create` looks through all that is sent first."""
    extra = {name: body.pop(name) for name in ("extra_headers", "extra_query", "extra_body", "timeout") if name in body}
    headers = {"X-Stainless-Raw-Response": "stream", **(extra.get("extra_headers") or {})}
    options: dict[str, Any] = {"headers": headers}
    if extra.get("extra_query"):
        options["params"] = extra["extra_query"]
    if extra.get("timeout") is not None:
        options["timeout"] = extra["timeout"]
    body |= extra.get("extra_body") or {}
    answer = llm.root_client.post("/chat/completions", cast_to=object, body=body, options=options)
    try:
        yield answer.http_response
    finally:
        answer.close()


@dataclass(frozen=True, slots=True)
class _Delta:
    text: str
    finish_reason: str
    tokens: tuple[int | None, int | None]


def _events(received: Iterator[bytes]) -> Iterator[list[bytes]]:
    """The data of the server-sent events that came together, piece by piece of what was received."""
    rest = b""
    size = 0
    for piece in received:
        size += len(piece)
        if size > LARGEST_REPLY:
            raise BrokenReply("it is too large")
        *lines, rest = (rest + piece).split(b"\n")
        yield [line[5:].strip() for line in lines if line.startswith(b"data:")]


def _parse(event: bytes) -> _Delta:
    try:
        data = json.loads(event)
        choices = data.get("choices") or []
        if not choices:
            if "error" in data:
                raise _error_in(event)
            return _Delta("", "", _tokens(data))
        text = (choices[0].get("delta") or {}).get("content") or ""
        if not isinstance(text, str):
            raise TypeError
        return _Delta(text, str(choices[0].get("finish_reason") or ""), _tokens(data))
    except (ValueError, LookupError, TypeError, AttributeError):
        raise _error_in(event) from None


def _tokens(reply: dict[str, Any]) -> tuple[int | None, int | None]:
    usage = reply.get("usage")
    if not isinstance(usage, dict):
        return None, None
    told = (usage.get("prompt_tokens"), usage.get("completion_tokens"))
    asked, said = (count if isinstance(count, int) and count >= 0 else None for count in told)
    return asked, said


def _error_in(body: bytes) -> BrokenReply:
    """What a server says went wrong, although its status said that all was well."""
    with suppress(ValueError):
        found = json.loads(body)
        error = found.get("error") if isinstance(found, dict) else None
        if error:
            told = error if isinstance(error, dict) else {"message": error}
            status = told.get("status") or told.get("code")
            told_status = status if isinstance(status, int) else None
            return BrokenReply("its reply was an error", told_status, f"{told.get('code')} {told.get('message')}")
    return BrokenReply("it makes no sense")


def _read_by_langchain(
    llm: BaseChatModel, messages: Sequence[BaseMessage], *, whole: bool, hang_up: HangUp
) -> Iterator[str | Ended]:
    replies = iter([llm.invoke(list(messages))]) if whole else llm.stream(list(messages))
    finish_reason = ""
    asked: int | None = None
    said: int | None = None
    for reply in replies:
        if hang_up.asked:
            return
        told = reply.response_metadata
        finish_reason = str(
            told.get("finish_reason") or told.get("stop_reason") or told.get("done_reason") or finish_reason
        )
        if usage := getattr(reply, "usage_metadata", None):
            asked = (asked or 0) + usage.get("input_tokens", 0)
            said = (said or 0) + usage.get("output_tokens", 0)
        yield reply.text
    reason = {"max_tokens": "length", "MAX_TOKENS": "length", "SAFETY": "content_filter"}.get(finish_reason, "stop")
    yield Ended("length" if finish_reason == "length" else reason, asked, said)
