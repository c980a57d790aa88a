"""A Run as a document: plain values, ready for JSON. Tables, pages, comparisons and gates are made from it alone.

Everything but its last part, `measured`, depends on the inputs alone and is byte-identical when they are: durations,
machine, commit and time differ by nature. Figures are rounded to six decimals.
"""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from evals.figures import Figure
from evals.metrics import Metric
from evals.recordings import Recording, processor
from evals.runner import Result, Run, cluster_of, figures, measure, risk_coverage
from evals.samples import ROOT
from evals.scorers import citations, latency, retrieval, usage

FORMAT = 2
LESS_IS_BETTER = ("AURC",)  # of the figures that only a whole run has

Document = dict[str, Any]


class NotARun(Exception):
    """The file is not what `evals run --output` writes; the message names it."""


def as_document(
    run: Run,
    settings: Mapping[str, Any] | None = None,
    measured: Mapping[str, Any] | None = None,
    **parts: Any,
) -> Document:
    """The whole run. settings: of the product. measured: further facts that differ between equal runs. parts: further
    parts of the document by name, None for none.
    """
    by_name = {figure.name: figure for figure in figures(run.options)}
    recordings = [result.recording for result in run.done if result.recording is not None]
    return {
        "format": FORMAT,
        "dataset": {
            "name": run.dataset.name,
            "digest": run.dataset.digest,
            "questions": len(run.dataset.samples),
            "files": dict(run.dataset.files),
        },
        "settings": {
            "limit": run.options.limit,
            "seed": run.options.seed,
            "k": run.options.k,
            "search_only": run.options.search_only,
            "models": _distinct(recordings, "model"),
            "prompts": _distinct(recordings, "prompt"),
            "product": dict(settings or {}),
        },
        "metrics": {metric.name: _metric(metric, by_name.get(metric.name)) for metric in measure(run)},
        "errors": sum(not result.timed_out for result in run.errors),
        "timeouts": sum(result.timed_out for result in run.errors),
        "usage": usage.totals(recordings),
        "risk_coverage": [[rounded(coverage), rounded(risk)] for coverage, risk in risk_coverage(run)],
        **{name: part for name, part in parts.items() if part is not None},
        "questions": [describe(result) for result in run.results],
        "measured": {
            "reused": run.reused,
            "workers": run.options.workers,
            "commit": commit(),
            "machine": {
                "system": platform.system(),
                "processor": processor(),
                "cores": os.cpu_count(),
                "python": platform.python_version(),
            },
            **(measured or {}),
            "latency": latency.latencies(recordings),
            "milliseconds": {
                result.sample.id: {name: rounded(value) for name, value in latency.stages(result.recording).items()}
                for result in run.done
                if result.recording is not None
            },
        },
    }


def describe(result: Result) -> Document:
    """One question; ids of conversations and messages are left out, because they are new in every run."""
    sample, recording = result.sample, result.recording or Recording(())
    document, _ = cluster_of(sample)
    return {
        "id": sample.id,
        "question": sample.question,
        "history": [[turn.role, turn.content] for turn in sample.history],
        "answerable": sample.answerable,
        "references": list(sample.answers),
        "gold": [{"file": place.file, "page": place.page, "text": place.text} for place in sample.gold],
        "about": document,
        "kind": sample.kind,
        "tags": list(sample.tags),
        "error": result.error,
        "timed_out": result.timed_out,
        "rank": retrieval.first_right(sample.gold, recording.passages),
        "confidence": rounded(recording.confidence) if result.recording else None,
        "outcome": recording.outcome,
        "answer": recording.answer if recording.reply else None,
        "scores": {name: rounded(value) for name, value in result.scores.items()},
        "citations": [
            {
                **{key: plain(citation[key]) for key in sorted(citation)},
                "valid": citations.is_valid(citation, stored),
                "right": citations.is_right(sample.gold, citation),
            }
            for citation, stored in zip(recording.citations, recording.stored, strict=True)
        ],
        "passages": [
            {
                "source": passage.source,
                "page": passage.page,
                "heading": list(passage.heading),
                "score": rounded(passage.score),
                "right": retrieval.is_right_for_any(sample.gold, passage),
                "text": passage.text,
            }
            for passage in recording.passages
        ],
    }


def write(document: Document, path: Path) -> None:
    path.write_text(as_json(document), encoding="utf-8")


def as_json(document: Document) -> str:
    return json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def read(path: Path) -> Document:
    """The document in a file; NotARun when there is none."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise NotARun(f"{path} cannot be read: {error.strerror}.") from None
    except ValueError:
        raise NotARun(f"{path} is not a run that `evals run --output` wrote: it is not JSON.") from None
    if not isinstance(document, dict) or not {"format", "dataset", "settings", "questions"} <= document.keys():
        raise NotARun(f"{path} is not a run that `evals run --output` wrote.")
    if document["format"] != FORMAT:
        raise NotARun(
            f"{path} is of format {document['format']}, and this Footnote reads format {FORMAT}: run it again."
        )
    return document


def brief(document: Document) -> Document:
    """The document without the passages' texts and the questions' durations: small enough to be kept as a baseline."""
    measured = {name: value for name, value in document["measured"].items() if name != "milliseconds"}
    questions = [{**question, "passages": []} for question in document["questions"]]
    return {**document, "questions": questions, "measured": measured}


@cache
def commit() -> str | None:
    """The commit of this code, with a plus sign when files differ from it; None outside a repository."""
    try:
        head, changes = (
            subprocess.run(  # noqa: S603 (fixed arguments)
                ["git", "-C", str(ROOT), *arguments],  # noqa: S607
                capture_output=True,
                text=True,
                check=True,
                timeout=30,
            ).stdout
            for arguments in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return head.strip() + ("+" if changes.strip() else "")


def rounded(value: float | None) -> float | None:
    """Six decimals; JSON has no infinities, so they become null."""
    return round(value, 6) if value is not None and math.isfinite(value) else None


def _metric(metric: Metric, figure: Figure | None) -> Document:
    return {
        "value": rounded(metric.value),
        "low": rounded(metric.low),
        "high": rounded(metric.high),
        "n": metric.n,
        "more_is_better": figure.more_is_better if figure else metric.name not in LESS_IS_BETTER,
        "per_question": figure is not None,
        "yes_no": figure.yes_no if figure else False,
    }


def _distinct(recordings: Iterable[Recording], name: str) -> list[str]:
    return sorted({recording.reply[name] for recording in recordings if recording.reply})


def plain(value: Any) -> Any:
    """The value, rounded where it is a number with decimals."""
    return rounded(value) if isinstance(value, float) else value
