"""Whether it declined exactly when it should, and whether its confidence knows.

Right abstentions (the recall of abstaining): the share of unanswerable questions that were declined (negative
rejection, RGB, Chen et al. 2023, arXiv 2309.01431). Abstention precision: the share of declined questions that were
unanswerable. False refusals: the share of answerable questions that were declined. Any of them alone is won by always,
or never, declining.

AUROC of the confidence: how well it separates answerable questions from unanswerable ones, whatever the threshold; 0.5
is chance.

Risk-coverage curve (El-Yaniv and Wiener 2010, JMLR 11): answered questions by falling confidence; at each point the
share of all questions answered so far (coverage) and the share of those that are not right (risk; right as in kilt.py).
AURC is the mean risk over the points (Geifman and El-Yaniv 2017, arXiv 1705.08500); less is better. What was declined
is beyond the curve's end.

An answer is declined when its outcome is `abstained`. `ungrounded` is an answer, although nothing supports it.
"""

from __future__ import annotations

from collections.abc import Sequence

from evals.figures import Figure
from evals.metrics import Metric, auroc, rate
from evals.recordings import Recording
from evals.samples import Sample

FIGURES = (
    Figure("right abstentions"),
    Figure("false refusals", more_is_better=False),
)


def is_declined(outcome: str) -> bool:
    return outcome == "abstained"


def score(sample: Sample, recording: Recording) -> dict[str, float]:
    if recording.outcome is None or not sample.clear:
        return {}
    declined = float(is_declined(recording.outcome))
    return {"false refusals" if sample.answerable else "right abstentions": declined}


def precision(declined: Sequence[tuple[bool, bool]]) -> Metric:
    """From (answerable, declined) per question."""
    return rate("abstention precision", [not answerable for answerable, said_no in declined if said_no])


def separation(name: str, confidences: Sequence[tuple[bool, float]]) -> Metric:
    """AUROC from (answerable, confidence) per question."""
    positives = [score for answerable, score in confidences if answerable]
    negatives = [score for answerable, score in confidences if not answerable]
    return Metric(name, auroc(positives, negatives), len(confidences))


def risk_coverage(answered: Sequence[tuple[float, bool]], asked: int) -> list[tuple[float, float]]:
    """The curve, from (confidence, right) of each answered question, out of `asked` questions; a point for each
    different confidence, as (coverage, risk). Equal confidences enter together.
    """
    points: list[tuple[float, float]] = []
    wrong = 0
    ordered = sorted(answered, key=lambda pair: -pair[0])
    for count, (confidence, right) in enumerate(ordered, start=1):
        wrong += not right
        if count == len(ordered) or ordered[count][0] != confidence:
            points.append((count / asked, wrong / count))
    return points


def aurc(points: Sequence[tuple[float, float]]) -> float | None:
    """The mean risk over the curve, each point weighing as much as the coverage it adds."""
    if not points:
        return None
    before, area = 0.0, 0.0
    for coverage, risk in points:
        area += (coverage - before) * risk
        before = coverage
    return area / before
