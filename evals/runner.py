"""A data set goes through a Client, question by question; what came back is scored and becomes a Run.

An exception while a question is asked is an error or a time-out of that question: counted apart, never scored as a
wrong answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

from evals.figures import Figure
from evals.metrics import Metric, cluster_labels, mean, rate
from evals.recordings import Passage, Recording, Recordings
from evals.samples import Dataset, Sample, Turn
from evals.scorers import abstention, answers, citations, grounding, kilt, retrieval

VOLATILE = ("conversation_id", "message_id", "retrieved")  # new in every run, or told by the search already


class Client(Protocol):
    """The product, as an eval sees it. Every call raises an exception when the product cannot do it."""

    def ask(self, question: str, history: Sequence[Turn]) -> dict[str, Any]:
        """The answer object of the HTTP API, to a question in a conversation of its own that begins with `history`."""

    def search(self, question: str, k: int, history: Sequence[Turn] = ()) -> list[dict[str, Any]]:
        """At most `k` results as GET /search gives them, best first: the passages `ask` would be given."""

    def source_text(self, source: str, start: int, end: int) -> str | None:
        """The current text of a source between two offsets, as far as it is stored; None without such a source."""


@dataclass(frozen=True, slots=True)
class Options:
    """How a data set is asked. limit: draw so many questions with `seed`. k: passages per search."""

    limit: int | None = None
    seed: int = 0
    k: int = 10
    search_only: bool = False
    workers: int = 1


@dataclass(frozen=True, slots=True)
class Result:
    """One question: what came back, and its scores by name; a name that is missing does not apply. Or an error."""

    sample: Sample
    recording: Recording | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    error: str | None = None
    timed_out: bool = False


@dataclass(frozen=True, slots=True)
class Run:
    """The outcome of an eval. reused: recordings that were there already."""

    dataset: Dataset
    options: Options
    results: tuple[Result, ...]
    reused: int = 0

    @property
    def done(self) -> tuple[Result, ...]:
        return tuple(result for result in self.results if result.error is None)

    @property
    def errors(self) -> tuple[Result, ...]:
        return tuple(result for result in self.results if result.error is not None)


Progress = Callable[[Iterable[Result], int], Iterable[Result]]


def run(
    dataset: Dataset,
    client: Callable[[], Client],
    options: Options,
    *,
    recordings: Recordings | None = None,
    key: Callable[[Sample], str] = lambda sample: sample.id,
    progress: Progress = lambda results, _: results,
    clock: Callable[[], float] = time.perf_counter,
) -> Run:
    """Ask every sample, or as many as `options` say, and score what comes back.

    client: called only when something must be asked. recordings: what is known already, by `key` of the sample; what
    comes back is added to them at once. progress: wraps the results as they come, in the order of the samples.
    """
    known = recordings or Recordings()
    samples = dataset.pick(options.limit, options.seed)
    found = {sample.id: known.get(key(sample)) for sample in samples}
    missing = [sample for sample in samples if found[sample.id] is None]
    asked = client() if missing else None

    def examine(sample: Sample) -> Result:
        recording = found[sample.id]
        try:
            if recording is None:
                assert asked is not None  # noqa: S101 (for the type checker)
                recording = record(sample, asked, options, clock)
                known.put(key(sample), recording)
        except Exception as error:  # noqa: BLE001 (one question's failure, of whatever kind, must not end the run)
            text = " ".join(f"{type(error).__name__}: {error}".split())
            return Result(sample, error=text, timed_out=is_timeout(error))
        return Result(sample, recording, score(sample, recording, options))

    results = tuple(progress(_each(examine, samples, options.workers), len(samples)))
    return Run(dataset, options, results, len(samples) - len(missing))


def record(sample: Sample, client: Client, options: Options, clock: Callable[[], float]) -> Recording:
    """What the product does with one question."""
    begun = clock()
    found = client.search(sample.question, options.k, sample.history)
    seconds = {"search": clock() - begun}
    passages = tuple(_passage(row) for row in found[: options.k])
    if options.search_only:
        return Recording(passages, seconds=seconds)
    asking = clock()
    reply = client.ask(sample.question, sample.history)
    seconds["ask"] = clock() - asking
    return Recording(
        passages,
        {name: value for name, value in reply.items() if name not in VOLATILE},
        tuple(_stored(client, citation) for citation in reply["citations"]),
        seconds,
    )


def score(sample: Sample, recording: Recording, options: Options) -> dict[str, float]:
    """All scores of one question that apply, by name."""
    scores = retrieval.score(sample, recording, options.k)
    for module in (kilt, abstention, answers, citations, grounding):
        scores |= module.score(sample, recording)
    return scores


def figures(options: Options) -> list[Figure]:
    """What is scored question by question, in the order of reports: what is won cheaply stands beside what tells."""
    found = retrieval.figures(options.k)
    if options.search_only:
        return found
    return [
        kilt.FIGURE_OF_RIGHT,
        *found,
        *abstention.FIGURES,
        *citations.FIGURES,
        *answers.FIGURES,
        *kilt.FIGURES,
        *grounding.FIGURES,
    ]


def measure(run: Run) -> list[Metric]:
    """The figures of a run, in the order of the report; questions with errors are left out of all of them."""
    metrics = [_summary(figure, run) for figure in figures(run.options)]
    clear = [(result.sample, result.recording) for result in run.done if result.sample.clear]
    confidences = [
        (sample.answerable, recording.confidence)
        for sample, recording in clear
        if recording is not None and recording.confidence is not None
    ]
    if run.options.search_only:
        return [*metrics, abstention.separation("AUROC of the top score", confidences)]
    declined = [
        (sample.answerable, abstention.is_declined(recording.outcome or ""))
        for sample, recording in clear
        if recording is not None
    ]
    answered = sum(not said_no for _, said_no in declined)
    return [
        *metrics,
        abstention.precision(declined),
        abstention.separation("AUROC of the confidence", confidences),
        Metric("AURC", abstention.aurc(risk_coverage(run)), answered),
    ]


def risk_coverage(run: Run) -> list[tuple[float, float]]:
    """The risk-coverage curve of a run's clear questions; empty after searches alone."""
    clear = [result for result in run.done if result.sample.clear and kilt.RIGHT in result.scores]
    answered = [
        (result.recording.confidence, result.scores[kilt.RIGHT] == 1)
        for result in clear
        if result.recording is not None
        and result.recording.confidence is not None
        and not abstention.is_declined(result.recording.outcome or "")
    ]
    return abstention.risk_coverage(answered, len(clear))


