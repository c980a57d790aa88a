"""A gate: the reasons why a run may not pass.

A rule is a bound on a figure ("recall@5<0.8" fails below 0.8), on the counts `errors` and `timeouts`, or on a stage's
percentile ("ask p95_ms>500"); or it is the word `worse`: any figure that evals/comparison.py finds worse than the
baseline's. A figure that the run does not have fails too: a gate that measures nothing is no gate.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping, Sequence
from typing import Any

from evals.comparison import WORSE, compare

Run = Mapping[str, Any]

_RULE = re.compile(r"^\s*(?P<name>.+?)\s*(?P<sign><=|>=|<|>)\s*(?P<bound>-?\d+(?:\.\d+)?)\s*$")
_SIGNS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


class BadRule(Exception):
    """The rule cannot be read, or needs what is not given; the message says which."""


def reasons(run: Run, rules: Sequence[str], baseline: Run | None, seed: int = 0) -> list[str]:
    """Why the run may not pass; empty when it may. BadRule; NotComparable when the baseline is over something else."""
    found: list[str] = []
    for rule in rules:
        if rule.strip().lower() == "worse":
            if baseline is None:
                raise BadRule("`worse` needs a --baseline to compare with.")
            differences, _ = compare([baseline, run], seed)
            found += [
                f"{one.name} is worse: {one.first.value:.3f} before, {one.other.value:.3f} now, difference "
                f"{one.low:+.3f} to {one.high:+.3f}, p {one.p:.3f}"
                for one in differences[0]
                if one.verdict == WORSE
            ]
        else:
            found += _beyond(run, rule)
    return found


def _beyond(run: Run, rule: str) -> list[str]:
    parsed = _RULE.match(rule)
    if parsed is None:
        raise BadRule(f"{rule!r} is neither a bound such as 'recall@5<0.8' nor the word worse.")
    name, sign, bound = parsed["name"], parsed["sign"], float(parsed["bound"])
    values = _values(run)
    if name not in values:
        raise BadRule(f"There is no figure {name!r}; there are: {', '.join(sorted(values))}.")
    value = values[name]
    if value is None:
        return [f"{name} was not measured: no question has it"]
    return [f"{name} is {value:.3f}, and {rule.strip()} fails"] if _SIGNS[sign](value, bound) else []


def _values(run: Run) -> dict[str, float | None]:
    stages = {
        f"{stage} {percentile}": value
        for stage, spread in run["measured"]["latency"].items()
        for percentile, value in spread.items()
    }
    return {
        **{name: metric["value"] for name, metric in run["metrics"].items()},
        "errors": run["errors"],
        "timeouts": run["timeouts"],
        **stages,
    }
