"""A run as JUnit XML, which CI servers show: a test case per question.

A question fails when it was not answered right (kilt.py), or, after searches alone, when nothing right was among the
passages found. Questions without such a verdict are skipped; errors and time-outs are errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evals.scorers.kilt import RIGHT

# XML 1.0 has no way to write these.
_UNWRITABLE = dict.fromkeys((*range(9), 11, 12, *range(14, 32), 65534, 65535), " ")


def write(run: Mapping[str, Any], path: Path) -> None:
    from junitparser import JUnitXml, TestSuite

    suite = TestSuite(f"footnote evals: {run['dataset']['name']}")
    for name, metric in run["metrics"].items():
        if metric["value"] is not None:
            suite.add_property(name, str(metric["value"]))
    suite.add_testcases([_case(question, run) for question in run["questions"]])
    report = JUnitXml()
    report.add_testsuite(suite)
    report.write(str(path), pretty=True)


def _case(question: Mapping[str, Any], run: Mapping[str, Any]) -> Any:
    from junitparser import Error, Failure, Skipped, TestCase

    spent = run["measured"].get("milliseconds", {}).get(question["id"], {})
    seconds = sum(spent.get(name, 0.0) for name in ("search", "ask")) / 1000
    case = TestCase(_plain(question["question"]), f"{run['dataset']['name']}.{_plain(question['id'])}", seconds)
    search_only = run["settings"]["search_only"]
    right = question["scores"].get(RIGHT)
    if question["error"]:
        case.result = [Error(_plain(question["error"]), "timeout" if question["timed_out"] else "error")]
    elif search_only and question["answerable"]:
        if question["rank"] is None:
            case.result = [Failure("no right passage was found", "not found")]
    elif right is None:
        case.result = [Skipped("neither answerable nor unanswerable" if not search_only else "unanswerable")]
    elif right == 0:
        wanted = " / ".join(question["references"]) if question["answerable"] else "an abstention"
        case.result = [Failure(_plain(f"{question['outcome']}: {question['answer']}\nwanted: {wanted}"), "not right")]
    return case


def _plain(text: str) -> str:
    return text.translate(_UNWRITABLE)
