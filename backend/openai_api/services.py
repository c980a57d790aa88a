"""Ask in the way OpenAI's API does: the client keeps the conversation, unless it says `store`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from langchain_core.messages import BaseMessage

from backend.accounts.models import User
from backend.api.errors import Unavailable
from backend.chat import services as chat
from backend.chat.exchange import ExchangeEvent
from backend.knowledge.index import IndexBusy, KnowledgeIndex, get_index
from vectorstore.errors import IndexUnavailable


@dataclass(frozen=True, slots=True)
class Answering:
    """An answer that can be read once. kept: tells, once it is read, where it is stored."""

    events: Iterator[ExchangeEvent]
    kept: Callable[[], dict[str, str]] = dict


def answer(user: User, question: str, history: Sequence[BaseMessage], *, prompt: str, whole: bool) -> Answering:
    """The answer to a question of a conversation that its client keeps. Nothing is stored."""
    return Answering(chat.converse(user, question, history, prompt=prompt, whole=whole))


def answer_and_store(user: User, question: str, *, prompt: str, conversation_id: UUID | None, whole: bool) -> Answering:
    """The answer to a question of one of the user's conversations (or Http404), or of a new one; both are stored.

    What was said before is what is stored of it, not what the client says it was.
    """
    exchange = chat.begin(user, question, conversation_id=conversation_id, prompt=prompt)

    def kept() -> dict[str, str]:
        assert exchange.conversation is not None  # noqa: S101 (the question is stored before it is answered)
        return {"conversation_id": str(exchange.conversation.pk), "message_id": str(exchange.message_id)}

    return Answering(exchange.events(whole=whole), kept)


def open_index() -> KnowledgeIndex:
    """The index with its embedding model; Unavailable (503) when it cannot be had."""
    try:
        return get_index()
    except (IndexBusy, IndexUnavailable) as error:
        raise Unavailable(f"The index is not available: {error}", "index_unavailable") from error
