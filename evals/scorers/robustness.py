"""What the conditions of evals/conditions.py do to the figures.

Under each condition the differences from the plain run, over the same questions, as evals/comparison.py has them; all
differences of one condition are corrected together.

Counterfactual: a product that answers from its documents says what they say now ("follows the documents": the new
answer stands in its answer), and never what they said before ("answers from memory": an old answer does, which can only
come from a model's memory, or from an index that is not up to date).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from evals.comparison import difference, judged
from evals.metrics import Metric, rate
from evals.runner import Run
from evals.scorers.answers import contains

FIGURES = (
    "right answers",
    "recall@5",
    "MRR@10",
    "right abstentions",
    "false refusals",
    "answer contains gold",
    "citation precision",
)


def differences(plain: Mapping[str, Any], here: Mapping[str, Any], seed: int) -> list[dict[str, Any]]:
    """Of a condition's document from the plain run's, over the condition's questions."""
    ids = {question["id"] for question in here["questions"]}
    same = {**plain, "questions": [question for question in plain["questions"] if question["id"] in ids]}
    found = [difference(name, same, here, seed) for name in FIGURES if name in here["metrics"]]
    return [
        {**asdict(one), "first": one.first.value, "other": one.other.value}
        for one in judged([one for one in found if one is not None])
    ]


def follows(run: Run, original: Mapping[str, Sequence[str]]) -> list[Metric]:
    """Of a run over altered documents; original: the answers that were replaced, by sample."""
    said = [(result.sample, result.recording.answer) for result in run.done if result.recording is not None]
    return [
        rate("follows the documents", [contains(answer, sample.answers) for sample, answer in said]),
        rate("answers from memory", [contains(answer, original[sample.id]) for sample, answer in said]),
    ]
