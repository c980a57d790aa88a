"""A Run as a table for the terminal and as JSON for later comparison.

The JSON is byte-identical for identical inputs, except for its last part, `measured`: durations, machine and time,
which differ by nature. Figures are rounded to six decimals.
"""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from statistics import quantiles
from typing import Any

from evals.comparison import Difference
from evals.metrics import Metric
from evals.runner import Result, Run, measure

FORMAT = 1


def as_table(run: Run) -> str:
    """The figures with their intervals, then what went wrong, then how long it took."""
    results = f"{len(run.results)} questions ({sum(r.sample.answerable for r in run.results)} answerable)"
    lines = [f"{run.dataset.name}: {results} over {len(run.dataset.names)} files, digest {run.dataset.digest[:12]}"]
    if models := _distinct(run, "model"):
        lines.append(f"model {', '.join(models)}; prompt {', '.join(_distinct(run, 'prompt'))}")
    lines += ["", f"{'metric':<24}{'value':>8}   {'95 % interval':<16}{'n':>6}"]
    lines += [_row(metric) for metric in measure(run)]
    lines += ["", f"{'errors':<24}{len(run.errors):>8}   not counted above"]
    lines += [f"  {result.sample.id}: {result.error}" for result in run.errors[:5]]
    if len(run.errors) > 5:
        lines.append(f"  and {len(run.errors) - 5} more")
    for name, figures in _latencies(run).items():
        lines.append(
            f"{name:<24}{figures['p50_ms']:>8.1f}   ms p50, {figures['p95_ms']:.1f} p95, {figures['max_ms']:.1f} max"
        )
    return "\n".join(lines)


def as_json(run: Run, measured_at: str | None = None) -> str:
    """The whole run. `measured_at` (ISO 8601) is the time of the run, if it is to be told."""
    document = {
        "format": FORMAT,
        "dataset": {
            "name": run.dataset.name,
            "digest": run.dataset.digest,
            "files": len(run.dataset.names),
            "questions": len(run.dataset.samples),
        },
        "settings": {
            "limit": run.limit,
            "seed": run.seed,
            "k": run.k,
            "search_only": run.search_only,
            "models": _distinct(run, "model"),
            "prompts": _distinct(run, "prompt"),
        },
        "metrics": {metric.name: _metric(metric) for metric in measure(run)},
        "errors": len(run.errors),
        "questions": [_question(result) for result in run.results],
        "measured": {
            "at": measured_at,
            "latency": _latencies(run),
            "machine": {
                "system": platform.system(),
                "processor": platform.machine(),
                "cores": os.cpu_count(),
                "python": platform.python_version(),
            },
        },
    }
    return json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def as_comparison(names: Sequence[str], compared: Sequence[Sequence[Difference]]) -> str:
    """A table for each run beside the first."""
    lines: list[str] = []
    for name, differences in zip(names[1:], compared, strict=True):
        lines += [f"{name} against {names[0]}", ""]
        lines.append(
            f"{'metric':<22}{'first':>7}{'other':>7}{'diff.':>8}   {'95 % interval':<18}{'p':>6}{'lost':>6}{'won':>5}"
            f"{'shows':>7}  verdict"
        )
        for found in differences:
            interval = f"{found.low:+.3f} to {found.high:+.3f}"
            smallest = "-" if found.smallest is None else f"{found.smallest:.3f}"
            lines.append(
                f"{found.name:<22}{found.first:>7.3f}{found.other:>7.3f}{found.difference:>+8.3f}   {interval:<18}"
                f"{found.p:>6.3f}{found.lost:>6}{found.won:>5}{smallest:>7}  {found.verdict}"
            )
        lines.append("")
    lines.append("lost, won: questions on which only the first, only the other run scored higher.")
    lines.append("shows: the smallest difference that this set would show four times in five.")
    return "\n".join(lines)


def as_changes(pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]], most: int) -> str:
    """The questions that were answered differently, with both answers; `most` of them."""
    lines = [f"{len(pairs)} questions were answered differently" + (":" if pairs and most else ".")]
    for first, other in pairs[:most]:
        lines += ["", f"{first['id']}: {first['question']}"]
        lines += [f"  {run['outcome']}: {' '.join((run['answer'] or '').split())}" for run in (first, other)]
    if most and len(pairs) > most:
        lines += ["", f"and {len(pairs) - most} more (--changes)"]
    return "\n".join(lines)


def _row(metric: Metric) -> str:
    value = "-" if metric.value is None else f"{metric.value:.3f}"
    interval = "" if metric.low is None or metric.high is None else f"{metric.low:.3f} to {metric.high:.3f}"
    return f"{metric.name:<24}{value:>8}   {interval:<16}{metric.n:>6}"


def _metric(metric: Metric) -> dict[str, Any]:
    return {"value": _rounded(metric.value), "low": _rounded(metric.low), "high": _rounded(metric.high), "n": metric.n}


def _question(result: Result) -> dict[str, Any]:
    """One question; ids of conversations and messages are left out, because they are new in every run."""
    sample = result.sample
    return {
        "id": sample.id,
        "question": sample.question,
        "answerable": sample.answerable,
        "gold": sorted({place.file for place in sample.gold}),
        "kind": sample.kind,
        "tags": list(sample.tags),
        "error": result.error,
        "rank": result.rank,
        "outcome": result.outcome,
        "answer": result.answer,
        "contains": result.contains,
        "f1": _rounded(result.f1),
        "citations": [
            {**{key: _plain(citation[key]) for key in sorted(citation)}, "valid": valid}
            for citation, valid in zip(result.citations, result.valid, strict=True)
        ],
        "passages": [
            {
                "source": passage.source,
                "page": passage.page,
                "heading": list(passage.heading),
                "score": _rounded(passage.score),
                "text": passage.text,
            }
            for passage in result.passages
        ],
    }


def _latencies(run: Run) -> dict[str, dict[str, float]]:
    return {name: _spread(seconds) for name, seconds in run.seconds.items() if seconds}


def _spread(seconds: Sequence[float]) -> dict[str, float]:
    """Median, 95th percentile (linear between observations) and maximum, in milliseconds."""
    cuts = quantiles(seconds, n=100, method="inclusive") if len(seconds) > 1 else [seconds[0]] * 99
    return {
        "p50_ms": round(cuts[49] * 1000, 3),
        "p95_ms": round(cuts[94] * 1000, 3),
        "max_ms": round(max(seconds) * 1000, 3),
    }


def _distinct(run: Run, name: str) -> list[str]:
    return sorted({value for result in run.results if (value := getattr(result, name)) is not None})


def _plain(value: Any) -> Any:
    return _rounded(value) if isinstance(value, float) else value


def _rounded(value: float | None) -> float | None:
    """Six decimals; JSON has no infinities, so they become null."""
    return round(value, 6) if value is not None and math.isfinite(value) else None
