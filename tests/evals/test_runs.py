"""Runs over a small client: what is asked, what is counted, and what is written twice the same."""

import itertools
import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from evals.__main__ import main
from evals.document import as_document, as_json, brief
from evals.metrics import Metric, rate
from evals.recordings import Recordings
from evals.report import as_table
from evals.runner import Client, Options, Run, measure, run
from evals.samples import ROOT, Dataset, Gold, Sample, Turn
from tests.evals.word_client import WordClient

TEXTS = {"cats.md": "Cats sleep twelve hours.", "dogs.md": "dogs bark at night"}
SAMPLES = (
    Sample("cats", "how long do cats sleep", ("twelve hours",), (Gold("cats.md"),)),
    Sample("dogs", "when is it loud", ("night",), (Gold("dogs.md"),)),
    Sample("again", "and", ("twelve hours",), (Gold("cats.md"),), (Turn("user", "how do cats sleep"),)),
    Sample("moon", "why is the moon round"),
    Sample("bird", "do birds bark"),
    Sample("vague", "do it", clear=False),
    Sample("broken", "explode", ("cats",), (Gold("cats.md"),)),
    Sample("slow", "wait", ("cats",), (Gold("cats.md"),)),
)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return Dataset("animals", tmp_path, dict.fromkeys(TEXTS, "00"), SAMPLES, "d1935e57")


def run_with(dataset: Dataset, client: Client | None = None, step: float = 0.25, **options: Any) -> Run:
    ticks = itertools.count(0.0, step)
    asked = client or WordClient(TEXTS)
    return run(dataset, lambda: asked, Options(**options), clock=lambda: next(ticks))


def test_every_figure_of_a_run_by_hand(dataset: Dataset) -> None:
    metrics = {metric.name: metric for metric in measure(run_with(dataset))}
    values = {name: metric.value and round(metric.value, 6) for name, metric in metrics.items()}
    # cats and again are found and answered, dogs is declined; moon is declined, bird is answered by what dogs do.
    assert values == {
        "right answers": 0.6,
        "recall@1": 0.666667,
        "recall@5": 0.666667,
        "recall@10": 0.666667,
        "MRR@10": 0.666667,
        "nDCG@10": 0.666667,
        "right abstentions": 0.5,
        "false refusals": 0.333333,
        "citation validity": 1.0,
        "citation precision": 1.0,
        "citation recall": 1.0,
        "citation coverage": 1.0,
        "answer contains gold": 0.666667,
        "exact match": 0.0,
        "token F1": round((4 / 6 + 0 + 4 / 6) / 3, 6),
        "KILT contains": 0.666667,
        "KILT F1": round((4 / 6 + 0 + 4 / 6) / 3, 6),
        "unsupported words": 0.0,
        "unsupported numbers": 0.0,
        "unsupported dates": 0.0,
        "unsupported names": 0.0,
        "abstention precision": 0.5,
        # Confidences: cats .2, dogs 0, again .2; moon 0, bird .1. Pairs won: 2 + 0.5 + 0 + 2 of 6.
        "AUROC of the confidence": 0.75,
        # Two of five at .2, both right; then bird at .1, wrong: coverage .4, risk 0; coverage .6, risk 1/3.
        "AURC": round(0.2 / 3 / 0.6, 6),
    }
    assert metrics["recall@5"] == rate("recall@5", [True, False, True])
    assert metrics["MRR@10"].n == 3


def test_an_exception_is_an_error_or_a_time_out_and_no_wrong_answer(dataset: Dataset) -> None:
    measured = run_with(dataset)
    assert [(result.sample.id, result.error, result.timed_out) for result in measured.errors] == [
        ("broken", "ConnectionError: the model is down", False),
        ("slow", "RuntimeError: no answer", True),
    ]
    document = as_document(measured)
    assert (document["errors"], document["timeouts"]) == (1, 1)
    assert document["measured"]["milliseconds"].keys() == {"cats", "dogs", "again", "moon", "bird", "vague"}


