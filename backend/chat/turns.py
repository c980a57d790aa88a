"""One answer at a time in a conversation, and no more at once than this machine can carry.

Who comes later waits for the turn, in the order of arrival within this process. Between processes the conversation's
row tells whose turn it is, for LEASE seconds, which the holder renews: one that was killed holds nobody up for long.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self
from uuid import UUID

from django.conf import settings
from django.db.models import Q
from django.utils import timezone

from backend.accounts.models import User
from backend.api.errors import Unavailable
from backend.chat import metrics
from backend.chat.models import Conversation
from backend.throttling.throttles import TooMany

LEASE = 30.0  # seconds
RENEWED_AFTER = 10.0  # seconds
BUSY_WAIT = 2.0  # Retry-After, in seconds, of what is not admitted


class Line:
    """Those who want to speak in one conversation, in this process. `with Line(id) as line` joins it and leaves it."""

    _waiting: dict[UUID, deque[threading.Event]] = {}
    _lock = threading.Lock()

    def __init__(self, conversation_id: UUID) -> None:
        self.conversation_id = conversation_id
        self._called = threading.Event()

    def __enter__(self) -> Self:
        with self._lock:
            line = self._waiting.setdefault(self.conversation_id, deque())
            line.append(self._called)
            if len(line) == 1:
                self._called.set()
        return self

    def wait(self, seconds: float) -> bool:
        """Whether it is this one's turn, now or within the seconds."""
        return self._called.wait(seconds)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            line = self._waiting[self.conversation_id]
            line.remove(self._called)
            if line:
                line[0].set()
            else:
                del self._waiting[self.conversation_id]


def lease_end() -> datetime:
    """Until when a turn that is taken or renewed now is held."""
    return timezone.now() + timedelta(seconds=LEASE)


def nobody_speaks() -> Q:
    """The condition that no process answers in a conversation."""
    return Q(answering_until=None) | Q(answering_until__lt=timezone.now())


def end_turn(conversation_id: UUID, answer_id: UUID) -> None:
    """Give the turn back, unless it is another's by now."""
    Conversation.objects.filter(pk=conversation_id, answering=answer_id).update(answering=None, answering_until=None)


def renew(conversation_id: UUID, answer_id: UUID) -> None:
    Conversation.objects.filter(pk=conversation_id, answering=answer_id).update(answering_until=lease_end())


def forget_turns() -> None:
    """End all turns: for the start of the only serving process, when none can be under way."""
    Conversation.objects.exclude(answering=None).update(answering=None, answering_until=None)


class Seat:
    """One of the MAX_CHATS answers that this process writes at once, and of the MAX_CHATS_PER_USER of its user.

    Unavailable (503) when there is none left, TooMany (429) when its user has them all.
    """

    _taken: Counter[int] = Counter()
    _lock = threading.Lock()

    def __init__(self, user: User) -> None:
        self.user_id = user.pk

    @classmethod
    def taken(cls) -> int:
        """How many answers are being written."""
        return cls._taken.total()

    def __enter__(self) -> Self:
        with Seat._lock:
            if Seat._taken.total() >= settings.ENV.max_chats:
                raise Unavailable(
                    "This server answers as many questions at once as it can. Please try again in a moment.",
                    "overloaded",
                    BUSY_WAIT,
                )
            if Seat._taken[self.user_id] >= settings.ENV.max_chats_per_user:
                raise TooMany(BUSY_WAIT, "You ask as many questions at once as one may. Please wait for an answer.")
            Seat._taken[self.user_id] += 1
        metrics.SEATS.inc()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with Seat._lock:
            Seat._taken[self.user_id] -= 1
            if not Seat._taken[self.user_id]:
                del Seat._taken[self.user_id]
        metrics.SEATS.dec()
