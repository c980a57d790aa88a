"""When to answer without a chat model, decided by questions with and without an answer in the documents.

The shipped confidence is bent by a logistic function of its log-odds (Platt 1999, "Probabilistic outputs for support
vector machines"; with his smoothed targets), which keeps its order. Then the threshold is the highest that declines no
larger share of the answerable questions than is allowed. What it will do is estimated on questions that the fit has not
seen, by cross-validation: the rates on the questions of the fit itself would be too good.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from chains.abstention import SHIPPED, Calibration
from evals.metrics import Metric, auroc, rate
from evals.runner import Run

FOLDS = 10
FEWEST = 20  # questions of each kind; with fewer, a rate is known to no better than a fifth
LEAST = 1e-6  # confidences are rounded to six places
HARDLY = 0.7  # an AUROC below which no threshold does much

Pair = tuple[bool, float]  # answerable, confidence as shipped


class CannotCalibrate(Exception):
    """The questions do not allow it; the message says why."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """expected: what to expect of it; shipped: what the shipped one does on the same questions, both by name."""

    calibration: Calibration
    expected: dict[str, Metric]
    shipped: dict[str, Metric]
    auroc: float
    allowed: float


def pairs(run: Run) -> list[Pair]:
    """Of each clear question that was asked without an error."""
    return [
        (result.sample.answerable, result.recording.confidence)
        for result in run.results
        if result.sample.clear and result.recording is not None and result.recording.confidence is not None
    ]


def fit(asked: Sequence[Pair], allowed: float, seed: int, embedding: str, made_of: str) -> Fitted:
    """allowed: the share of answerable questions that may be declined. CannotCalibrate."""
    counts = {kind: sum(answerable is kind for answerable, _ in asked) for kind in (True, False)}
    if min(counts.values()) < FEWEST:
        raise CannotCalibrate(
            f"It takes at least {FEWEST} questions with and {FEWEST} without an answer in the documents; there are "
            f"{counts[True]} and {counts[False]}. Write more into questions.jsonl: one without `gold` has no answer."
        )
    answerable = np.array([kind for kind, _ in asked])
    log_odds = np.array([log_odds_of(confidence) for _, confidence in asked])
    separation = auroc(log_odds[answerable].tolist(), log_odds[~answerable].tolist())
    assert separation is not None  # noqa: S101 (there are both kinds)
    declined = np.zeros(len(asked), bool)
    for fold in _folds(answerable, seed):
        seen = ~fold
        threshold = _threshold(log_odds[seen & answerable], allowed)
        declined[fold] = log_odds[fold] < threshold
    expected = _rates(answerable, declined)
    as_shipped = _rates(answerable, log_odds < log_odds_of(SHIPPED.threshold))
    slope, bias = _platt(log_odds, answerable)
    lowest = SHIPPED.confidence(_threshold(log_odds[answerable], allowed)) - LEAST / 2  # before it was rounded
    calibration = Calibration(
        slope=slope,
        bias=bias,
        threshold=Calibration(slope, bias).confidence(log_odds_of(lowest)),
        false_answers=round(expected["false answers"].value or 0.0, 4),
        false_refusals=round(expected["false refusals"].value or 0.0, 4),
        embedding=embedding,
        made_of=f"{made_of}, {counts[True]} questions with an answer and {counts[False]} without",
    )
    return Fitted(calibration, expected, as_shipped, separation, allowed)


def as_table(fitted: Fitted, name: str) -> str:
    """For the terminal."""
    lines = [
        f"Calibrated on {name}: {fitted.calibration.made_of.split(', ', 1)[-1]}; at most {fitted.allowed:.0%} of those "
        "with an answer may be declined.",
        "",
        f"{'':<18}{'expected':>10}{'95 % interval':>20}{'as shipped':>12}",
    ]
    for figure, metric in fitted.expected.items():
        interval = f"{metric.low:.3f} to {metric.high:.3f}"
        lines.append(f"{figure:<18}{metric.value:>10.3f}{interval:>20}{fitted.shipped[figure].value:>12.3f}")
    lines += ["", f"AUROC of the confidence {fitted.auroc:.3f}; answers from {fitted.calibration.threshold:.3f} on."]
    if fitted.auroc < HARDLY:
        lines.append("The confidence hardly tells these questions apart: no threshold does much here.")
    return "\n".join(lines)


def _rates(answerable: np.ndarray, declined: np.ndarray) -> dict[str, Metric]:
    return {
        "false refusals": rate("false refusals", declined[answerable].tolist()),
        "false answers": rate("false answers", (~declined[~answerable]).tolist()),
    }


def _threshold(log_odds_of_answerable: np.ndarray, allowed: float) -> float:
    """The highest that declines no more than the allowed share; what is equal to it is answered."""
    ordered = np.sort(log_odds_of_answerable)
    return float(ordered[min(math.floor(allowed * len(ordered)), len(ordered) - 1)])


def _platt(log_odds: np.ndarray, answerable: np.ndarray) -> tuple[float, float]:
    positives, negatives = int(answerable.sum()), int((~answerable).sum())
    targets = np.where(answerable, (positives + 1) / (positives + 2), 1 / (negatives + 2))

    def loss(parameters: np.ndarray) -> float:
        x = np.exp(parameters[0]) * log_odds + parameters[1]
        return float(np.sum(np.logaddexp(0, x) - targets * x))

    found = minimize(loss, np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-9, "maxiter": 2000})
    return round(float(np.exp(found.x[0])), 6), round(float(found.x[1]), 6)


def _folds(answerable: np.ndarray, seed: int) -> list[np.ndarray]:
    """Masks of the questions of each fold, each with its share of both kinds."""
    draw = np.random.default_rng(seed)
    fold = np.empty(len(answerable), int)
    for kind in (True, False):
        where = draw.permutation(np.flatnonzero(answerable == kind))
        fold[where] = np.arange(len(where)) % FOLDS
    return [fold == number for number in range(FOLDS)]


def log_odds_of(confidence: float) -> float:
    held = min(1 - LEAST / 4, max(LEAST / 4, confidence))
    return math.log(held / (1 - held))
