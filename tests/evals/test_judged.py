"""A judge over the wire: its verdicts, its own agreement, and its failures, which are no verdicts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from chains.models import load_chat_model
from evals.model_server import Messages, ModelServer, running_model_server
from evals.report import as_judged
from evals.runner import Options, run
from evals.samples import Dataset, Gold, Sample
from evals.scorers.judged import judge, kappa, load_judges
from tests.evals.word_client import WordClient

TEXTS = {f"{name}.md": f"{name} sleep {name} hours" for name in ("cats", "dogs", "bats", "rats")}
SAMPLES = tuple(
    Sample(name, f"how long do {name} sleep", (f"{name} hours",), (Gold(f"{name}.md", TEXTS[f"{name}.md"]),))
    for name in ("cats", "dogs", "bats", "rats")
)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelServer]:
    with running_model_server() as server:
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        load_chat_model.cache_clear()
        yield server
        load_chat_model.cache_clear()


def judged_by(server: ModelServer, tmp_path: Path) -> dict[str, object]:
    dataset = Dataset("animals", tmp_path, dict.fromkeys(TEXTS, "00"), SAMPLES, "0")
    measured = run(dataset, lambda: WordClient(TEXTS), Options())
    llm = load_chat_model("openai:judge", 10)
    assert llm is not None
    return judge(measured, "openai:judge", load_judges(llm), workers=2)


def careful(messages: Messages) -> str:
    """Says yes when the answer's first word stands in the context; finds cats irrelevant."""
    text = messages[-1]["content"]
    answer = json.loads(text.split("<outputs>")[1].split("</outputs>")[0])["answer"]
    if "<context>" in text:
        context = text.split("<context>")[1].split("</context>")[0]
        return json.dumps({"reasoning": "It says so.", "score": answer.split()[0] in context})
    return json.dumps({"reasoning": "Hm.", "score": "cats" not in answer})


def test_a_careful_judge(server: ModelServer, tmp_path: Path) -> None:
    server.reply = careful
    found = judged_by(server, tmp_path)
    metrics = {name: (row["value"], row["n"]) for name, row in found["metrics"].items()}  # type: ignore[attr-defined]
    assert metrics == {
        "faithfulness (judged)": (1.0, 4),
        "relevance (judged)": (0.75, 4),
        "judge agrees with what is known": (1.0, 8),
        "kappa of that": (1.0, 8),
        "judge agrees with itself": (1.0, 4),
    }
    assert found["errors"] == 0
    assert found["questions"]["cats"] == {"faithfulness": True, "relevance": False}  # type: ignore[index]
    assert "faithfulness (judged)" in as_judged(found)


def test_a_judge_that_always_agrees_is_found_out(server: ModelServer, tmp_path: Path) -> None:
    server.reply = lambda _: json.dumps({"reasoning": "Sure.", "score": True})
    metrics = judged_by(server, tmp_path)["metrics"]
    assert metrics["judge agrees with what is known"]["value"] == 0.5  # type: ignore[index]
    assert metrics["kappa of that"]["value"] == 0  # type: ignore[index]


@pytest.mark.parametrize("failure", [401, "nonsense"])
def test_a_judge_that_fails_gives_no_verdict(server: ModelServer, tmp_path: Path, failure: int | str) -> None:
    server.fail_with = failure
    found = judged_by(server, tmp_path)
    assert found["errors"] == 20
    assert found["metrics"]["faithfulness (judged)"]["value"] is None  # type: ignore[index]


def test_kappa_agrees_with_a_worked_example() -> None:
    # Two readers, 50 proposals: both yes 20, only the first 5, only the second 10, both no 15; kappa = 0.4.
    pairs = [(True, True)] * 20 + [(True, False)] * 5 + [(False, True)] * 10 + [(False, False)] * 15
    assert kappa(pairs) == pytest.approx(0.4)
    assert kappa([]) is None
    assert kappa([(True, True)]) is None