def test_search_only_asks_no_question(dataset: Dataset) -> None:
    measured = run_with(dataset, search_only=True)
    assert measured.errors == ()
    assert as_document(measured)["measured"]["latency"].keys() == {"search"}
    assert [metric.name for metric in measure(measured)] == [
        "recall@1",
        "recall@5",
        "recall@10",
        "MRR@10",
        "nDCG@10",
        "AUROC of the top score",
    ]


def test_nothing_beyond_k_is_claimed(dataset: Dataset) -> None:
    names = [metric.name for metric in measure(run_with(dataset, k=5, search_only=True))]
    assert names == ["recall@1", "recall@5", "MRR@5", "nDCG@5", "AUROC of the top score"]


def test_a_misplaced_quote_is_counted(dataset: Dataset) -> None:
    class Misplaced(WordClient):
        def source_text(self, source: str, start: int, end: int) -> str | None:
            return (" " + self.texts[source])[start:end]

    metrics = {metric.name: metric.value for metric in measure(run_with(dataset, Misplaced(TEXTS)))}
    assert metrics["citation validity"] == 0


def test_the_report_is_byte_identical_but_for_what_was_measured(dataset: Dataset) -> None:
    quick, slow = as_json(as_document(run_with(dataset))), as_json(as_document(run_with(dataset, step=2)))
    assert as_json(as_document(run_with(dataset))) == quick
    assert quick != slow
    scores, timings = (text.split('\n "measured"') for text in (quick, slow))
    assert scores[0] == timings[0]


@pytest.mark.parametrize("workers", [1, 4])
def test_workers_change_the_pace_and_nothing_else(dataset: Dataset, workers: int) -> None:
    here = threading.Barrier(2)

    class Both(WordClient):
        """Two questions are in it at a time, or it waits for ever."""

        def search(self, question: str, k: int, history: Sequence[Turn] = ()) -> list[dict[str, Any]]:
            if workers > 1 and not history and question != "do it":
                here.wait(20)
            return super().search(question, k, history)

    samples = tuple(sample for sample in SAMPLES if sample.id in ("cats", "dogs", "moon", "bird"))
    few = Dataset("few", dataset.folder, dataset.files, samples, "0")

    class Search(Both):
        def ask(self, question: str, history: Sequence[Turn]) -> dict[str, Any]:
            return WordClient(self.texts).ask(question, history)

    found = as_document(run(few, lambda: Search(TEXTS), Options(workers=workers)))
    plain = as_document(run(few, lambda: WordClient(TEXTS), Options()))
    found.pop("measured")
    plain.pop("measured")
    assert found == plain


def test_the_report_is_strict_json_with_every_question(dataset: Dataset) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    document = json.loads(as_json(as_document(run_with(dataset))), parse_constant=refuse)
    assert [row["id"] for row in document["questions"]] == [sample.id for sample in SAMPLES]
    assert list(document)[-1] == "measured"
    assert document["settings"]["models"] == ["words"]
    first = document["questions"][0]
    assert first["citations"][0]["score"] == 0.333333
    assert (first["citations"][0]["valid"], first["citations"][0]["right"]) == (True, True)
    assert first["passages"][0]["right"] is True
    assert first["scores"]["token F1"] == 0.666667
    assert "false refusals" not in document["questions"][3]["scores"], "what does not apply is not there"
    assert document["questions"][5]["scores"].keys().isdisjoint({"right answers", "right abstentions"})
    latency = document["measured"]["latency"]
    assert latency["ask"] == {"p50_ms": 250.0, "p95_ms": 250.0, "p99_ms": 250.0, "max_ms": 250.0}
    assert latency["generate"]["p50_ms"] == 2.0
    assert document["usage"] == {
        "input_tokens": 60,
        "output_tokens": 12,
        "cost": 2.5,
        "answers_without_price": 1,
    }
    assert "message_id" not in as_json(document)


def test_a_brief_run_is_comparable_and_small(dataset: Dataset) -> None:
    document = as_document(run_with(dataset))
    small = brief(document)
    assert [question["scores"] for question in small["questions"]] == [q["scores"] for q in document["questions"]]
    assert all(question["passages"] == [] for question in small["questions"])


