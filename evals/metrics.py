"""From scores to figures: means, rates with their intervals, AUROC. A figure without observations is None, never 0."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum, sqrt
from statistics import NormalDist

Z95 = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure over `n` observations; `low` and `high` bound its 95 % interval where one is defined."""

    name: str
    value: float | None
    n: int
    low: float | None = None
    high: float | None = None


def mean(name: str, scores: Sequence[float]) -> Metric:
    """The arithmetic mean."""
    return Metric(name, fsum(scores) / len(scores) if scores else None, len(scores))


def rate(name: str, hits: Sequence[bool]) -> Metric:
    """The share of True, with Wilson's interval."""
    n, successes = len(hits), sum(hits)
    if not n:
        return Metric(name, None, 0)
    low, high = wilson(successes, n)
    return Metric(name, successes / n, n, low, high)


def wilson(successes: int, n: int, z: float = Z95) -> tuple[float, float]:
    """The score interval of a proportion (Wilson 1927): it stays within [0, 1] and holds for rates near 0 and 1.

    It takes the observations for independent of each other.
    """
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # At 0 and n one bound is exactly the rate; rounding would put it a hair beside.
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == n else centre + half
    return low, high


def auroc(positives: Sequence[float], negatives: Sequence[float]) -> float | None:
    """The chance that a random positive scores above a random negative, ties counting half.

    Equal to the area under the ROC curve (Hanley and McNeil 1982). Counted over all pairs, by ranks (Mann and Whitney).
    """
    if not positives or not negatives:
        return None
    marked = sorted([(score, True) for score in positives] + [(score, False) for score in negatives])
    rank_sum, start = 0.0, 0
    while start < len(marked):
        end = start
        while end < len(marked) and marked[end][0] == marked[start][0]:
            end += 1
        tied_rank = (start + 1 + end) / 2
        rank_sum += tied_rank * sum(positive for _, positive in marked[start:end])
        start = end
    n = len(positives)
    return (rank_sum - n * (n + 1) / 2) / (n * len(negatives))
