"""Whether the passages that hold the answer were found, and how high.

Recall@k is 1 when at least one of the first k passages is right, else 0: one place that holds the answer is enough to
answer (top-k retrieval accuracy, Karpukhin et al. 2020, arXiv 2004.04906; also called hit rate). The reciprocal rank is
1/r for the first right passage at rank r, 0 when none of the first k is right (MRR@k, TREC-8 question answering,
Voorhees 1999).

A passage is right for a gold place when it comes from the gold file and
- the gold has a page: it is on that page;
- the gold has a text: its last heading is that text (FAQ pairs are titled by their question), or the two share a run of
  words in sequence that is at least half as long as the shorter of them, and no shorter than five words or the whole
  gold text;
- the gold has neither: it comes from that file.
Texts are compared as lower-case words between whitespace.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from evals.samples import Gold

SHORTEST_RUN = 5  # words; a shorter run is a phrase that may stand anywhere


@dataclass(frozen=True, slots=True)
class Passage:
    """What a search gave; `page` counts from 1, `heading` is outermost first."""

    source: str
    text: str
    score: float
    page: int | None = None
    heading: tuple[str, ...] = ()


def first_right(gold: Sequence[Gold], passages: Sequence[Passage]) -> int | None:
    """The rank (from 1) of the first right passage, None when none is."""
    for rank, passage in enumerate(passages, start=1):
        if any(is_right(place, passage) for place in gold):
            return rank
    return None


def recall(rank: int | None, k: int) -> bool:
    """Recall@k, from the rank of the first right passage."""
    return rank is not None and rank <= k


def reciprocal_rank(rank: int | None, k: int) -> float:
    """The reciprocal rank within the first k, from the rank of the first right passage."""
    return 1 / rank if rank is not None and rank <= k else 0.0


def is_right(gold: Gold, passage: Passage) -> bool:
    """Whether the passage is the gold place, as defined at the head of this module."""
    if passage.source != gold.file:
        return False
    if gold.page is not None:
        return passage.page == gold.page
    if gold.text is None:
        return True
    wanted = _words(gold.text)
    if passage.heading and _words(passage.heading[-1]) == wanted:
        return True
    return _overlap(wanted, _words(passage.text))


def _overlap(gold: list[str], passage: list[str]) -> bool:
    shorter = min(len(gold), len(passage))
    needed = min(len(gold), max(SHORTEST_RUN, (shorter + 1) // 2))
    return SequenceMatcher(None, gold, passage, autojunk=False).find_longest_match().size >= needed


def _words(text: str) -> list[str]:
    return text.casefold().split()
