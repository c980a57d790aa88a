"""Erase messages older than HISTORY_RETENTION_DAYS and conversations left empty; in batches, so no lock is long."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Q
from django.utils import timezone

from backend.chat.models import Citation, Conversation, Feedback, IdempotencyKey, Message
from tasks.jobs import batches

logger = logging.getLogger(__name__)


def run() -> dict[str, float]:
    oldest = timezone.now() - timedelta(days=settings.ENV.history_retention_days)
    messages, conversations = batches.Batches(), batches.Batches()
    if Message.objects.filter(created_at__lt=oldest).exists():
        batches.refresh_statistics(Message, Citation, Conversation)
    messages.delete(_OldMessages(oldest))
    conversations.delete(_EmptyConversations(oldest))
    if messages.rows:
        logger.info(
            "%d messages were older than %s days and are erased", messages.rows, settings.ENV.history_retention_days
        )
    return {
        "messages": messages.rows,
        "conversations": conversations.rows,
        "longest_lock_ms": max(messages.longest_ms, conversations.longest_ms),
    }


class _OldMessages:
    """The oldest first. Each batch begins where the one before it ended: what lies before is deleted, but PostgreSQL
    would pass over its remains each time.
    """

    def __init__(self, oldest: datetime) -> None:
        self.old = Message.objects.filter(created_at__lt=oldest)
        self.begin = Q()

    def __call__(self, most: int) -> int | None:
        found = list(self.old.filter(self.begin).order_by("created_at").values_list("pk", "created_at")[:most])
        if not found and self.begin:  # one that was stored in between with an earlier time
            self.begin = Q()
            return self(most)
        if not found:
            return None
        ids = [pk for pk, _ in found]
        self.begin = Q(created_at__gte=found[-1][1])
        Citation.objects.filter(message__in=ids).delete()
        Feedback.objects.filter(message__in=ids).delete()
        IdempotencyKey.objects.filter(question__in=ids).delete()
        # Without looking for what belongs to them, which Django would read every one of them for: it is gone.
        rows = Message.objects.filter(pk__in=ids)
        rows._raw_delete(rows.db)
        return len(ids)


class _EmptyConversations:
    """They are locked, then looked at: whoever says something in one at this moment comes first, or finds it gone.

    All old ones are gone through by their ids. To ask for the empty ones instead is to read all messages, or what
    PostgreSQL keeps of those that were erased.
    """

    def __init__(self, oldest: datetime) -> None:
        self.old = Conversation.objects.filter(updated_at__lt=oldest).order_by("pk")
        self.begin = Q()

    def __call__(self, most: int) -> int | None:
        ids = list(self.old.filter(self.begin).select_for_update().values_list("pk", flat=True)[:most])
        if not ids:
            return None
        self.begin = Q(pk__gt=ids[-1])
        spoken_in = set(Message.objects.filter(conversation__in=ids).values_list("conversation", flat=True))
        gone = Conversation.objects.filter(pk__in=[pk for pk in ids if pk not in spoken_in])
        return gone._raw_delete(gone.db) or 0  # None when there are none
