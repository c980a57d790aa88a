"""POST /chat, POST /messages/{id}/feedback, GET .../citations/{n}/verify."""

from __future__ import annotations

from typing import Any, cast
from uuid import UUID

from django.http import HttpResponseBase
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from backend.accounts.models import User
from backend.api.schema import errors, event
from backend.chat import selectors, services, sse
from backend.chat.exchange import Exchange
from backend.chat.serializers import (
    AnswerSerializer,
    ChatRequestSerializer,
    FeedbackSerializer,
    PendingSerializer,
    QuestionSerializer,
    RegenerateSerializer,
    VerificationSerializer,
    describe_answer,
)
from backend.throttling import throttles

LONGEST_KEY = 255  # characters
EVENTS = event("meta", "token", "citation", "done", "error")
KEY = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", "maxLength": LONGEST_KEY, "pattern": "^[ -~]*$"},
    OpenApiParameter.HEADER,
    description="Up to 255 characters of ASCII. The same request with the same key is given the same answer.",
)
ANSWERED: dict[Any, Any] = {
    200: AnswerSerializer,
    (200, "text/event-stream"): EVENTS,
    **errors(400, 401, 404, 409, 429, 503),
}


class Chat(APIView):
    throttle_classes = [throttles.Chat]

    @extend_schema(tags=["chat"], parameters=[KEY], request=ChatRequestSerializer, responses=ANSWERED)
    def post(self, request: Request) -> HttpResponseBase:
        """Ask a question. `stream: true` or `Accept: text/event-stream`: events meta, token, citation, done, error."""
        form = ChatRequestSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        return _ask(request, form.validated_data, form.validated_data.get("conversation_id"))


class Ask(APIView):
    throttle_classes = [throttles.Chat]

    @extend_schema(tags=["chat"], parameters=[KEY], request=QuestionSerializer, responses=ANSWERED)
    def post(self, request: Request, conversation_id: UUID) -> HttpResponseBase:
        """Ask a question in this conversation, as POST /chat does."""
        form = QuestionSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        return _ask(request, form.validated_data, conversation_id)


class Regenerate(APIView):
    throttle_classes = [throttles.Chat]

    @extend_schema(tags=["chat"], request=RegenerateSerializer, responses=ANSWERED)
    def post(self, request: Request, message_id: UUID) -> HttpResponseBase:
        """Another answer to a question, given by its id or that of its answer. It takes the place of all that follows
        the question; also for a question that was never answered.
        """
        form = RegenerateSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        asked = form.validated_data
        exchange = services.regenerate(cast(User, request.user), message_id, prompt=asked.get("prompt"))
        return _give(request, exchange, stream=asked["stream"])


class Edit(APIView):
    throttle_classes = [throttles.Chat]

    @extend_schema(tags=["chat"], request=QuestionSerializer, responses=ANSWERED)
    def post(self, request: Request, message_id: UUID) -> HttpResponseBase:
        """Ask another question in the place of this one; what followed it is replaced."""
        form = QuestionSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        asked = form.validated_data
        exchange = services.edit(
            cast(User, request.user),
            message_id,
            asked["message"],
            prompt=asked.get("prompt"),
            filter=asked.get("filter"),
        )
        return _give(request, exchange, stream=asked["stream"])


class StoredMessage(APIView):
    @extend_schema(
        tags=["chat"],
        responses={
            200: AnswerSerializer,
            (200, "text/event-stream"): EVENTS,
            202: PendingSerializer,
            **errors(401, 404, 409),
        },
    )
    def get(self, request: Request, message_id: UUID) -> HttpResponseBase:
        """An answer, by its id or its question's; for a client that lost its stream. 202: it is still being written;
        with `Accept: text/event-stream` it is waited for. 409: there is none, and it can be asked for by `regenerate`.
        """
        follower = services.follow(cast(User, request.user), message_id)
        if _wants_events(request):
            return sse.stream(follower, follower.events())
        answer = follower.look()
        if answer is None:
            pending = {"conversation_id": follower.question.conversation_id, "message_id": follower.message_id}
            return Response(pending, status=202, headers={"Retry-After": "1"})
        return Response(describe_answer(answer))


def _ask(request: Request, asked: dict[str, Any], conversation_id: UUID | None) -> HttpResponseBase:
    key = request.headers.get("Idempotency-Key", "")
    if len(key) > LONGEST_KEY or not (key.isascii() and key.isprintable()):
        raise ValidationError({"Idempotency-Key": [f"Give up to {LONGEST_KEY} printable characters in ASCII."]})
    exchange = services.begin(
        cast(User, request.user),
        asked["message"],
        conversation_id=conversation_id,
        prompt=asked.get("prompt"),
        filter=asked.get("filter"),
        key=key,
    )
    return _give(request, exchange, stream=asked["stream"])


def _give(request: Request, exchange: Exchange, *, stream: bool) -> HttpResponseBase:
    if stream or _wants_events(request):
        return sse.stream(exchange, exchange.events())
    return Response(describe_answer(exchange.run()))


def _wants_events(request: Request) -> bool:
    return "text/event-stream" in request.headers.get("Accept", "")


class Rate(APIView):
    @extend_schema(
        tags=["chat"], request=FeedbackSerializer, responses={200: FeedbackSerializer, **errors(400, 401, 404)}
    )
    def post(self, request: Request, message_id: UUID) -> Response:
        """Say whether an answer was good; said again, it replaces what was said before."""
        asked = FeedbackSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        answer = selectors.get_answer(cast(User, request.user), message_id)
        return Response(FeedbackSerializer(services.rate(answer, **asked.validated_data)).data)


class VerifyCitation(APIView):
    @extend_schema(tags=["chat"], responses={200: VerificationSerializer, **errors(401, 404)})
    def get(self, request: Request, message_id: UUID, n: int) -> Response:
        """Look a citation up again: in the text that was cited, and in the file as it is now."""
        citation = selectors.get_citation(cast(User, request.user), message_id, n)
        return Response(VerificationSerializer(selectors.verify(citation)).data)
