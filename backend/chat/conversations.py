"""Open, rename and erase conversations. Asking in them is in `services`."""

from __future__ import annotations

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from backend.accounts.models import User
from backend.chat.models import Citation, Conversation, Feedback, IdempotencyKey, Message

BATCH = 5_000  # conversations in one statement; SQLite takes 32,766 parameters


def open_conversation(user: User, title: str = "") -> Conversation:
    """An empty conversation. Without a title it takes the one of its first question."""
    return Conversation.objects.create(user=user, title=title, updated_at=timezone.now())


def rename(conversation: Conversation, title: str) -> None:
    """Nothing was said in it, so it keeps its place in the list."""
    conversation.title = title
    conversation.save(update_fields=["title"])


def erase_all_of(user: User) -> None:
    """All conversations of a user whose account is erased."""
    erase(Conversation.objects.filter(user=user))


def erase(conversations: QuerySet[Conversation]) -> None:
    """Erase conversations with all that belongs to them, in a handful of statements however many they are.

    They are locked first: whoever stores a message in one of them at this moment comes before, or finds it gone.
    """
    with transaction.atomic():
        ids = list(conversations.order_by("pk").select_for_update().values_list("pk", flat=True))
        for start in range(0, len(ids), BATCH):
            gone = Conversation.objects.filter(pk__in=ids[start : start + BATCH])
            messages = Message.objects.filter(conversation__in=gone.values("pk"))
            for belonging in (Citation, Feedback):
                belonging.objects.filter(message__in=messages.values("pk")).delete()
            IdempotencyKey.objects.filter(question__in=messages.values("pk")).delete()
            # Without looking for what belongs to them, which Django would read every one of them for: it is gone.
            messages._raw_delete(messages.db)
            gone._raw_delete(gone.db)
