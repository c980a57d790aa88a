"""The sentences of the best passages, each with its closeness to the question: what the decision to answer and the
extractive answerer both look at, computed once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from langchain_core.documents import Document

from chains.sentences import Unit, split, with_lists

READ_PASSAGES = 4  # of the best passages, sentences are considered
FEWEST_WORDS = 8  # of a sentence that does without a full stop
LONGEST_UNIT = 600  # characters; a unit beyond this is no sentence, but a page without full stops: it is cut at a word


class Embeds(Protocol):
    def embed_array(self, texts: Sequence[str]) -> np.ndarray: ...


@dataclass(frozen=True, slots=True)
class Candidate:
    """A unit (sentence, list item, table row, code block) of a passage. `cosine` is with the question."""

    passage: int
    unit: Unit
    text: str
    cosine: float

    @property
    def is_fragment(self) -> bool:
        """Whether it is a heading, a label or the like: it names what was asked for and says nothing about it."""
        text = self.text.rstrip("*_ )\"'”’")
        if text.endswith(":"):
            return True
        return (
            self.unit.kind == "sentence"
            and not text.endswith((".", "!", "?", "…", "。", "！", "？"))
            and not any(char.isdigit() for char in text)
            and len(text.split()) < FEWEST_WORDS
        )


def weigh(question: str, passages: Sequence[Document], embedder: Embeds) -> list[Candidate]:
    """The units of the best passages in reading order."""
    units = [(i, *found) for i, passage in enumerate(passages[:READ_PASSAGES]) for found in _units(passage)]
    if not units:
        return []
    vectors = embedder.embed_array([question, *(text for _, _, text in units)])
    cosines = vectors[1:] @ vectors[0]
    return [Candidate(i, unit, text, float(cosine)) for (i, unit, text), cosine in zip(units, cosines, strict=True)]


def _units(passage: Document) -> Iterator[tuple[Unit, str]]:
    text = passage.page_content
    for unit in with_lists(text, split(text, typeset=passage.metadata.get("format") == "pdf")):
        if unit.end - unit.start > LONGEST_UNIT:
            cut = text.rfind(" ", unit.start, unit.start + LONGEST_UNIT)
            unit = Unit(unit.start, cut if cut > unit.start else unit.start + LONGEST_UNIT, unit.kind)
        raw = text[unit.start : unit.end]
        yield unit, raw if unit.kind in ("code", "list") else " ".join(raw.split())
