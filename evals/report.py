"""Runs and comparisons as tables for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evals.comparison import Difference, Verdict

SHOWN_ERRORS = 5


def as_table(run: Mapping[str, Any]) -> str:
    """The figures of a run with their intervals, then what went wrong, then how long it took and what it cost."""
    questions, dataset = run["questions"], run["dataset"]
    answerable = sum(question["answerable"] for question in questions)
    lines = [
        f"{dataset['name']}: {len(questions)} questions ({answerable} answerable) over {len(dataset['files'])} files, "
        f"digest {dataset['digest'][:12]}"
    ]
    if models := run["settings"]["models"]:
        lines.append(f"model {', '.join(models)}; prompt {', '.join(run['settings']['prompts'])}")
    lines += ["", f"{'metric':<32}{'value':>8}   {'95 % interval':<16}{'n':>6}"]
    lines += [_row(name, metric) for name, metric in run["metrics"].items()]
    if note := validity_note(run):
        lines += ["", note]
    lines += ["", f"{'errors, time-outs':<32}{run['errors']:>5}, {run['timeouts']}   not counted above"]
    failed = [question for question in questions if question["error"]]
    lines += [f"  {question['id']}: {question['error']}" for question in failed[:SHOWN_ERRORS]]
    if len(failed) > SHOWN_ERRORS:
        lines.append(f"  and {len(failed) - SHOWN_ERRORS} more")
    for name, spread in run["measured"]["latency"].items():
        lines.append(
            f"{name:<32}{spread['p50_ms']:>8.1f}   ms p50, {spread['p95_ms']:.1f} p95, {spread['p99_ms']:.1f} p99, "
            f"{spread['max_ms']:.1f} max"
        )
    used = run["usage"]
    if used["input_tokens"] or used["output_tokens"]:
        price = f", cost {used['cost']:.4f}" if not used["answers_without_price"] else ", price not known"
        lines.append(f"{'tokens':<32}{used['input_tokens']:>8} in, {used['output_tokens']} out{price}")
    if run["measured"]["reused"]:
        lines.append(
            f"{run['measured']['reused']} of {len(questions)} answers were known from before, with their durations "
            "(--no-cache asks again)"
        )
    return "\n".join(lines)


def validity_note(run: Mapping[str, Any]) -> str:
    """What perfect validity is worth where answers are made of quotes."""
    metrics = run["metrics"]
    if run["settings"]["models"] != ["extractive"] or "citation validity" not in metrics:
        return ""
    beside = [
        f"{name} {metrics[name]['value']:.2f}"
        for name in ("recall@5", "false refusals", "right abstentions")
        if name in metrics and metrics[name]["value"] is not None
    ]
    return (
        "Extractive answers are cut from the documents, so their quotes are valid: read that beside "
        f"{', '.join(beside)}."
    )


def as_comparison(names: Sequence[str], compared: Sequence[Sequence[Difference]], verdicts: Sequence[Verdict]) -> str:
    """A table for each run beside the first, and the verdict on it."""
    lines: list[str] = []
    for name, differences, verdict in zip(names[1:], compared, verdicts, strict=True):
        lines += [f"{name} against {names[0]}: {verdict.word} ({verdict.reason})", ""]
        if verdict.left_out:
            lines += [f"{verdict.left_out} questions are left out, because one of the runs had an error there.", ""]
        lines.append(
            f"{'metric':<22}{'first':>7}{'other':>7}{'diff.':>8}   {'95 % interval':<18}{'p':>6}{'lost':>6}{'won':>5}"
            f"{'shows':>7}  verdict"
        )
        for found in differences:
            interval = f"{found.low:+.3f} to {found.high:+.3f}"
            smallest = "-" if found.smallest is None else f"{found.smallest:.3f}"
            lines.append(
                f"{found.name:<22}{found.first.value:>7.3f}{found.other.value:>7.3f}{found.difference:>+8.3f}   "
                f"{interval:<18}{found.p:>6.3f}{found.lost:>6}{found.won:>5}{smallest:>7}  {found.verdict}"
            )
        lines.append("")
        rates = [found for found in differences if found.yes_no]
        if rates:
            lines.append("Wilson intervals of the rates (95 %), first and other:")
            lines += [f"  {found.name:<22}{_interval(found.first)}   {_interval(found.other)}" for found in rates]
            lines.append("")
    lines.append("lost, won: questions on which only the first, only the other run scored higher.")
    lines.append("shows: the smallest difference that this set would show four times in five.")
    lines.append("p: corrected by Holm; the first line's for the runs compared, the others' for runs and figures.")
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


def as_robustness(conditions: Mapping[str, Any]) -> str:
    """What changes under each condition, beside the plain run."""
    lines = ["robustness, beside the plain run over the same questions:", ""]
    lines.append(f"{'condition':<16}{'metric':<22}{'n':>5}{'plain':>7}{'here':>7}   {'95 % interval':<18}  verdict")
    for name, condition in conditions.items():
        if condition.get("skipped"):
            lines.append(f"{name:<16}{condition['skipped']}")
            continue
        for found in condition["differences"]:
            interval = f"{found['low']:+.3f} to {found['high']:+.3f}"
            lines.append(
                f"{name:<16}{found['name']:<22}{found['n']:>5}{found['first']:>7.3f}{found['other']:>7.3f}   "
                f"{interval:<18}  {found['verdict']}"
            )
        lines += [
            f"{name:<16}{metric:<22}{value['n']:>5}{'':>7}{value['value']:>7.3f}   "
            f"{value['low']:.3f} to {value['high']:.3f}"
            for metric, value in condition["metrics"].items()
        ]
    return "\n".join(lines)


def as_judged(judged: Mapping[str, Any]) -> str:
    """What a chat model judged, and how far the judge can be believed."""
    lines = [f"judged by {judged['judge']} ({judged['errors']} verdicts were not given):"]
    return "\n".join(lines + [_row(name, metric) for name, metric in judged["metrics"].items()])


def _row(name: str, metric: Mapping[str, Any]) -> str:
    value = "-" if metric["value"] is None else f"{metric['value']:.3f}"
    low, high = metric["low"], metric["high"]
    interval = "" if low is None or high is None else f"{low:.3f} to {high:.3f}"
    return f"{name:<32}{value:>8}   {interval:<16}{metric['n']:>6}"


def _interval(metric: Any) -> str:
    return f"{metric.value:.3f} ({metric.low:.3f} to {metric.high:.3f})"
