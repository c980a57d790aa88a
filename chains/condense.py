"""A follow-up question becomes one that stands alone, because retrieval sees no history.

With a chat model, by the prompt `condense`. Without one, deterministically: a question that leans on what was said
(short, or with a pronoun and few words of its own) is searched together with the user's question before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage

from chains.context import latest, room_beside
from chains.prompts import load_internal
from chains.words import content_words

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

FEW_WORDS = 3  # content words below which a question hardly stands alone
POINTERS = frozenset("it its he him his she her they them their this that these those there one ones same such".split())


def condense(question: str, history: Sequence[BaseMessage], model: BaseChatModel | None) -> str:
    """The question to search with. Without history it is the question itself. Errors of the model pass through."""
    if not history:
        return question
    if model is None:
        return condense_without_model(question, history)
    prompt = load_internal("condense").text
    turns = latest(history, room_beside(prompt, _turn("User", question)))
    lines = [_turn("User" if isinstance(turn, HumanMessage) else "Assistant", turn.text) for turn in turns]
    lines.append(_turn("User", question))
    reply = model.invoke([SystemMessage(prompt), HumanMessage("\n".join(lines))])
    return reply.text.strip() or question


def condense_without_model(question: str, history: Sequence[BaseMessage]) -> str:
    """The question with the user's previous one before it, when it leans on it."""
    earlier = [message.text for message in history if isinstance(message, HumanMessage)]
    if not earlier or not leans_on_history(question):
        return question
    return f"{earlier[-1]} {question}"


def _turn(speaker: str, text: str) -> str:
    """One line, so that what was said cannot begin another turn."""
    return f"{speaker}: {' '.join(text.split())}"


def leans_on_history(question: str) -> bool:
    """Whether a question has few words of its own, or a pronoun that points back."""
    own = content_words(question)
    words = {word.strip("?,.!'\"").casefold() for word in question.split()}
    return len(own) < FEW_WORDS or (bool(words & POINTERS) and len(own) < 2 * FEW_WORDS)
