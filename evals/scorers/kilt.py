"""Answers that count only when their provenance is right.

KILT (Petroni et al. 2021, arXiv 2009.02252) gives an answer its points only where R-precision is 1: the R documents
ranked first are the R gold ones. Here one gold place is enough to answer from, so R is 1, and the ranked provenance is
the answer's own citations by their score: the one with the highest score must lie in a gold place. "KILT contains" and
"KILT F1" are containment and token F1 (answers.py) under that condition.

Right answers: the one figure that cannot be had by always or never declining. An unanswerable question is right when it
was declined. An answerable one is right when it was answered and a short reference (at most five words) stands in the
answer; without short references, which no answer repeats word for word, when a citation lies in a gold place.
"""

from __future__ import annotations

from evals.figures import Figure
from evals.recordings import Recording
from evals.samples import Sample
from evals.scorers import answers, citations
from evals.scorers.abstention import is_declined

SHORT = 5  # words
RIGHT = "right answers"
FIGURES = (
    Figure("KILT contains"),
    Figure("KILT F1", yes_no=False),
)
FIGURE_OF_RIGHT = Figure(RIGHT)


def score(sample: Sample, recording: Recording) -> dict[str, float]:
    """For answerable questions with reference answers; `right answers` for every question that is clear."""
    if recording.outcome is None or not sample.clear:
        return {}
    if not sample.answerable:
        return {RIGHT: float(is_declined(recording.outcome))}
    scores = {RIGHT: float(is_right(sample, recording))}
    if sample.answers:
        proven = float(has_provenance(sample, recording))
        plain = answers.score(sample, recording)
        scores["KILT contains"] = proven * plain["answer contains gold"]
        scores["KILT F1"] = proven * plain["token F1"]
    return scores


def has_provenance(sample: Sample, recording: Recording) -> bool:
    """Whether the citation with the highest score lies in a gold place."""
    if not recording.citations or is_declined(recording.outcome or ""):
        return False
    return citations.is_right(sample.gold, min(recording.citations, key=lambda cited: (-cited["score"], cited["n"])))


def is_right(sample: Sample, recording: Recording) -> bool:
    """Of an answerable question."""
    if is_declined(recording.outcome or ""):
        return False
    short = [text for text in sample.answers if len(answers.normalise(text).split()) <= SHORT]
    if short:
        return answers.contains(answers.MARKER.sub("", recording.answer), short)
    return any(citations.is_right(sample.gold, citation) for citation in recording.citations)
