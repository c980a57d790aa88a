"""What a chat model judges: faithfulness and relevance. Off unless a judge is named; the judge is never the product.

Both through openevals (LangChain), with its prompts and a boolean verdict. Faithfulness: the answer is supported by the
passages it was made from (RAG_GROUNDEDNESS_PROMPT; Es et al. 2023, arXiv 2309.15217, count supported claims instead).
Relevance: the answer addresses the question (RAG_HELPFULNESS_PROMPT). Declined answers are not judged.

A judge is measured too, before its figures are believed. Agreement with what is known: for up to CONTROLS answerable
questions a reference answer is shown with its own gold text (known: faithful) and with the gold text of another
question from another file (known: not faithful); reported are the share of right verdicts and Cohen's kappa (Cohen
1960).
Agreement with itself: up to CONTROLS answers are judged twice; the share of equal verdicts.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from evals.metrics import Metric, rate
from evals.samples import Sample

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from evals.runner import Run

CONTROLS = 25
Judge = Callable[[str, str, str], bool]  # (question, answer, context) -> verdict; raises when the model fails
Progress = Callable[[Iterable[Any], int], Iterable[Any]]


def load_judges(llm: BaseChatModel) -> tuple[Judge, Judge]:
    """The judges of faithfulness and of relevance."""
    from openevals.llm import create_llm_as_judge
    from openevals.prompts import RAG_GROUNDEDNESS_PROMPT, RAG_HELPFULNESS_PROMPT

    faithful = create_llm_as_judge(prompt=RAG_GROUNDEDNESS_PROMPT, judge=llm, feedback_key="faithfulness")
    relevant = create_llm_as_judge(prompt=RAG_HELPFULNESS_PROMPT, judge=llm, feedback_key="relevance")

    def judge_faithfulness(question: str, answer: str, context: str) -> bool:
        return bool(faithful(context={"documents": context}, outputs={"answer": answer})["score"])  # type: ignore[call-overload]

    def judge_relevance(question: str, answer: str, context: str) -> bool:
        return bool(relevant(inputs={"question": question}, outputs={"answer": answer})["score"])  # type: ignore[call-overload]

    return judge_faithfulness, judge_relevance


def judge(
    run: Run,
    name: str,
    judges: tuple[Judge, Judge],
    workers: int = 1,
    progress: Progress = lambda tasks, _: tasks,
) -> dict[str, Any]:
    """The judged part of a document. A verdict that the model did not give is counted as an error, not as a no."""
    faithful, relevant = judges
    answered = [
        (result.sample, result.recording.answer, "\n\n".join(passage.text for passage in result.recording.passages))
        for result in run.done
        if result.recording is not None and result.recording.outcome not in (None, "abstained")
    ]
    controls = _controls([result.sample for result in run.results], run.options.seed)
    again = answered[:CONTROLS]
    tasks: list[tuple[Judge, str, str, str]] = [
        *((faithful, sample.question, answer, context) for sample, answer, context in answered),
        *((relevant, sample.question, answer, context) for sample, answer, context in answered),
        *((faithful, sample.question, answer, context) for sample, answer, context in again),
        *((faithful, question, answer, context) for question, answer, context, _ in controls),
    ]
    with ThreadPoolExecutor(workers, thread_name_prefix="judge") as pool:
        verdicts = list(progress(pool.map(_verdict, tasks), len(tasks)))
    parts = _cut(verdicts, [len(answered), len(answered), len(again), len(controls)])
    faithfulness, relevance, repeated, controlled = parts
    known = [truth for *_, truth in controls]
    judged = [(truth, verdict) for truth, verdict in zip(known, controlled, strict=True) if verdict is not None]
    twice = [
        first == second
        for first, second in zip(faithfulness, repeated, strict=False)
        if first is not None and second is not None
    ]
    return {
        "judge": name,
        "errors": sum(verdict is None for verdict in verdicts),
        "metrics": {
            metric.name: {"value": metric.value, "low": metric.low, "high": metric.high, "n": metric.n}
            for metric in (
                rate("faithfulness (judged)", [verdict for verdict in faithfulness if verdict is not None]),
                rate("relevance (judged)", [verdict for verdict in relevance if verdict is not None]),
                rate("judge agrees with what is known", [truth == verdict for truth, verdict in judged]),
                Metric("kappa of that", kappa(judged), len(judged)),
                rate("judge agrees with itself", twice),
            )
        },
        "questions": {
            sample.id: {"faithfulness": faithfulness[i], "relevance": relevance[i]}
            for i, (sample, _, _) in enumerate(answered)
        },
    }


def kappa(pairs: Sequence[tuple[bool, bool]]) -> float | None:
    """Cohen's kappa of two raters; None when chance alone would make them agree on everything."""
    if not pairs:
        return None
    n = len(pairs)
    agreed = sum(a == b for a, b in pairs) / n
    first, second = sum(a for a, _ in pairs) / n, sum(b for _, b in pairs) / n
    by_chance = first * second + (1 - first) * (1 - second)
    return None if by_chance == 1 else (agreed - by_chance) / (1 - by_chance)


def _controls(samples: Sequence[Sample], seed: int) -> list[tuple[str, str, str, bool]]:
    """(question, answer, context, whether it is faithful), half of each kind."""
    usable = [sample for sample in samples if sample.answers and sample.gold and sample.gold[0].text]
    draw = random.Random(seed)  # noqa: S311 (a draw, not a secret)
    controls = []
    for sample in draw.sample(usable, min(CONTROLS, len(usable))):
        others = [other for other in usable if other.gold[0].file != sample.gold[0].file]
        if others:
            for truth, context in ((True, sample), (False, draw.choice(others))):
                controls.append((sample.question, sample.answers[0], context.gold[0].text or "", truth))
    return controls


def _verdict(task: tuple[Judge, str, str, str]) -> bool | None:
    decide, question, answer, context = task
    try:
        return decide(question, answer, context)
    except Exception:  # noqa: BLE001 (whatever the judge's server did: it is counted)
        return None


def _cut(values: Sequence[bool | None], lengths: Sequence[int]) -> list[list[bool | None]]:
    parts, start = [], 0
    for length in lengths:
        parts.append(list(values[start : start + length]))
        start += length
    return parts
