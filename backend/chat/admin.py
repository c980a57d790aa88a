"""Conversations for operators. What was written is shown to those alone who were given `chat.view_content` in so many
words, and that they looked is in the audit log; being a superuser is not enough.
"""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth.models import Permission
from django.db.models import OuterRef, Q, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html, format_html_join

from backend.api.listing import ToBeRead
from backend.audit.models import Action
from backend.audit.services import record
from backend.chat.models import Conversation, DailyUsage, Feedback, Message, Unanswered

HIDDEN = "(not shown: this takes the permission chat.view_content)"
SHOWN = 200  # messages of a conversation on its page
BULKY = ("content", "retrieved", "grounding", "options")


def may_read_content(request: HttpRequest) -> bool:
    """Whether the permission was given to this user or a group of hers; asked once a request."""
    known: bool | None = getattr(request, "may_read_content", None)
    if known is None:
        given = Q(user=request.user.pk) | Q(group__user=request.user.pk)
        wanted = Permission.objects.filter(codename="view_content", content_type__app_label="chat")
        known = wanted.filter(given).exists()
        request.may_read_content = known  # type: ignore[attr-defined]
    return known


class Guarded(ToBeRead):
    """Rows with something that somebody wrote: `content_fields` are there for who may read it."""

    content_fields: tuple[str, ...] = ()
    content_columns: tuple[str, ...] = ()

    def get_list_display(self, request: HttpRequest) -> Any:
        shown = super().get_list_display(request)
        return shown if may_read_content(request) else [name for name in shown if name not in self.content_columns]

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        shown = super().get_fields(request, obj)
        if may_read_content(request):
            return shown
        return ["not_shown" if name == self.content_fields[0] else name for name in shown if not self._closed(name)]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.get_fields(request, obj)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        answer = super().change_view(request, object_id, form_url, extra_context)
        if answer.status_code == 200 and may_read_content(request):
            self._note(request, id=object_id)
        return answer

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, str] | None = None) -> HttpResponse:
        answer = super().changelist_view(request, extra_context)
        if self.content_columns and answer.status_code == 200 and may_read_content(request):
            self._note(request)
        return answer

    @admin.display(description="content")
    def not_shown(self, row: Any) -> str:
        return HIDDEN

    def _closed(self, name: Any) -> bool:
        return name in self.content_fields[1:]

    def _note(self, request: HttpRequest, **detail: str) -> None:
        record(Action.CONTENT_READ, request, request.user, what=self.opts.model_name, **detail)  # type: ignore[arg-type]


@admin.register(Conversation)
class ConversationAdmin(Guarded):
    """Who talked when, and with the permission what was said."""

    ordering = ("-id",)
    list_display = ("created_at", "title", "user", "updated_at")
    list_filter = ("updated_at",)
    list_select_related = ("user",)
    search_fields = ("id", "user")
    fields = ("id", "user", "created_at", "updated_at", "turns", "title", "transcript")
    content_fields = ("transcript", "title")
    content_columns = ("title",)

    @admin.display(description="messages")
    def turns(self, conversation: Conversation) -> str:
        rows = conversation.messages.order_by("id").only("id", "role", "outcome", "created_at", "replaced_at")[:SHOWN]
        return format_html_join(
            "",
            '<div><a href="{}">{}</a> {} {}{}</div>',
            (
                (
                    reverse("admin:chat_message_change", args=[row.pk]),
                    f"{row.created_at:%Y-%m-%d %H:%M:%S}",
                    row.role,
                    row.outcome,
                    " (replaced)" if row.replaced_at else "",
                )
                for row in rows
            ),
        )

    def transcript(self, conversation: Conversation) -> str:
        rows = conversation.messages.filter(replaced_at=None).order_by("id").values_list("role", "content")[:SHOWN]
        return format_html_join("", '<p><b>{}</b></p><p style="white-space: pre-wrap">{}</p>', rows)


class OfMessages(Guarded):
    ordering = ("-id",)
    list_select_related = ("conversation__user",)
    search_fields = ("id", "conversation__id", "conversation__user")

    @admin.display(description="user")
    def user(self, message: Message) -> str:
        return str(message.conversation.user)

    @admin.display(description="conversation")
    def link(self, message: Message) -> str:
        where = reverse("admin:chat_conversation_change", args=[message.conversation_id])
        return format_html('<a class="nowrap" href="{}">…{}</a>', where, str(message.conversation_id)[-12:])

    @admin.display(description="ms")
    def milliseconds(self, message: Message) -> str:
        total = message.latency_ms.get("total")
        return "-" if total is None else f"{total:.0f}"


@admin.register(Message)
class MessageAdmin(OfMessages):
    list_display = ("created_at", "role", "outcome", "model", "milliseconds", "cut_off", "user", "link")
    list_filter = ("outcome", "created_at")
    fields = (
        *(
            "id",
            "link",
            "user",
            "role",
            "created_at",
            "replaced_at",
            "outcome",
            "cut_off",
            "confidence",
            "finish_reason",
        ),
        *("model", "prompt", "grounding", "latency_ms", "usage", "content", "cited", "retrieved"),
    )
    content_fields = ("content", "cited", "retrieved")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Message]:
        return super().get_queryset(request).defer(*BULKY)

    @admin.display(description="cut")
    def cut_off(self, message: Message) -> str:
        """In a word: a cross for what is well would look like a failure."""
        return "cut" if message.cut else "-"

    def cited(self, message: Message) -> str:
        rows = message.citations.values_list("n", "source", "page", "quote")
        places = ((n, f"{source}, page {page}" if page else source, quote) for n, source, page, quote in rows)
        return format_html_join("", "<p>[{}] {}: “{}”</p>", places)


@admin.register(Unanswered)
class UnansweredAdmin(OfMessages):
    """What was asked in vain: the list of documents that are missing."""

    list_display = ("created_at", "question", "confidence", "model", "user", "link")
    list_filter = ("created_at",)
    fields = ("id", "link", "user", "created_at", "confidence", "model", "question", "content", "retrieved")
    content_fields = ("question", "content", "retrieved")
    content_columns = ("question",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Message]:
        asked = Message.objects.filter(answer_id=OuterRef("pk")).values("content")[:1]
        rows: QuerySet[Message] = super().get_queryset(request).defer(*BULKY).annotate(asked=Subquery(asked))
        return rows

    def question(self, message: Message) -> str:
        return str(getattr(message, "asked", None) or "-")


@admin.register(Feedback)
class FeedbackAdmin(Guarded):
    ordering = ("-id",)
    list_display = ("updated_at", "rating", "comment", "user", "link")
    list_filter = ("rating",)
    list_select_related = ("message__conversation__user",)
    search_fields = ("message__id", "message__conversation__user")
    fields = ("updated_at", "rating", "user", "link", "comment")
    content_fields = ("comment",)
    content_columns = ("comment",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Feedback]:
        return super().get_queryset(request).defer(*(f"message__{name}" for name in BULKY))

    @admin.display(description="user")
    def user(self, feedback: Feedback) -> str:
        return str(feedback.message.conversation.user)

    @admin.display(description="answer")
    def link(self, feedback: Feedback) -> str:
        where = reverse("admin:chat_message_change", args=[feedback.message_id])
        return format_html('<a class="nowrap" href="{}">…{}</a>', where, str(feedback.message_id)[-12:])


@admin.register(DailyUsage)
class DailyUsageAdmin(ToBeRead):
    ordering = ("-day", "-id")
    list_display = ("day", "user", "model", "questions", "failed", "input_tokens", "output_tokens", "cost")
    list_filter = ("day",)
    list_select_related = ("user",)
    search_fields = ("user",)
