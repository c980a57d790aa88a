"""Two runs over the same questions: by how much they differ, and whether that is more than chance.

Paired, because the same questions were asked: what counts is the difference question by question.

- The 95 % interval of the mean difference is a percentile bootstrap (Efron and Tibshirani 1993, chapter 13) that draws
  whole source documents, because questions about one document rise and fall together (cluster bootstrap, Field and
  Welsh 2007). Below FEWEST_CLUSTERS documents it draws questions.
- The p of a yes/no figure is McNemar's exact one (McNemar 1947): of the questions on which the runs disagree, each side
  wins half if nothing differs. The p of a mean is twice the smaller share of the bootstrap beyond zero.
- Several runs against one: Holm's step-down correction (Holm 1979), for each figure.
- The smallest effect that this set could show: 2.8 standard errors (z of 0.975 plus z of 0.80, the usual power).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import comb
from typing import Any

import numpy as np

from evals.scorers.abstention import is_declined
from evals.scorers.retrieval import recall, reciprocal_rank

DRAWS = 10_000
DRAWS_AT_ONCE = 500  # keeps the memory small
FEWEST_CLUSTERS = 10
LEVEL = 0.05
POWER_Z = 2.8016  # 1.9600 + 0.8416

BETTER, WORSE, NO_EVIDENCE = "better", "worse", "no evidence of a difference"


class NotComparable(Exception):
    """The runs are not over the same questions and files; the message says what differs."""


@dataclass(frozen=True, slots=True)
class Figure:
    """How a question's entry in a run becomes a score; None where it does not apply."""

    name: str
    score: Callable[[Mapping[str, Any]], float | None]
    yes_no: bool = True
    more_is_better: bool = True


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure of a run against the first one's, over the `n` questions for which both have it.

    difference: other minus first. low, high: its 95 % interval. p: after Holm's correction. lost, won: questions on
    which only the first, only the other scored higher. smallest: the effect that this set could have shown;
    None when the runs do not differ at all.
    """

    name: str
    n: int
    first: float
    other: float
    difference: float
    low: float
    high: float
    p: float
    lost: int
    won: int
    smallest: float | None
    more_is_better: bool
    verdict: str = NO_EVIDENCE


FIGURES = (
    Figure("recall@5", lambda q: float(recall(q["rank"], 5)) if q["answerable"] else None),
    Figure("MRR@10", lambda q: reciprocal_rank(q["rank"], 10) if q["answerable"] else None, yes_no=False),
    Figure("right abstentions", lambda q: _declined(q) if not q["answerable"] else None),
    Figure("false refusals", lambda q: _declined(q) if q["answerable"] else None, more_is_better=False),
    Figure("answer contains gold", lambda q: None if q["contains"] is None else float(q["contains"])),
    Figure("token F1", lambda q: q["f1"], yes_no=False),
)


def compare(runs: Sequence[Mapping[str, Any]], seed: int = 0) -> list[list[Difference]]:
    """The first run against each of the others, figure by figure; runs are documents of `evals run --output`.

    NotComparable when they are not over the same questions and files, or were not measured alike.
    """
    first, *others = runs
    for other in others:
        refuse_if_different(first, other)
    compared = [
        [found for figure in FIGURES if (found := _difference(figure, first, other, seed)) is not None]
        for other in others
    ]
    return [list(row) for row in zip(*(_judged(same) for same in zip(*compared, strict=True)), strict=True)]


def refuse_if_different(first: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    """NotComparable names what differs: the data set, how it was asked, or the questions."""
    for part, names in (("dataset", ("name", "digest")), ("settings", ("limit", "seed", "k", "search_only"))):
        for name in names:
            here, there = first[part][name], other[part][name]
            if here != there:
                raise NotComparable(f"The runs differ in {part} {name}: {here} and {there}.")
    ids = [{question["id"] for question in run["questions"]} for run in (first, other)]
    if odd := sorted(ids[0] ^ ids[1]):
        raise NotComparable(f"{len(odd)} questions are in one run only, for instance {odd[0]}.")


def changed(first: Mapping[str, Any], other: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """The questions whose answers differ in text or outcome, each as it stands in both runs."""
    return [(a, b) for a, b in _pairs(first, other) if (a["answer"], a["outcome"]) != (b["answer"], b["outcome"])]


def mcnemar(lost: int, won: int) -> float:
    """Two-sided exact p of `lost` against `won` discordant pairs: twice the smaller binomial tail at 1/2, at most 1."""
    n = lost + won
    tail = sum(comb(n, i) for i in range(min(lost, won) + 1))
    ways: int = 2**n
    return min(1.0, 2 * tail / ways)


def holm(ps: Sequence[float]) -> list[float]:
    """Adjusted p values, in the order given."""
    order = sorted(range(len(ps)), key=lambda i: ps[i])
    adjusted = [0.0] * len(ps)
    highest = 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[i]))
        adjusted[i] = highest
    return adjusted


def bootstrap(differences: Sequence[float], clusters: Sequence[str], seed: int) -> np.ndarray:
    """DRAWS mean differences, each over as many clusters as there are, drawn with replacement. Shape (DRAWS,)."""
    grouped: dict[str, list[float]] = defaultdict(list)
    for difference, cluster in zip(differences, clusters, strict=True):
        grouped[cluster].append(difference)
    sums = np.array([sum(grouped[cluster]) for cluster in sorted(grouped)])
    sizes = np.array([len(grouped[cluster]) for cluster in sorted(grouped)])
    generator = np.random.default_rng(seed)
    means: np.ndarray = np.empty(DRAWS)
    for start in range(0, DRAWS, DRAWS_AT_ONCE):
        drawn = generator.integers(0, len(sums), size=(DRAWS_AT_ONCE, len(sums)))
        means[start : start + DRAWS_AT_ONCE] = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    return means


def _difference(figure: Figure, first: Mapping[str, Any], other: Mapping[str, Any], seed: int) -> Difference | None:
    scores: list[tuple[float, float]] = []
    documents: list[str] = []
    for question, twin in _pairs(first, other):
        if question["error"] or twin["error"]:
            continue
        a, b = figure.score(question), figure.score(twin)
        if a is not None and b is not None:
            scores.append((a, b))
            documents.append(question["gold"][0] if question["gold"] else question["id"])
    if not scores:
        return None
    if len(set(documents)) < FEWEST_CLUSTERS:
        documents = [str(i) for i in range(len(documents))]
    differences = [b - a for a, b in scores]
    draws = bootstrap(differences, documents, seed)
    lost, won = sum(d < 0 for d in differences), sum(d > 0 for d in differences)
    beyond = min(float(np.mean(draws <= 0)), float(np.mean(draws >= 0)))
    p = mcnemar(lost, won) if figure.yes_no else min(1.0, 2 * beyond)
    low, high = np.quantile(draws, [0.025, 0.975])
    error = float(draws.std(ddof=1))
    return Difference(
        name=figure.name,
        n=len(scores),
        first=sum(a for a, _ in scores) / len(scores),
        other=sum(b for _, b in scores) / len(scores),
        difference=sum(differences) / len(differences),
        low=float(low),
        high=float(high),
        p=p,
        lost=lost,
        won=won,
        smallest=POWER_Z * error if error > 0 else None,
        more_is_better=figure.more_is_better,
    )


def _pairs(first: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Each question as it stands in both runs."""
    theirs = {question["id"]: question for question in other["questions"]}
    return ((question, theirs[question["id"]]) for question in first["questions"])


def _judged(same: Sequence[Difference]) -> list[Difference]:
    """One figure of several runs, with corrected p and a verdict: both the p and the interval must speak for it."""
    judged = []
    for found, p in zip(same, holm([found.p for found in same]), strict=True):
        shown = p < LEVEL and not found.low <= 0 <= found.high
        verdict = (BETTER if (found.difference > 0) == found.more_is_better else WORSE) if shown else NO_EVIDENCE
        judged.append(replace(found, p=p, verdict=verdict))
    return judged


def _declined(question: Mapping[str, Any]) -> float | None:
    return None if question["outcome"] is None else float(is_declined(question["outcome"]))
