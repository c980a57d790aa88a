"""Whether what was found can hold an answer: a decision before a word is written.

Without a chat model: a logistic model of two figures, the score of the best passage and the cosine of the question with
the sentence closest to it, fitted on the development sets and checked by leaving one set out at a time (docs/adr/0005).
A chat model reads the passages and declines by itself; before it, only what is far off is turned away, by the score.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from langchain_core.documents import Document

from chains.evidence import Candidate

SCORE, SENTENCE, BIAS = 5.07, 6.06, -6.3
THRESHOLD = 0.20
THRESHOLD_OF_SCORE = 0.25


@dataclass(frozen=True, slots=True)
class Decision:
    """answerable: whether to answer. confidence: in [0, 1]."""

    answerable: bool
    confidence: float


def decide(passages: Sequence[Document], evidence: Sequence[Candidate] | None) -> Decision:
    """From the passages that were found, best first (metadata has `score`), and their sentences; None for a model."""
    if not passages or evidence == []:
        return Decision(answerable=False, confidence=0.0)
    score = passages[0].metadata["score"]
    if evidence is None:
        return Decision(score >= THRESHOLD_OF_SCORE, score)
    closest = max(candidate.cosine for candidate in evidence)
    confidence = 1 / (1 + math.exp(-(SCORE * score + SENTENCE * closest + BIAS)))
    return Decision(confidence >= THRESHOLD, confidence)
