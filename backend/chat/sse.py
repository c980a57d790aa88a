"""Server-sent events of one answer: meta, token, citation, done, error."""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Iterator
from typing import Any

from django.http import StreamingHttpResponse
from rest_framework.exceptions import APIException
from rest_framework.utils.encoders import JSONEncoder

from backend.api.errors import body, describe
from backend.api.stopping import told_to_stop
from backend.chat.serializers import AnswerSerializer, CitationSerializer
from backend.chat.services import Exchange, describe_passage
from chains.model import AnswerEvent, Cited, Done, Retrieved, Token

logger = logging.getLogger(__name__)


def stream(exchange: Exchange) -> StreamingHttpResponse:
    """The answer as an event stream. What fails before the first event is raised, so that it gets its own status."""
    events = exchange.events()
    first = next(events)
    response = StreamingHttpResponse(_render(exchange, first, events), content_type="text/event-stream; charset=utf-8")
    response["Cache-Control"] = "no-cache"
    response["X-Accel-Buffering"] = "no"  # nginx would hold the events back
    return response


def _render(exchange: Exchange, first: AnswerEvent, rest: Iterator[AnswerEvent]) -> Iterator[bytes]:
    try:
        for event in itertools.chain([first], rest):
            yield _encode(*_describe(exchange, event))
            if told_to_stop.is_set() and not isinstance(event, Done):
                yield _encode("error", body("stopping", "The server is stopping. What was written so far is kept."))
                break
    except APIException as error:
        yield _encode("error", describe(error))
    except Exception:
        logger.exception("a stream broke")
        yield _encode("error", body("internal", "Something went wrong on our side. Your question is kept."))
    finally:
        rest.close()  # type: ignore[attr-defined]  # a generator: a client that hung up stops the model call here


def _describe(exchange: Exchange, event: AnswerEvent) -> tuple[str, Any]:
    match event:
        case Retrieved(passages):
            return "meta", {
                "conversation_id": str(exchange.conversation.pk),
                "message_id": str(exchange.message_id),
                "retrieved": [describe_passage(passage) for passage in passages],
            }
        case Token(text):
            return "token", {"text": text}
        case Cited(citation):
            return "citation", CitationSerializer(citation).data  # type: ignore[arg-type]  # has the same fields
        case Done():
            return "done", AnswerSerializer(exchange.answer).data


def _encode(name: str, data: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data, cls=JSONEncoder, ensure_ascii=False)}\n\n".encode()
