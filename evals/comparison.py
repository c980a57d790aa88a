"""Two runs over the same questions: by how much they differ, and whether that is more than chance.

Paired, because the same questions were asked: what counts is the difference question by question. Works on the
documents that `evals run --output` writes.

- The 95 % interval of the mean difference is a percentile bootstrap (Efron and Tibshirani 1993, chapter 13) that draws
  whole source documents, because questions about one document rise and fall together (cluster bootstrap, Field and
  Welsh 2007; for evals Miller 2024, arXiv 2411.00640). With fewer than ten documents it draws places in them.
- The p of a yes/no figure is McNemar's exact one (McNemar 1947): of the questions on which the runs disagree, each side
  wins half if nothing differs. The p of a mean is that of a randomisation test (Fisher 1935; Smucker, Allan and
  Carterette 2007): the share of sign changes, document by document, that give a difference as large.
- One figure decides: `right answers`, or the one that is asked for; its p is corrected for the number of runs compared.
  The p of the others is corrected for runs and figures together, so that among many figures chance finds nothing
  either. Both by Holm's step-down correction (Holm 1979).
- A difference is shown when p < 0.05 and the interval, which knows about documents, leaves out zero.
- The smallest effect that this set could show: 2.8 standard errors (z of 0.975 plus z of 0.80, the usual power).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import comb
from typing import Any

import numpy as np

from evals.metrics import Metric, bootstrap, by_cluster, cluster_labels, rate

FLIPS = 10_000
FLIPS_AT_ONCE = 500  # keeps the memory small
LEVEL = 0.05
POWER_Z = 2.8016  # 1.9600 + 0.8416
NAMED = 5  # questions or files that a refusal names

DECIDING = ("right answers", "recall@5")  # the first of them that was measured
BESIDE = (
    "recall@5",
    "MRR@10",
    "nDCG@10",
    "right abstentions",
    "false refusals",
    "citation validity",
    "citation precision",
    "answer contains gold",
    "token F1",
    "unsupported words",
)
BETTER, WORSE, NO_EVIDENCE = "better", "worse", "no evidence of a difference"

Run = Mapping[str, Any]


class NotComparable(Exception):
    """The runs are not over the same questions and files; the message says what differs."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure of a run against the first one's, over the `n` questions for which both have it.

    first, other: the figure of each; rates with their Wilson intervals. difference: other minus first. low, high: its
    95 % interval. p: after Holm's correction. lost, won: questions on which only the first, only the other scored
    higher. smallest: the effect that this set could have shown; None when the runs do not differ at all.
    """

    name: str
    n: int
    first: Metric
    other: Metric
    difference: float
    low: float
    high: float
    p: float
    lost: int
    won: int
    smallest: float | None
    yes_no: bool
    more_is_better: bool
    verdict: str = NO_EVIDENCE


@dataclass(frozen=True, slots=True)
class Verdict:
    """On a whole run beside the first: better, worse, or no evidence of a difference, by the figure that decides.

    left_out: questions on which one of the two runs had an error.
    """

    word: str
    reason: str
    left_out: int


def compare(
    runs: Sequence[Run], seed: int = 0, deciding: str | None = None
) -> tuple[list[list[Difference]], list[Verdict]]:
    """The first run against each of the others: figure by figure, the deciding one first, and the verdict.

    NotComparable when they are not over the same questions and files, were not measured alike, or do not have the
    deciding figure.
    """
    first, *others = runs
    for other in others:
        refuse_if_different(first, other)
    measured = first["metrics"]
    decides = deciding or next((name for name in DECIDING if name in measured), "")
    if not measured.get(decides, {}).get("per_question"):
        having = ", ".join(name for name, metric in measured.items() if metric["per_question"])
        raise NotComparable(f"There is no figure {decides!r} to decide by; there are: {having}.")
    beside = [name for name in BESIDE if name in measured and name != decides]
    found = [{name: difference(name, first, other, seed) for name in (decides, *beside)} for other in others]
    leading = [row[decides] for row in found]
    if any(row is None for row in leading):
        raise NotComparable(f"No question has the figure {decides!r} in both runs.")
    leads = judged([row for row in leading if row is not None])
    rest = iter(judged([row[name] for row in found for name in beside if row[name] is not None]))  # type: ignore[misc]
    compared = [
        [lead, *(next(rest) for name in beside if row[name] is not None)]
        for lead, row in zip(leads, found, strict=True)
    ]
    return compared, [_verdict(row[0], first, other) for row, other in zip(compared, others, strict=True)]


def refuse_if_different(first: Run, other: Run) -> None:
    """NotComparable names what differs: how it was asked, the files, or the questions."""
    for name in ("k", "search_only"):
        here, there = first["settings"][name], other["settings"][name]
        if here != there:
            raise NotComparable(f"The runs differ in their setting {name}: {here} and {there}.")
    for what, values in (
        ("files", [run["dataset"]["files"] for run in (first, other)]),
        ("questions", [{question["id"]: _asked(question) for question in run["questions"]} for run in (first, other)]),
    ):
        here, there = values
        odd = sorted(name for name in here.keys() | there.keys() if here.get(name) != there.get(name))
        if odd:
            more = f" and {len(odd) - NAMED} more" if len(odd) > NAMED else ""
            raise NotComparable(f"The runs are over different {what}: {', '.join(odd[:NAMED])}{more}.")


def changed(first: Run, other: Run) -> list[tuple[Run, Run]]:
    """The questions whose answers differ in text or outcome, each as it stands in both runs."""
    return [(a, b) for a, b in _pairs(first, other) if (a["answer"], a["outcome"]) != (b["answer"], b["outcome"])]


def difference(name: str, first: Run, other: Run, seed: int) -> Difference | None:
    """One figure, before correction and verdict; None when no question has it in both runs."""
    scored: list[tuple[float, float]] = []
    places: list[tuple[str, str]] = []
    for question, twin in _pairs(first, other):
        a, b = question["scores"].get(name), twin["scores"].get(name)
        if a is not None and b is not None:
            scored.append((a, b))
            gold = question["gold"][0] if question["gold"] else {"text": None, "page": None}
            places.append((question["about"], str(gold["text"] or gold["page"] or question["id"])))
    if not scored:
        return None
    how = first["metrics"][name]
    differences = [b - a for a, b in scored]
    clusters = cluster_labels(places)
    draws = bootstrap(differences, clusters, seed)
    low, high = np.quantile(draws, [0.025, 0.975])
    error = float(draws.std(ddof=1))
    lost, won = sum(d < 0 for d in differences), sum(d > 0 for d in differences)
    return Difference(
        name=name,
        n=len(scored),
        first=_summary(name, [a for a, _ in scored], how["yes_no"]),
        other=_summary(name, [b for _, b in scored], how["yes_no"]),
        difference=sum(differences) / len(differences),
        low=float(low),
        high=float(high),
        p=mcnemar(lost, won) if how["yes_no"] else randomisation(differences, clusters, seed),
        lost=lost,
        won=won,
        smallest=POWER_Z * error if error > 0 else None,
        yes_no=how["yes_no"],
        more_is_better=how["more_is_better"],
    )


def mcnemar(lost: int, won: int) -> float:
    """Two-sided exact p of `lost` against `won` discordant pairs: twice the smaller binomial tail at 1/2, at most 1."""
    n = lost + won
    tail = sum(comb(n, i) for i in range(min(lost, won) + 1))
    ways: int = 2**n
    return min(1.0, 2 * tail / ways)


def randomisation(differences: Sequence[float], clusters: Sequence[str], seed: int) -> float:
    """Two-sided p: the share of FLIPS random sign changes, cluster by cluster, whose mean is at least as far from zero,
    the observed one counted in.
    """
    sums, _ = by_cluster(differences, clusters)
    # Rounding must not make an equal sum a smaller one.
    observed = abs(sums.sum()) * (1 - 1e-9)
    generator = np.random.default_rng(seed)
    as_far = 0
    for _ in range(FLIPS // FLIPS_AT_ONCE):
        signs = generator.choice([-1.0, 1.0], size=(FLIPS_AT_ONCE, len(sums)))
        as_far += int((np.abs(signs @ sums) >= observed).sum())
    return (as_far + 1) / (FLIPS + 1)


def holm(ps: Sequence[float]) -> list[float]:
    """Adjusted p values, in the order given."""
    order = sorted(range(len(ps)), key=lambda i: ps[i])
    adjusted = [0.0] * len(ps)
    highest = 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[i]))
        adjusted[i] = highest
    return adjusted


def judged(family: Sequence[Difference]) -> list[Difference]:
    """Differences that are corrected together, with a verdict each: both the p and the interval must speak for it."""
    result = []
    for found, p in zip(family, holm([found.p for found in family]), strict=True):
        shown = p < LEVEL and not found.low <= 0 <= found.high
        verdict = (BETTER if (found.difference > 0) == found.more_is_better else WORSE) if shown else NO_EVIDENCE
        result.append(replace(found, p=p, verdict=verdict))
    return result


def _verdict(leading: Difference, first: Run, other: Run) -> Verdict:
    left_out = sum(bool(a["error"] or b["error"]) for a, b in _pairs(first, other))
    reason = f"{leading.name} {leading.difference:+.3f}, {leading.low:+.3f} to {leading.high:+.3f}, p {leading.p:.3f}"
    if leading.verdict == NO_EVIDENCE and leading.smallest is not None:
        reason += f"; differences from about {leading.smallest:.3f} would show"
    return Verdict(leading.verdict, reason, left_out)


def _summary(name: str, values: Sequence[float], yes_no: bool) -> Metric:
    if yes_no:
        return rate(name, [value == 1 for value in values])
    return Metric(name, sum(values) / len(values), len(values))


def _pairs(first: Run, other: Run) -> Iterator[tuple[Run, Run]]:
    """Each question as it stands in both runs."""
    theirs = {question["id"]: question for question in other["questions"]}
    return ((question, theirs[question["id"]]) for question in first["questions"])


def _asked(question: Run) -> tuple[Any, ...]:
    return question["question"], question["history"], question["gold"], question["references"]
