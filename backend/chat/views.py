"""POST /chat, POST /messages/{id}/feedback, GET .../citations/{n}/verify."""

from __future__ import annotations

from typing import cast
from uuid import UUID

from django.http import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from backend.accounts.models import User
from backend.api.schema import errors
from backend.chat import selectors, services, sse
from backend.chat.serializers import (
    AnswerSerializer,
    ChatRequestSerializer,
    FeedbackSerializer,
    VerificationSerializer,
)
from backend.knowledge.selectors import SourceFilter, matching_source_ids


class Chat(APIView):
    @extend_schema(
        tags=["chat"],
        request=ChatRequestSerializer,
        responses={
            200: AnswerSerializer,
            (200, "text/event-stream"): OpenApiTypes.STR,
            **errors(400, 401, 404, 503),
        },
    )
    def post(self, request: Request) -> HttpResponseBase:
        """Ask a question. `stream: true` or `Accept: text/event-stream`: events meta, token, citation, done, error."""
        form = ChatRequestSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        asked = form.validated_data
        filtered = asked.get("filter")
        exchange = services.begin(
            cast(User, request.user),
            asked["message"],
            conversation_id=asked.get("conversation_id"),
            prompt=asked.get("prompt"),
            source_ids=matching_source_ids(SourceFilter(**filtered)) if filtered else None,
        )
        if asked["stream"] or "text/event-stream" in request.headers.get("Accept", ""):
            return sse.stream(exchange)
        return Response(AnswerSerializer(exchange.run()).data)


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
