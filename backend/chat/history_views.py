"""/chat-history, /conversations, their messages and their export: what was said, without asking anything."""

from __future__ import annotations

from typing import Any, cast
from uuid import UUID

from django.http import StreamingHttpResponse
from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse
from rest_framework.serializers import Serializer
from rest_framework.views import APIView

from backend.accounts.models import User
from backend.api.negotiation import OnlyJSON
from backend.api.pagination import Cursor, Place, moment
from backend.api.schema import errors
from backend.chat import conversations, history
from backend.chat.export import FORMATS, export
from backend.chat.models import Conversation
from backend.chat.selectors import get_conversation
from backend.chat.serializers import (
    ConversationSerializer,
    HistoryQuerySerializer,
    HistorySerializer,
    MessageSerializer,
    MessagesQuerySerializer,
    NewConversationSerializer,
    TitleSerializer,
)
from backend.chat.views import Ask


class LatestActivity(Cursor):
    columns = {"activity": moment, "id": UUID}

    def of(self, request: Request) -> list[history.Row]:
        """The page of the user's conversations that is asked for."""
        user, asked, place = cast(User, request.user), _read(HistoryQuerySerializer, request), self.read_place(request)
        self.all_of = None if asked else user
        found = history.list_conversations(
            user,
            search=asked.get("q", ""),
            conversation_id=asked.get("conversation_id"),
            as_of=place.as_of if place else None,
        )
        return self.paginate_queryset(found, request)

    def read(
        self, queryset: Any, place: Place | None, number: int, *, descending: bool
    ) -> tuple[int, list[history.Row]]:
        if place is None and self.all_of is not None:
            return history.begin_list(self.all_of, number)
        return super().read(queryset, place, number, descending=descending)


class InOrder(Cursor):
    newest_first = False


class ChatHistory(APIView):
    pagination_class = LatestActivity

    @extend_schema(
        tags=["chat"],
        parameters=[HistoryQuerySerializer],
        responses={200: HistorySerializer(many=True), **errors(400, 401)},
    )
    def get(self, request: Request) -> Response:
        """Your conversations with their messages, the latest first."""
        pages = LatestActivity()
        rows = history.with_messages(pages.of(request))
        for row in rows:
            if row["message_count"] > len(row["messages"]):
                row["messages_url"] = reverse("messages", [row["id"]], request=request)
        return pages.get_paginated_response(rows)

    @extend_schema(
        tags=["chat"],
        parameters=[OpenApiParameter("conversation_id", OpenApiTypes.UUID, description="Only this conversation.")],
        responses={204: None, **errors(400, 401, 404)},
    )
    def delete(self, request: Request) -> Response:
        """Erase all of your conversations, or one of them."""
        user = cast(User, request.user)
        if "q" in request.query_params:
            raise ValidationError({"q": ["A search cannot be erased. Nothing was."]})
        conversation_id = _read(HistoryQuerySerializer, request).get("conversation_id")
        if conversation_id is None:
            conversations.erase(Conversation.objects.filter(user=user))
        else:
            conversations.erase(Conversation.objects.filter(pk=get_conversation(user, conversation_id).pk))
        return Response(status=204)


class Conversations(APIView):
    pagination_class = LatestActivity

    @extend_schema(
        tags=["chat"],
        parameters=[HistoryQuerySerializer],
        responses={200: ConversationSerializer(many=True), **errors(400, 401)},
    )
    def get(self, request: Request) -> Response:
        """Your conversations without their messages, the one in which something was said last first."""
        pages = LatestActivity()
        return pages.get_paginated_response(history.describe_conversations(pages.of(request)))

    @extend_schema(
        tags=["chat"],
        request=NewConversationSerializer,
        responses={201: ConversationSerializer, **errors(400, 401)},
    )
    def post(self, request: Request) -> Response:
        """Open a conversation; without a title it takes that of its first question."""
        form = NewConversationSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        user = cast(User, request.user)
        opened = conversations.open_conversation(user, **form.validated_data)
        return Response(_describe(user, opened.pk), status=201)


class ConversationDetail(APIView):
    @extend_schema(tags=["chat"], responses={200: ConversationSerializer, **errors(401, 404)})
    def get(self, request: Request, conversation_id: UUID) -> Response:
        """One conversation, without its messages."""
        user = cast(User, request.user)
        return Response(_describe(user, get_conversation(user, conversation_id).pk))

    @extend_schema(
        tags=["chat"], request=TitleSerializer, responses={200: ConversationSerializer, **errors(400, 401, 404)}
    )
    def patch(self, request: Request, conversation_id: UUID) -> Response:
        """Give it another title."""
        user = cast(User, request.user)
        conversation = get_conversation(user, conversation_id)
        form = TitleSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        conversations.rename(conversation, form.validated_data["title"])
        return Response(_describe(user, conversation_id))

    @extend_schema(tags=["chat"], responses={204: None, **errors(401, 404)})
    def delete(self, request: Request, conversation_id: UUID) -> Response:
        """Erase it with all its messages."""
        conversation = get_conversation(cast(User, request.user), conversation_id)
        conversations.erase(Conversation.objects.filter(pk=conversation.pk))
        return Response(status=204)


class Messages(Ask):
    """Reading here, asking as `Ask` does it."""

    pagination_class = InOrder

    @extend_schema(
        tags=["chat"],
        parameters=[MessagesQuerySerializer],
        responses={200: MessageSerializer(many=True), **errors(400, 401, 404)},
    )
    def get(self, request: Request, conversation_id: UUID) -> Response:
        """The messages of a conversation, in pages that stay right while it goes on."""
        conversation = get_conversation(cast(User, request.user), conversation_id)
        asked = _read(MessagesQuerySerializer, request)
        pages = Cursor() if asked.get("order") == "desc" else InOrder()
        messages = history.list_messages(conversation, replaced=asked.get("replaced", False))
        rows = pages.paginate_queryset(history.message_rows(messages), request, view=self)
        return pages.get_paginated_response(history.describe_messages(rows))


class ConversationExport(APIView):
    content_negotiation_class = OnlyJSON

    @extend_schema(
        tags=["chat"],
        parameters=[OpenApiParameter("format", str, enum=list(FORMATS), default="json")],
        responses={
            (200, "application/json"): OpenApiTypes.OBJECT,
            (200, "text/markdown"): OpenApiTypes.STR,
            **errors(400, 401, 404),
        },
    )
    def get(self, request: Request, conversation_id: UUID) -> HttpResponseBase:
        """The whole conversation as a file, with its citations."""
        conversation = get_conversation(cast(User, request.user), conversation_id)
        wanted = request.query_params.get("format", "json")
        if wanted not in FORMATS:
            raise ValidationError({"format": [f"One of {', '.join(FORMATS)}."]})
        file = export(conversation, wanted)
        response = StreamingHttpResponse(file.content, content_type=file.media_type)
        response["Content-Disposition"] = file.disposition
        return response


def _describe(user: User, conversation_id: UUID) -> history.Row:
    return history.describe_conversations(list(history.list_conversations(user, conversation_id=conversation_id)))[0]


def _read(form_class: type[Serializer[Any]], request: Request) -> dict[str, Any]:
    """The parameters that the form knows and the request has; an empty text counts as not given."""
    names = form_class._declared_fields
    given = {name: value for name in names if (value := request.query_params.get(name)) is not None}
    if not given:
        return given  # a form takes a while to be made
    form = form_class(data=given)
    form.is_valid(raise_exception=True)
    return {name: value for name, value in form.validated_data.items() if value != ""}
