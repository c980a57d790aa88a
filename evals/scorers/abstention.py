"""Whether it declined exactly when it should.

Right abstentions: the share of unanswerable questions that were declined (negative rejection, RGB, Chen et al. 2023,
arXiv 2309.01431). False refusals: the share of answerable questions that were declined. Either alone is won by always,
or never, declining. AUROC of the top score: how well the best passage's score separates answerable questions from
unanswerable ones, whatever the threshold; 0.5 is chance.

An answer is declined when its outcome is `abstained`. `ungrounded` is an answer, although nothing supports it.
"""

from __future__ import annotations

from collections.abc import Sequence

from evals.metrics import Metric, auroc, rate


def is_declined(outcome: str) -> bool:
    return outcome == "abstained"


def abstention_rates(declined: Sequence[tuple[bool, bool]]) -> list[Metric]:
    """From (answerable, declined) per question."""
    return [
        rate("right abstentions", [said_no for answerable, said_no in declined if not answerable]),
        rate("false refusals", [said_no for answerable, said_no in declined if answerable]),
    ]


def separation(top_scores: Sequence[tuple[bool, float]]) -> Metric:
    """AUROC from (answerable, top score) per question."""
    positives = [score for answerable, score in top_scores if answerable]
    negatives = [score for answerable, score in top_scores if not answerable]
    return Metric("AUROC of the top score", auroc(positives, negatives), len(top_scores))