def test_the_table_shows_figures_errors_and_times(dataset: Dataset) -> None:
    lines = [" ".join(line.split()) for line in as_table(as_document(run_with(dataset))).splitlines()]
    assert lines[0] == "animals: 8 questions (5 answerable) over 2 files, digest d1935e57"
    assert lines[1] == "model words; prompt default@1"
    assert "recall@5 0.667 0.208 to 0.939 3" in lines
    assert "errors, time-outs 1, 1 not counted above" in lines
    assert "broken: ConnectionError: the model is down" in lines
    assert "ask 250.0 ms p50, 250.0 p95, 250.0 p99, 250.0 max" in lines
    assert lines[-1] == "tokens 60 in, 12 out, price not known"


def test_a_run_without_answerable_questions_has_no_recall(dataset: Dataset) -> None:
    only_moon = Dataset("moon", dataset.folder, dataset.files, SAMPLES[3:4], "0")
    assert "recall@5 - 0" in " ".join(as_table(as_document(run_with(only_moon))).split())
    metrics = {metric.name: metric for metric in measure(run_with(only_moon))}
    assert metrics["AURC"] == Metric("AURC", None, 0)


class Counting(WordClient):
    """Notes what it was asked; is interrupted at the question `stop_at`."""

    def __init__(self, texts: dict[str, str], stop_at: str = "") -> None:
        super().__init__(texts)
        object.__setattr__(self, "asked", [])
        object.__setattr__(self, "stop_at", stop_at)

    asked: list[str]
    stop_at: str

    def ask(self, question: str, history: Sequence[Turn]) -> dict[str, Any]:
        if question == self.stop_at:
            raise KeyboardInterrupt
        self.asked.append(question)
        return super().ask(question, history)


def test_an_interrupted_run_goes_on_and_a_second_one_asks_only_what_failed(dataset: Dataset, tmp_path: Path) -> None:
    recordings = Recordings(tmp_path)
    first = Counting(TEXTS, stop_at="why is the moon round")
    with pytest.raises(KeyboardInterrupt):
        run(dataset, lambda: first, Options(), recordings=recordings)
    recordings.close()
    again = Recordings(tmp_path)
    second = Counting(TEXTS)
    resumed = run(dataset, lambda: second, Options(), recordings=again)
    assert len(first.asked) == 3
    assert (second.asked[0], resumed.reused) == ("why is the moon round", 3)
    third = Counting(TEXTS)
    repeated = run(dataset, lambda: third, Options(), recordings=again)
    assert third.asked == ["explode", "wait"], "errors are not kept"
    whole = run_with(dataset)
    documents = [as_document(each) for each in (resumed, repeated, whole)]
    for document in documents:
        document.pop("measured")
    assert documents[0] == documents[1] == documents[2]


def test_no_client_is_made_when_everything_is_known(dataset: Dataset) -> None:
    recordings = Recordings()
    few = Dataset("few", dataset.folder, dataset.files, SAMPLES[:3], "0")
    run(few, lambda: WordClient(TEXTS), Options(), recordings=recordings)

    def refuse() -> Client:
        raise AssertionError("nothing is to be asked")

    assert run(few, refuse, Options(), recordings=recordings).reused == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "no/such/folder"], "There is no data set at no/such/folder"),
        (["run", "sample", "--output", "no/such/folder/run.json"], "There is no folder no/such/folder"),
        (["run", "sample", "--html", "no/such/folder/run.html"], "There is no folder no/such/folder"),
        (["run", "sample", "--noise", "no/such/folder"], "There is no folder no/such/folder"),
        (["run", "sample", "--prompt", "nobody"], "There is no prompt named 'nobody'"),
        (["run", "sample", "--model", "x", "--url", "http://127.0.0.1:9"], "A running server answers with its own"),
        (["run", "sample", "--judge", "extractive"], "The extractive answerer cannot judge"),
        (["run", "sample", "--judge", "gpt"], "--judge='gpt' is neither"),
        (["report", "no.json", "--html", "x.html"], "no.json cannot be read"),
        (["report", "no.json"], "Say what to write"),
        (["make", "no/such/folder"], "There is no folder no/such/folder/files"),
        (["make", "no/such/folder", "--chats"], "There is no folder no/such/folder"),
        (["gate", "no.json", "--fail-on", "worse"], "no.json cannot be read"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(
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