def cluster_of(sample: Sample) -> tuple[str, str]:
    """The document that a question is about, and the place in it; the question itself when it is about none."""
    if sample.gold:
        place = sample.gold[0]
        return place.file, place.text or str(place.page or "")
    return (sample.about, sample.id) if sample.about else (sample.id, "")


def is_timeout(error: BaseException | None) -> bool:
    """Whether the error, or one that led to it, is a time-out, by its own or another library's class."""
    while error is not None:
        if isinstance(error, TimeoutError) or "Timeout" in type(error).__name__:
            return True
        error = error.__cause__ or error.__context__
    return False


def _summary(figure: Figure, run: Run) -> Metric:
    scored = [
        (result.scores[figure.name], cluster_of(result.sample)) for result in run.done if figure.name in result.scores
    ]
    values = [value for value, _ in scored]
    if figure.yes_no:
        return rate(figure.name, [value == 1 for value in values])
    return mean(figure.name, values, cluster_labels([cluster for _, cluster in scored]), run.options.seed)


def _each(examine: Callable[[Sample], Result], samples: Sequence[Sample], workers: int) -> Iterator[Result]:
    """The results in the order of the samples, `workers` at a time; an interruption drops what has not begun."""
    if workers == 1:
        yield from map(examine, samples)
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="eval") as pool:
        try:
            yield from pool.map(examine, samples)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _stored(client: Client, citation: Mapping[str, Any]) -> str | None:
    start, end = citation.get("start"), citation.get("end")
    # Negative offsets would count from the end of the text.
    if not isinstance(start, int) or not isinstance(end, int) or not 0 <= start < end:
        return None
    return client.source_text(citation["source"], start, end)


def _passage(row: Mapping[str, Any]) -> Passage:
    return Passage(row["source"], row["text"], float(row["score"]), row["page"], tuple(row["heading"] or ()))
