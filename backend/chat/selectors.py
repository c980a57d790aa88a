"""Reads of conversations, always those of one user: another's are as good as not there."""

from __future__ import annotations

from uuid import UUID

from django.db.models import Prefetch, Q, QuerySet
from django.shortcuts import get_object_or_404

from backend.accounts.models import User
from backend.chat.models import Conversation, Message


def list_conversations(user: User, *, search: str = "", conversation_id: UUID | None = None) -> QuerySet[Conversation]:
    """The user's conversations, the latest first. `search` looks for a text in titles and messages, in any case."""
    conversations = Conversation.objects.filter(user=user)
    if conversation_id is not None:
        conversations = conversations.filter(pk=conversation_id)
    if search:
        saying = Message.objects.filter(conversation__user=user, content__icontains=search)
        conversations = conversations.filter(Q(title__icontains=search) | Q(pk__in=saying.values("conversation")))
    return conversations


def with_messages(conversations: QuerySet[Conversation]) -> QuerySet[Conversation]:
    """The same with their messages and citations read in one query each."""
    return conversations.prefetch_related(Prefetch("messages", Message.objects.prefetch_related("citations")))


def get_conversation(user: User, conversation_id: UUID) -> Conversation:
    """The user's conversation, or Http404."""
    return get_object_or_404(Conversation, user=user, pk=conversation_id)
