"""A data set to start from, and drafts of questions that a person checks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evals import drafts
from evals.__main__ import main
from evals.model_server import Messages, running_model_server
from evals.samples import load_dataset


def started(home: Path) -> Path:
    assert main(["init", str(home)]) == 0
    (home / "files" / "faq.csv").write_text("question,answer\nIs it free?,Yes, for a year.\n")
    (home / "files" / "broken.pdf").write_bytes(b"%PDF-1.4 nothing")
    (home / "files" / "tower.md").write_text(
        "# Tower\n\nThe tower is a lighthouse that was never lit, on the northern cliff of the island.\n"
    )
    return home


def read(home: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (home / drafts.FILE).read_text().splitlines()]


def test_the_starter_is_a_data_set_and_overwrites_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = tmp_path / "set"
    assert main(["init", str(home)]) == 0
    dataset = load_dataset(home)
    assert {sample.answerable for sample in dataset.samples} == {True, False}
    for sample in dataset.samples:
        for place in sample.gold:
            text = " ".join((home / "files" / place.file).read_text().split())
            assert place.text is not None
            assert place.text in text
            assert any(answer in place.text for answer in sample.answers)
    (home / "questions.jsonl").write_text("mine")
    assert main(["init", str(home)]) == 2
    assert "is not empty; nothing was written" in capsys.readouterr().err
    assert (home / "questions.jsonl").read_text() == "mine"


def test_drafts_from_documents_without_a_model(tmp_path: Path) -> None:
    home = started(tmp_path / "set")
    assert main(["make", str(home)]) == 0
    by_question = {draft["question"]: draft for draft in read(home)}
    assert by_question["Is it free?"]["gold"] == [{"file": "faq.csv", "text": "Is it free?"}]
    tower = (
        by_question["What is the tower?"] if "What is the tower?" in by_question else by_question["What is the Tower?"]
    )
    assert tower["answers"] == ["a lighthouse that was never lit, on the northern cliff of the island"]
    assert any(drafts.GAP in question for question in by_question)
    assert all(draft["check"] for draft in by_question.values())
    before = read(home)
    assert main(["make", str(home)]) == 0
    assert read(home) == before, "nothing is drafted twice"
    with (home / "questions.jsonl").open("a") as file:
        file.writelines(json.dumps(draft) + "\n" for draft in before)
    assert len(load_dataset(home).samples) == 3 + len(before), "a draft is a question as it stands"


def test_drafts_by_a_model_keep_only_answers_that_stand_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = started(tmp_path / "set")
    monkeypatch.setenv("OPENAI_API_KEY", "none")

    def reply(messages: Messages) -> str:
        passage = messages[-1]["content"]
        if "lighthouse" in passage:
            return 'Here: {"question": "Which building stands on the cliff?", "answer": "a lighthouse"}'
        if "free" in passage:
            return '{"question": "What does it cost?", "answer": "nine euros"}'
        return "{}" if "laboratory" in passage else "no JSON {"

    with running_model_server() as server:
        server.reply = reply
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        assert main(["make", str(home), "--model", "openai:drafts"]) == 0
        assert [(draft["question"], draft["answers"]) for draft in read(home)] == [
            ("Which building stands on the cliff?", ["a lighthouse"])
        ]
        server.fail_with = 401
        assert main(["make", str(home), "--model", "openai:drafts"]) == 2
    assert len(read(home)) == 1


def test_what_cannot_be_drafted_from_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "files").mkdir()
    assert main(["make", str(tmp_path)]) == 2
    assert "No text could be read" in capsys.readouterr().err
    assert main(["make", str(tmp_path), "--model", "nobody"]) == 2
    assert "neither 'extractive' nor provider:model" in capsys.readouterr().err
