"""Reads of conversations as plain rows, ready to be shown, in a number of queries that no number of rows changes.

Those of one user: another's are as good as not there. `HistorySerializer` and its parts describe the rows; running them
would take ten times as long as reading the rows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from django.db.models import Case, Count, F, OuterRef, Q, QuerySet, Subquery, UUIDField, Value, When
from django.db.models.functions import Coalesce, Left

from backend.accounts.models import User
from backend.api.compiled import Among, Compiled, joined
from backend.chat.models import Citation, Conversation, Message, Role

Row = dict[str, Any]

SHOWN_AT_ONCE = 200  # messages of one conversation, the latest, in a list of conversations
SNIPPET_LENGTH = 200

OF_A_CONVERSATION = ("id", "title", "created_at", "updated_at")
OF_A_MESSAGE = ("id", "role", "content", "created_at")
OF_AN_ANSWER = (
    "outcome",
    "model",
    "prompt",
    "cut",
    "finish_reason",
    "confidence",
    "grounding",
    "latency_ms",
    "usage",
)
READ_OF_A_MESSAGE = (
    *OF_A_MESSAGE,
    *OF_AN_ANSWER,
    "conversation_id",
    "replaced_at",
    "feedback__rating",
    "feedback__comment",
)
OF_A_CITATION = (
    "n",
    "source",
    "source_version",
    "page",
    "heading",
    "start",
    "end",
    "quote",
    "score",
    "source_state",
)


def list_conversations(
    user: User, *, search: str = "", conversation_id: UUID | None = None, as_of: datetime | None = None
) -> QuerySet[Conversation, Row]:
    """The user's conversations, each with its `activity`, by which the latest come first.

    `search` looks for a text in titles and messages, in any case. With `as_of`, conversations and their activity are
    those of that moment: one in which something is said while its list is read keeps its place there.
    """
    conversations = Conversation.objects.filter(user=user)
    if conversation_id is not None:
        conversations = conversations.filter(pk=conversation_id)
    if search:
        saying = Message.objects.filter(conversation__user=user, content__icontains=search, replaced_at=None)
        conversations = conversations.filter(Q(title__icontains=search) | Q(pk__in=saying.values("conversation")))
    rows: QuerySet[Conversation, Row]
    if as_of is None:
        rows = conversations.values(*OF_A_CONVERSATION, activity=F("updated_at"))
        return rows
    answers = Message.objects.filter(conversation=OuterRef("pk"), role=Role.ASSISTANT)  # they set updated_at
    said = answers.filter(created_at__lte=as_of).order_by("-id")
    then = Coalesce(Subquery(said.values("created_at")[:1]), "created_at")
    activity = Case(When(updated_at__lte=as_of, then="updated_at"), default=then)
    rows = conversations.filter(created_at__lte=as_of).values(*OF_A_CONVERSATION, activity=activity)
    return rows


def begin_list(user: User, number: int) -> tuple[int, list[Row]]:
    """How many conversations the user has, and the first rows of `list_conversations`: what is asked for mostly."""
    counted = _conversation_count.rows(user.pk)
    rows = [dict(zip(OF_A_CONVERSATION, row, strict=True)) for row in _first_conversations(number).rows(user.pk)]
    return counted[0][0] if counted else 0, [{**row, "activity": row["updated_at"]} for row in rows]


def describe_conversations(rows: Sequence[Row]) -> list[Row]:
    """Rows of `list_conversations` as they are listed: how many messages, and the beginning of the last one."""
    counts = _counts(rows)
    last = {conversation: values for conversation, *values in _last_messages.rows(joined(row["id"] for row in rows))}
    return [
        {
            **{name: row[name] for name in OF_A_CONVERSATION},
            "message_count": counts.get(row["id"], 0),
            "last_message": _describe_last(*last[row["id"]]) if row["id"] in last else None,
        }
        for row in rows
    ]


def with_messages(rows: Sequence[Row]) -> list[Row]:
    """Rows of `list_conversations` with their messages: of long conversations the latest, and how many there are."""
    counts = _counts(rows)
    messages: dict[UUID, list[Row]] = defaultdict(list)
    read = [
        dict(zip(READ_OF_A_MESSAGE, values, strict=True))
        for values in _latest_messages.rows(joined(row["id"] for row in rows))
    ]
    for row, message in zip(read, describe_messages(read), strict=True):
        messages[row["conversation_id"]].append(message)
    return [
        {
            **{name: row[name] for name in OF_A_CONVERSATION},
            "message_count": counts.get(row["id"], 0),
            "messages": messages.get(row["id"], []),
        }
        for row in rows
    ]


def list_messages(conversation: Conversation, *, replaced: bool = False) -> QuerySet[Message]:
    """The messages of a conversation; with `replaced` also those that others stand for now."""
    messages = Message.objects.filter(conversation=conversation)
    return messages if replaced else messages.filter(replaced_at=None)


def message_rows(messages: QuerySet[Message]) -> QuerySet[Message, Row]:
    """What `describe_messages` takes of them."""
    rows: QuerySet[Message, Row] = messages.values(*READ_OF_A_MESSAGE)
    return rows


def describe_messages(rows: Sequence[Row]) -> list[Row]:
    """Rows of `message_rows` as they are shown: answers with citations, figures, and what their reader thought."""
    citations = _citations_of([row["id"] for row in rows if row["role"] == Role.ASSISTANT])
    return [_describe_message(row, citations) for row in rows]


def read_through(conversation: Conversation, batch: int = 500) -> Iterator[Row]:
    """The messages of a conversation from its beginning, as they are shown; of thousands only `batch` are in memory."""
    messages = message_rows(list_messages(conversation).order_by("id"))
    rows: list[Row] = list(messages[:batch])
    while rows:
        yield from describe_messages(rows)
        rows = list(messages.filter(id__gt=rows[-1]["id"])[:batch])


def _counts(conversations: Sequence[Row]) -> dict[UUID, int]:
    rows: Any = _message_counts.rows(joined(row["id"] for row in conversations))  # pairs
    return dict(rows)


def _describe_last(role: str, start: str, said: datetime) -> Row:
    text = " ".join(start[:SNIPPET_LENGTH].split())
    return {"role": role, "snippet": text if len(start) <= SNIPPET_LENGTH else f"{text}…", "created_at": said}


def _describe_message(row: Row, citations: dict[UUID, list[Row]]) -> Row:
    shown = {name: row[name] for name in OF_A_MESSAGE}
    if row["role"] == Role.ASSISTANT:
        shown |= {name: row[name] for name in OF_AN_ANSWER}
        shown["citations"] = citations.get(row["id"], [])
        rating = row["feedback__rating"]
        shown["feedback"] = None if rating is None else {"rating": rating, "comment": row["feedback__comment"]}
    if row["replaced_at"] is not None:
        shown["replaced"] = True
    return shown


def _citations_of(answers: Iterable[UUID]) -> dict[UUID, list[Row]]:
    found: dict[UUID, list[Row]] = defaultdict(list)
    for message_id, *values in _citations.rows(joined(answers)):
        found[message_id].append(dict(zip(OF_A_CITATION, values, strict=True)))
    return found


def _shown(ids: str) -> QuerySet[Message]:
    """The messages of these conversations, without the replaced ones."""
    return Message.objects.filter(Among("conversation_id", ids), replaced_at=None).order_by()


def _latest(ids: str, number: int) -> QuerySet[Message]:
    """The same, at most so many of each conversation: those from a message on that is found in an index."""
    from_the_end = Message.objects.filter(conversation=OuterRef("pk"), replaced_at=None).order_by("-id").values("pk")
    first = Coalesce(Subquery(from_the_end[number - 1 : number]), Value(UUID(int=0)), output_field=UUIDField())
    latest = Conversation.objects.filter(Among("id", ids), messages__replaced_at=None, messages__id__gte=first)
    return Message.objects.filter(pk__in=latest.order_by().values("messages__id"))


_conversation_count = Compiled(
    lambda user: (
        Conversation.objects.filter(user=user).order_by().values("user").annotate(n=Count("pk")).values_list("n")
    ),
    int,
)


@lru_cache(maxsize=256)
def _first_conversations(number: int) -> Compiled:
    """A limit is a part of the SQL."""
    of_a_user = Conversation.objects.order_by("-updated_at", "-id").values_list(*OF_A_CONVERSATION)
    return Compiled(lambda user: of_a_user.filter(user=user)[:number], int)


_message_counts = Compiled(
    lambda ids: (
        _shown(ids).values("conversation_id").annotate(number=Count("pk")).values_list("conversation_id", "number")
    ),
    str,
)
_last_messages = Compiled(
    lambda ids: _latest(ids, 1).values_list(
        "conversation_id", "role", Left("content", SNIPPET_LENGTH + 1), "created_at"
    ),
    str,
)
_latest_messages = Compiled(
    lambda ids: _latest(ids, SHOWN_AT_ONCE).order_by("conversation_id", "id").values_list(*READ_OF_A_MESSAGE), str
)
_citations = Compiled(
    lambda ids: (
        Citation.objects.with_source_state()
        .filter(Among("message_id", ids))
        .order_by("message_id", "n")
        .values_list("message_id", *OF_A_CITATION)
    ),
    str,
)
