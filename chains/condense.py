"""A follow-up question becomes one that stands alone, because retrieval sees no history.

With a chat model, by the prompt `condense` (chains/answer.py asks it). Without one, deterministically: a question that
leans on what was said (short, or with a pronoun and few words of its own) is searched together with the user's
question before it.
"""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage

from chains.context import latest, room_beside
from chains.prompts import load_internal
from chains.words import content_words

FEW_WORDS = 3  # content words below which a question hardly stands alone
POINTERS = frozenset("it its he him his she her they them their this that these those there one ones same such".split())


def condense_prompt(question: str, history: Sequence[BaseMessage], share: int = 1) -> list[BaseMessage]:
    """What a chat model is sent to make the question whole, within 1/share of the budget."""
    prompt = load_internal("condense").text
    turns = latest(history, room_beside(prompt, _turn("User", question), share=share))
    lines = [_turn("User" if isinstance(turn, HumanMessage) else "Assistant", turn.text) for turn in turns]
    lines.append(_turn("User", question))
    return [SystemMessage(prompt), HumanMessage("\n".join(lines))]


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
