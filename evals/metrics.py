"""From scores to figures: means and rates with intervals, AUROC. A figure without observations is None, never 0."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum, sqrt
from statistics import NormalDist

import numpy as np

Z95 = NormalDist().inv_cdf(0.975)
DRAWS = 10_000
DRAWS_AT_ONCE = 500  # keeps the memory small
FEWEST_CLUSTERS = 10


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure over `n` observations; `low` and `high` bound its 95 % interval where one is defined."""

    name: str
    value: float | None
    n: int
    low: float | None = None
    high: float | None = None


def mean(name: str, scores: Sequence[float], clusters: Sequence[str] = (), seed: int = 0) -> Metric:
    """The arithmetic mean; with clusters, and the interval of its bootstrap over them."""
    if not scores:
        return Metric(name, None, 0)
    value = fsum(scores) / len(scores)
    if not clusters:
        return Metric(name, value, len(scores))
    low, high = np.quantile(bootstrap(scores, clusters, seed), [0.025, 0.975])
    return Metric(name, value, len(scores), float(low), float(high))


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


def bootstrap(values: Sequence[float], clusters: Sequence[str], seed: int) -> np.ndarray:
    """DRAWS means, each over as many clusters as there are, drawn with replacement. Shape (DRAWS,)."""
    sums, sizes = by_cluster(values, clusters)
    generator = np.random.default_rng(seed)
    means: np.ndarray = np.empty(DRAWS)
    for start in range(0, DRAWS, DRAWS_AT_ONCE):
        drawn = generator.integers(0, len(sums), size=(DRAWS_AT_ONCE, len(sums)))
        means[start : start + DRAWS_AT_ONCE] = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    return means


def by_cluster(values: Sequence[float], clusters: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The sum and the number of the values of each cluster, clusters in order of their names."""
    grouped: dict[str, list[float]] = defaultdict(list)
    for value, cluster in zip(values, clusters, strict=True):
        grouped[cluster].append(value)
    names = sorted(grouped)
    return np.array([fsum(grouped[name]) for name in names]), np.array([len(grouped[name]) for name in names])


def cluster_labels(places: Sequence[tuple[str, str]]) -> list[str]:
    """For each observation what it is drawn with, from its (document, place in it): the document; the place where there
    are fewer than FEWEST_CLUSTERS documents (one FAQ file); itself where there are as few places.
    """
    for labels in ([document for document, _ in places], ["\n".join(place) for place in places]):
        if len(set(labels)) >= FEWEST_CLUSTERS:
            return labels
    return [str(i) for i in range(len(places))]
