"""A chat completion in chunks: the role at once, the text as it comes, annotations, the end, usage if asked, [DONE]."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

from django.http import StreamingHttpResponse
from rest_framework.utils.encoders import JSONEncoder

from backend.api.stopping import told_to_stop
from backend.chat.exchange import ExchangeEvent
from backend.chat.sse import respond, what_broke
from backend.openai_api.errors import body, describe
from backend.openai_api.services import Answering
from backend.openai_api.wire import Completion, extension, finish_reason
from chains.model import Answer, Done, Token, Waiting

# Said after a text that turned out to have no support: what a client has shown cannot be taken back.
WITHDRAWN = "\n\nThe text above is withdrawn: the documents do not support it. "


def stream(completion: Completion, answering: Answering, *, include_usage: bool) -> StreamingHttpResponse:
    """The chunks as an event stream. What fails before the first event is raised, so that it gets its own status."""
    first = next(answering.events)
    chunks = _Chunks(completion, answering.kept, include_usage)
    return respond(chunks.render(first, answering.events))


class _Chunks:
    def __init__(self, completion: Completion, kept: Callable[[], dict[str, str]], include_usage: bool) -> None:
        self.completion = completion
        self.kept = kept
        self.include_usage = include_usage
        self.written = ""

    def render(self, first: ExchangeEvent, rest: Iterator[ExchangeEvent]) -> Iterator[bytes]:
        try:
            yield self._chunk({"role": "assistant", "content": "", "refusal": None})
            for event in itertools.chain([first], rest):
                yield from self._show(event)
                if told_to_stop.is_set() and not isinstance(event, Done):
                    yield _encode(body("The server is stopping.", "stopping", status=503))
                    break
        except Exception as error:  # noqa: BLE001 (what_broke logs it)
            known = what_broke(error)
            told = describe(known) if known else body("Something went wrong on our side.", "internal", status=500)
            yield _encode(told)
        finally:
            rest.close()  # type: ignore[attr-defined]  # a generator: a client that hung up stops the model call here

    def _show(self, event: ExchangeEvent) -> Iterator[bytes]:
        match event:
            case Token(text):
                self.written += text
                yield self._chunk({"content": text})
            case Done(answer):
                yield from self._end(answer)
            case Waiting():
                yield b": waiting\n\n"  # a comment: keeps proxies from hanging up

    def _end(self, answer: Answer) -> Iterator[bytes]:
        holds = answer.text.startswith(self.written)
        if missing := answer.text[len(self.written) :] if holds else WITHDRAWN + answer.text:
            yield self._chunk({"content": missing})
        if annotations := self.completion.annotations(answer):
            yield self._chunk({"annotations": annotations})
        yield self._chunk(
            {"footnote": {"answer": answer.text, **extension(answer, self.kept())}}, finish_reason(answer)
        )
        if self.include_usage:
            yield _encode(self.completion.usage_chunk(answer))
        yield b"data: [DONE]\n\n"

    def _chunk(self, delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
        chunk = self.completion.chunk(delta, finish_reason)
        return _encode({**chunk, "usage": None} if self.include_usage else chunk)


def _encode(data: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(data, cls=JSONEncoder, ensure_ascii=False)}\n\n".encode()
