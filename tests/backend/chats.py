"""Conversations as they would be after some talk, stored directly: tests of reading need no answerer."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.utils import timezone
from uuid_utils.compat import uuid7

from backend.accounts.models import User
from backend.chat.models import Citation, Conversation, Message
from backend.knowledge.models import Source, SourceVersion

ANSWER: dict[str, Any] = {
    "outcome": "grounded",
    "confidence": 0.75,
    "finish_reason": "stop",
    "model": "extractive",
    "prompt": "default@0123",
    "grounding": {"claims": 1, "supported": 1, "dropped": 0},
    "latency_ms": {"condense": 0.5, "retrieve": 3.25, "generate": 5.0, "verify": 0.25, "total": 9.0},
    "usage": {"input_tokens": 12, "output_tokens": 3, "cost": 0.0},
}


def talk(user: User, title: str = "Leave", turns: int = 1, at: datetime | None = None) -> Conversation:
    """A conversation of questions and answers, its last activity at that time."""
    conversation = Conversation.objects.create(user=user, title=title, updated_at=at or timezone.now())
    if at is not None:
        Conversation.objects.filter(pk=conversation.pk).update(created_at=at)
    for number in range(turns):
        say(conversation, f"Question {number} of {title}?", at=at)
        say(conversation, f"Answer {number} of {title}. [1]", at=at, **ANSWER)
    return conversation


def say(conversation: Conversation, text: str, at: datetime | None = None, **of_an_answer: Any) -> Message:
    """A message, and with it the conversation's latest activity if it is an answer."""
    role = "assistant" if of_an_answer else "user"
    message = Message.objects.create(conversation=conversation, role=role, content=text, **of_an_answer)
    if at is not None:
        Message.objects.filter(pk=message.pk).update(created_at=at)
    if of_an_answer:
        Conversation.objects.filter(pk=conversation.pk).update(updated_at=at or timezone.now())
    return message


def cite(answer: Message, n: int = 1, quote: str = "Leave is 16 weeks.", path: str = "hr/handbook.md") -> Citation:
    """A citation of a file that answers."""
    source, _ = Source.objects.get_or_create(path=path, defaults={"state": "indexed"})
    if source.current_version is None:
        source.answer_from(
            SourceVersion.objects.create(source=source, digest="ab" * 32, text=quote, format="markdown", pages=2)
        )
        source.save()
    assert source.current_version is not None
    return Citation.objects.create(
        message=answer,
        n=n,
        version=source.current_version,
        source=path,
        source_version="ab" * 32,
        page=3,
        heading=["Leave", "Parental"],
        start=0,
        end=len(quote),
        quote=quote,
        score=0.5,
    )


def many(user: User, conversations: int, messages: int, citations: int = 0) -> list[UUID]:
    """So many conversations with so many messages each, and citations of each answer, stored at once."""
    now = timezone.now() - timedelta(minutes=1)
    rows = [Conversation(user=user, title=f"No. {number}", updated_at=now) for number in range(conversations)]
    Conversation.objects.bulk_create(rows)
    said = [
        Message(conversation=row, role="user", content="x")
        if number % 2 == 0
        else Message(conversation=row, role="assistant", content="y", **ANSWER)
        for row in rows
        for number in range(messages)
    ]
    for message in said:
        message.id = uuid7()  # in the order of the list
    Message.objects.bulk_create(said)
    Citation.objects.bulk_create(
        Citation(message=message, n=n, source="a.md", source_version="b", start=0, end=1, quote="y", score=1.0)
        for message in said
        if message.role == "assistant"
        for n in range(1, citations + 1)
    )
    return [row.pk for row in rows]


def titles(page: dict[str, Any]) -> list[str]:
    return [row["title"] for row in page["results"]]


def contents(rows: Iterable[dict[str, Any]]) -> list[str]:
    return [row["content"] for row in rows]
