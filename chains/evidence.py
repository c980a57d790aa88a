"""The sentences of the best passages, each with its closeness to the question: what the decision to answer and the
extractive answerer both look at, computed once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from langchain_core.documents import Document

from chains.sentences import Unit, split, steps, with_lists
from chains.tables import table_at, tables

READ_PASSAGES = 4  # of the best passages, sentences are considered
FEWEST_WORDS = 8  # of a sentence that does without a full stop
LONGEST_UNIT = 600  # characters; a unit beyond this is no sentence, but a page without full stops: it is cut at a word


class Embeds(Protocol):
    def embed_array(self, texts: Sequence[str]) -> np.ndarray: ...


@dataclass(frozen=True, slots=True)
class Candidate:
    """A unit (sentence, list item, table row, code block) of a passage. `cosine` is with the question.

    meaning: what it is compared by. A row or numbered steps say little without the heading above them, and a row
    without the names of its columns. names: where these stand, of a row and of the row of names itself.
    """

    passage: int
    unit: Unit
    text: str
    cosine: float
    meaning: str
    names: Unit | None = None

    @property
    def is_fragment(self) -> bool:
        """Whether it is a heading, a label or the like: it names what was asked for and says nothing about it."""
        text = self.text.rstrip("*_ )\"'”’")
        if text.endswith(":") or self.unit == self.names:
            return True
        return (
            self.unit.kind == "sentence"
            and not text.endswith((".", "!", "?", "…", "。", "！", "？"))
            and not any(char.isdigit() for char in text)
            and len(text.split()) < FEWEST_WORDS
        )


def weigh(question: str, passages: Sequence[Document], embedder: Embeds) -> list[Candidate]:
    """The units of the best passages in reading order."""
    found = [unit for i, passage in enumerate(passages[:READ_PASSAGES]) for unit in _units(i, passage)]
    if not found:
        return []
    vectors = embedder.embed_array([question, *(candidate.meaning for candidate in found)])
    cosines = vectors[1:] @ vectors[0]
    return [replace(candidate, cosine=float(cosine)) for candidate, cosine in zip(found, cosines, strict=True)]


def _units(number: int, passage: Document) -> Iterator[Candidate]:
    text = passage.page_content
    units = split(text, typeset=passage.metadata.get("format") == "pdf")
    among = tables(text, passage.metadata["embed_text"].removesuffix(text))
    about = "".join(f"{heading}. " for heading in passage.metadata["heading"][-1:])
    for unit in with_lists(text, units):
        if unit.end - unit.start > LONGEST_UNIT:
            cut = text.rfind(" ", unit.start, unit.start + LONGEST_UNIT)
            unit = Unit(unit.start, cut if cut > unit.start else unit.start + LONGEST_UNIT, unit.kind)
        raw = text[unit.start : unit.end]
        shown = raw if unit.kind in ("code", "list") else " ".join(raw.split())
        header = next((Unit(*table.header, "row") for table in among if table.header == (unit.start, unit.end)), None)
        if header is None and unit.kind == "row" and (table := table_at(among, unit.start)):
            names = Unit(*table.header, "row") if table.header else None
            yield Candidate(number, unit, shown, 0.0, about + table.tell(raw), names)
        else:
            yield Candidate(number, unit, shown, 0.0, shown, header)
    for unit in steps(text, units):
        shown = text[unit.start : unit.end]
        yield Candidate(number, unit, shown, 0.0, about + shown)
