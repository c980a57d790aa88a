"""A data set goes through a Client, question by question; what came back is scored and becomes a Run.

An exception while a question is asked is an error of that question: counted apart, never scored as a wrong answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from evals.metrics import Metric, mean, rate
from evals.samples import Dataset, Sample, Turn
from evals.scorers.abstention import abstention_rates, is_declined, separation
from evals.scorers.answers import contains, token_f1
from evals.scorers.citations import is_valid
from evals.scorers.retrieval import Passage, first_right, recall, reciprocal_rank

CUTOFFS = (1, 5, 10)


class Client(Protocol):
    """The product, as an eval sees it. Every call raises an exception when the product cannot do it."""

    def ask(self, question: str, history: Sequence[Turn]) -> dict[str, Any]:
        """The answer object of the HTTP API, to a question in a conversation of its own that begins with `history`."""

    def search(self, question: str, k: int, history: Sequence[Turn] = ()) -> list[dict[str, Any]]:
        """At most `k` results as GET /search gives them, best first: the passages `ask` would be given."""

    def source_text(self, source: str) -> str | None:
        """The current text of a source, into which citations' offsets point; None when there is no such source."""


@dataclass(frozen=True, slots=True)
class Result:
    """One question: what came back, and its scores. None means not measured or not applicable.

    rank: of the first right passage. contains, f1: only for answerable questions with reference answers.
    valid: one truth value per citation, in order.
    """

    sample: Sample
    error: str | None = None
    passages: tuple[Passage, ...] = ()
    rank: int | None = None
    answer: str | None = None
    outcome: str | None = None
    citations: tuple[dict[str, Any], ...] = ()
    valid: tuple[bool, ...] = ()
    contains: bool | None = None
    f1: float | None = None
    model: str | None = None
    prompt: str | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """The outcome of an eval. Everything but `seconds` depends on the inputs alone.

    seconds: the duration of each call that succeeded, by what was called ("search", "ask"), in the order of asking.
    """

    dataset: Dataset
    limit: int | None
    seed: int
    k: int
    search_only: bool
    results: tuple[Result, ...]
    seconds: dict[str, list[float]] = field(default_factory=dict)

    @property
    def errors(self) -> tuple[Result, ...]:
        return tuple(result for result in self.results if result.error is not None)


def run(
    dataset: Dataset,
    client: Client,
    *,
    limit: int | None = None,
    seed: int = 0,
    k: int = 10,
    search_only: bool = False,
    progress: Callable[[Sequence[Sample]], Iterable[Sample]] = iter,
    clock: Callable[[], float] = time.perf_counter,
) -> Run:
    """Ask every sample (or `limit` of them, drawn with `seed`) and score what comes back."""
    seconds: dict[str, list[float]] = {"search": [], "ask": []}
    results = []
    for sample in progress(dataset.pick(limit, seed)):
        try:
            results.append(_examine(sample, client, k, search_only, seconds, clock))
        except Exception as error:  # noqa: BLE001 (one question's failure, of whatever kind, must not end the run)
            results.append(Result(sample, error=" ".join(f"{type(error).__name__}: {error}".split())))
    return Run(dataset, limit, seed, k, search_only, tuple(results), seconds)


def measure(run: Run) -> list[Metric]:
    """The figures of a run, in the order of the report; questions with errors are left out of all of them."""
    done = [result for result in run.results if result.error is None]
    found = [result for result in done if result.sample.answerable]
    metrics = [rate(f"recall@{k}", [recall(result.rank, k) for result in found]) for k in CUTOFFS if k <= run.k]
    metrics.append(mean(f"MRR@{run.k}", [reciprocal_rank(result.rank, run.k) for result in found]))
    metrics.append(separation([(result.sample.answerable, _top_score(result)) for result in done]))
    if run.search_only:
        return metrics
    declined = [(result.sample.answerable, is_declined(result.outcome or "")) for result in done]
    return [
        *metrics,
        *abstention_rates(declined),
        rate("answer contains gold", [result.contains for result in done if result.contains is not None]),
        mean("token F1", [result.f1 for result in done if result.f1 is not None]),
        rate("citation validity", [valid for result in done for valid in result.valid]),
    ]


def _examine(
    sample: Sample,
    client: Client,
    k: int,
    search_only: bool,
    seconds: dict[str, list[float]],
    clock: Callable[[], float],
) -> Result:
    begun = clock()
    found = client.search(sample.question, k, sample.history)
    searched = clock()
    passages = tuple(_passage(row) for row in found[:k])
    rank = first_right(sample.gold, passages)
    if search_only:
        seconds["search"].append(searched - begun)
        return Result(sample, passages=passages, rank=rank)
    asking = clock()
    reply = client.ask(sample.question, sample.history)
    asked = clock()
    answer, outcome, citations = reply["answer"], reply["outcome"], tuple(reply["citations"])
    references = sample.answers if sample.answerable else ()
    judged = "" if is_declined(outcome) else answer
    result = Result(
        sample,
        passages=passages,
        rank=rank,
        answer=answer,
        outcome=outcome,
        citations=citations,
        valid=tuple(is_valid(citation, client.source_text(citation["source"])) for citation in citations),
        contains=contains(judged, references),
        f1=token_f1(judged, references),
        model=reply["model"],
        prompt=reply["prompt"],
    )
    seconds["search"].append(searched - begun)
    seconds["ask"].append(asked - asking)
    return result


def _passage(row: dict[str, Any]) -> Passage:
    return Passage(
        source=row["source"],
        text=row["text"],
        score=float(row["score"]),
        page=row["page"],
        heading=tuple(row["heading"] or ()),
    )


def _top_score(result: Result) -> float:
    """The best passage's score; nothing found is below everything found."""
    return result.passages[0].score if result.passages else float("-inf")
