"""Server-sent events of one answer: meta, token, citation, done, error; comments when there is nothing to say."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator
from typing import Any

import orjson
from django.http import StreamingHttpResponse
from rest_framework.exceptions import APIException

from backend.api.errors import as_api_exception, body, describe
from backend.api.stopping import told_to_stop
from backend.chat.exchange import Exchange, ExchangeEvent, Follower, Replayed, describe_passage
from backend.chat.serializers import describe_answer, describe_citation
from chains.model import Cited, Done, Retrieved, Token, Waiting

logger = logging.getLogger(__name__)

HEARTBEAT = b": still here\n\n"  # a comment: clients pass over it, proxies see that the connection lives


def stream(exchange: Exchange | Follower, events: Iterator[ExchangeEvent]) -> StreamingHttpResponse:
    """The events as an event stream. What fails before the first one is raised, so that it gets its own status."""
    first = next(events)
    return respond(_render(exchange, first, events))


def respond(rendered: Iterator[bytes]) -> StreamingHttpResponse:
    """The response of an event stream, which nobody on the way may keep or hold back."""
    response = StreamingHttpResponse(rendered, content_type="text/event-stream; charset=utf-8")
    response["Cache-Control"] = "no-cache"
    response["X-Accel-Buffering"] = "no"  # nginx would hold the events back
    return response


def what_broke(error: Exception) -> APIException | None:
    """An error in the middle of a stream as what its client is told; None, and logged, for one that nobody expected."""
    known = as_api_exception(error)
    if known is None:
        logger.error("a stream broke", exc_info=error)
    return known


def _render(exchange: Exchange | Follower, first: ExchangeEvent, rest: Iterator[ExchangeEvent]) -> Iterator[bytes]:
    try:
        for event in itertools.chain([first], rest):
            yield _describe(exchange, event)
            if told_to_stop.is_set() and not isinstance(event, Done):
                yield _encode("error", body("stopping", "The server is stopping. What was written so far is kept."))
                break
    except Exception as error:  # noqa: BLE001 (what_broke logs it)
        known = what_broke(error)
        told = (
            describe(known) if known else body("internal", "Something went wrong on our side. Your question is kept.")
        )
        yield _encode("error", told)
    finally:
        rest.close()  # type: ignore[attr-defined]  # a generator: a client that hung up stops the model call here


def _describe(exchange: Exchange | Follower, event: ExchangeEvent) -> bytes:
    match event:
        case Token(text):
            return _encode("token", {"text": text})
        case Waiting():
            return HEARTBEAT
        case Cited(citation):
            return _encode("citation", describe_citation(citation))
        case Retrieved(passages):
            return _meta(exchange, [describe_passage(passage) for passage in passages])
        case Done():
            assert exchange.answer is not None  # noqa: S101 (it is stored before Done)
            return _encode("done", describe_answer(exchange.answer))
        case Replayed(answer):
            whole = describe_answer(answer)
            said = [_encode("token", {"text": answer.content})]
            said += [_encode("citation", citation) for citation in whole["citations"]]
            return b"".join([_meta(exchange, answer.retrieved), *said, _encode("done", whole)])


def _meta(exchange: Exchange | Follower, retrieved: list[dict[str, Any]]) -> bytes:
    assert exchange.question is not None  # noqa: S101 (stored before anything is retrieved)
    ids = {
        "conversation_id": exchange.question.conversation_id,
        "message_id": exchange.message_id,
        "question_id": exchange.question.pk,
    }
    return _encode("meta", {**ids, "retrieved": retrieved})


def _encode(name: str, data: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps(data))
