"""Runs over a small client: what is asked, what is counted, and what is written twice the same."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest

from evals.__main__ import main
from evals.metrics import Metric, rate
from evals.report import as_json, as_table
from evals.runner import Client, Run, measure, run
from evals.samples import ROOT, Dataset, Gold, Sample, Turn
from tests.evals.word_client import WordClient

TEXTS = {"cats.md": "cats sleep twelve hours", "dogs.md": "dogs bark at night"}
SAMPLES = (
    Sample("cats", "how long do cats sleep", ("twelve hours",), (Gold("cats.md"),)),
    Sample("dogs", "when is it loud", ("night",), (Gold("dogs.md"),)),
    Sample("again", "and", ("twelve hours",), (Gold("cats.md"),), (Turn("user", "how do cats sleep"),)),
    Sample("moon", "why is the moon round"),
    Sample("bird", "do birds bark"),
    Sample("broken", "explode", ("cats",), (Gold("cats.md"),)),
)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return Dataset("animals", tmp_path, tuple(TEXTS), SAMPLES, "d1935e57")


def run_with(
    dataset: Dataset, client: Client | None = None, step: float = 0.25, k: int = 10, search_only: bool = False
) -> Run:
    ticks = itertools.count(0.0, step)
    client = client or WordClient(TEXTS)
    return run(dataset, client, k=k, search_only=search_only, clock=lambda: next(ticks))


def test_every_figure_of_a_run_by_hand(dataset: Dataset) -> None:
    metrics = {metric.name: metric for metric in measure(run_with(dataset))}
    assert metrics == {
        "recall@1": rate("recall@1", [True, False, True]),
        "recall@5": rate("recall@5", [True, False, True]),
        "recall@10": rate("recall@10", [True, False, True]),
        "MRR@10": Metric("MRR@10", 2 / 3, 3),
        # Top scores: cats 2, dogs nothing, again 2; moon nothing, bird 1. Pairs won: 2 + 0.5 + 0 + 2 of 6.
        "AUROC of the top score": Metric("AUROC of the top score", 4.5 / 6, 5),
        "right abstentions": rate("right abstentions", [True, False]),
        "false refusals": rate("false refusals", [False, True, False]),
        "answer contains gold": rate("answer contains gold", [True, False, True]),
        "token F1": Metric("token F1", (4 / 6 + 0 + 4 / 6) / 3, 3),
        "citation validity": rate("citation validity", [True, True, True]),
    }


def test_an_exception_is_an_error_of_its_question_and_no_wrong_answer(dataset: Dataset) -> None:
    measured = run_with(dataset)
    assert [(result.sample.id, result.error) for result in measured.errors] == [
        ("broken", "ConnectionError: the model is down")
    ]
    assert len(measured.seconds["ask"]) == len(measured.seconds["search"]) == 5


def test_search_only_asks_no_question(dataset: Dataset) -> None:
    measured = run_with(dataset, search_only=True)
    assert measured.errors == ()
    assert measured.seconds["ask"] == []
    assert [metric.name for metric in measure(measured)] == [
        "recall@1",
        "recall@5",
        "recall@10",
        "MRR@10",
        "AUROC of the top score",
    ]


def test_recall_beyond_k_is_not_claimed(dataset: Dataset) -> None:
    names = [metric.name for metric in measure(run_with(dataset, k=5, search_only=True))]
    assert names == ["recall@1", "recall@5", "MRR@5", "AUROC of the top score"]


def test_a_misplaced_quote_is_counted(dataset: Dataset) -> None:
    class Misplaced(WordClient):
        def source_text(self, source: str) -> str | None:
            return " " + self.texts[source]

    metrics = {metric.name: metric.value for metric in measure(run_with(dataset, Misplaced(TEXTS)))}
    assert metrics["citation validity"] == 0


def test_the_report_is_byte_identical_but_for_what_was_measured(dataset: Dataset) -> None:
    quick, slow = as_json(run_with(dataset), "2026-01-01"), as_json(run_with(dataset, step=2), "2026-01-02")
    assert as_json(run_with(dataset), "2026-01-01") == quick
    assert quick != slow
    scores, timings = (text.split('\n "measured"') for text in (quick, slow))
    assert scores[0] == timings[0]


def test_the_report_is_strict_json_with_every_question(dataset: Dataset) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    document = json.loads(as_json(run_with(dataset)), parse_constant=refuse)
    assert [row["id"] for row in document["questions"]] == [sample.id for sample in SAMPLES]
    assert list(document)[-1] == "measured"
    assert document["errors"] == 1
    assert document["settings"]["models"] == ["words"]
    assert document["questions"][0]["citations"][0]["score"] == 0.333333
    assert document["measured"]["latency"]["ask"] == {"p50_ms": 250.0, "p95_ms": 250.0, "max_ms": 250.0}


def test_the_table_shows_figures_errors_and_times(dataset: Dataset) -> None:
    lines = [" ".join(line.split()) for line in as_table(run_with(dataset)).splitlines()]
    assert lines[0] == "animals: 6 questions (4 answerable) over 2 files, digest d1935e57"
    assert lines[1] == "model words; prompt default@1"
    assert "recall@5 0.667 0.208 to 0.939 3" in lines
    assert "errors 1 not counted above" in lines
    assert "broken: ConnectionError: the model is down" in lines
    assert lines[-1] == "ask 250.0 ms p50, 250.0 p95, 250.0 max"


def test_a_run_without_answerable_questions_has_no_recall(dataset: Dataset) -> None:
    only_moon = Dataset("moon", dataset.folder, dataset.names, SAMPLES[3:4], "0")
    assert "recall@5 - 0" in " ".join(as_table(run_with(only_moon)).split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "no/such/folder"], "There is no data set at no/such/folder"),
        (["run", "sample", "--output", "no/such/folder/run.json"], "There is no folder no/such/folder"),
    ],
)
def test_what_cannot_be_run_is_refused_in_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(message)
    assert err.count("\n") == 1


def test_a_wrong_path_costs_no_django() -> None:
    code = (
        "import sys; from evals.__main__ import main; main(['run', 'nowhere']); "
        "sys.exit(any(name.partition('.')[0] in ('django', 'langchain_core', 'chromadb') for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
