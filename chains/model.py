"""The values that travel along the chain: a question in, events out, an answer at the end.

AnswerEvent
├── Retrieved   what was found, before a word is written
├── Token       a piece of the answer's text; all of them joined are the answer
├── Cited       a citation that was checked
├── Waiting     nothing new for a while, and it still goes on
└── Done        the whole answer
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from langchain_core.documents import Document
from langchain_core.messages import BaseMessage

Outcome = Literal["grounded", "partial", "abstained", "ungrounded"]


@dataclass(frozen=True, slots=True)
class Question:
    """What was asked, and what was said before (oldest first). `source_ids` limits where to look."""

    text: str
    history: Sequence[BaseMessage] = ()
    source_ids: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Citation:
    """A quote that was found, to the character, at [start, end) of the source text of `version_id`.

    n: the number that stands in brackets in the answer. page: 1-based, None where the format has none.
    source_version: sha256 of the file. score: the passage's retrieval score in [0, 1].
    """

    n: int
    source: str
    source_version: str
    version_id: str
    page: int | None
    heading: tuple[str, ...]
    start: int
    end: int
    quote: str
    score: float


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer and everything that is kept of how it was made.

    latency_ms: milliseconds of condense, retrieve, generate, verify and total.
    confidence: in [0, 1], that what was found holds the answer, as decided before a word was written; None where it was
    not decided.
    usage: input_tokens and output_tokens of all that chat models were asked for it; zeros when none was.
    finish_reason: why the model ended: "stop", "length" or "content_filter".
    claims: the answer's sentences that state something; supported: those of them whose citations hold.
    dropped: citations and links that did not check out and were left out.
    """

    text: str
    outcome: Outcome
    citations: tuple[Citation, ...]
    passages: tuple[Document, ...]
    model: str
    prompt: str
    latency_ms: dict[str, float]
    confidence: float | None = None
    usage: dict[str, int] = field(default_factory=lambda: {"input_tokens": 0, "output_tokens": 0})
    claims: int = 0
    supported: int = 0
    dropped: int = 0
    finish_reason: str = "stop"


@dataclass(frozen=True, slots=True)
class Retrieved:
    passages: tuple[Document, ...]


@dataclass(frozen=True, slots=True)
class Token:
    text: str


@dataclass(frozen=True, slots=True)
class Cited:
    citation: Citation


@dataclass(frozen=True, slots=True)
class Done:
    answer: Answer


@dataclass(frozen=True, slots=True)
class Waiting:
    pass


AnswerEvent = Retrieved | Token | Cited | Waiting | Done


@dataclass(slots=True)
class Draft:
    """What a generator knows when it has finished: how many claims it made, how many were supported, what it cost.
    model: the name of the one that wrote it, or last tried to.
    """

    claims: int = 0
    supported: int = 0
    declined: bool = False
    usage: dict[str, Any] = field(default_factory=lambda: {"input_tokens": 0, "output_tokens": 0})
    dropped: int = 0
    verify_seconds: float = 0.0
    model: str = ""
    finish_reason: str = ""
