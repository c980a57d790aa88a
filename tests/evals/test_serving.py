"""The chat part of `make bench` and the soak, with numbers as small as they can be, against the real server."""

from __future__ import annotations

import math
import sqlite3
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from evals.load import Call, Reading
from evals.served import NotServing
from evals.serving import Plan, compare_serving
from evals.soak import Asked, Options, count_stored, report, soak
from vectorstore.embeddings import Embedder

KNOWLEDGE = Path(__file__).parents[2] / "knowledge"
TINY = Plan(
    long=60,
    chats=(2,),
    streams=(2,),
    alone=2,
    crowd=2,
    crowded=2,
    reads=3,
    shortest=0.2,
    shortest_stream=0.4,
    costly=2,
    history=4,
)


@pytest.mark.acceptance
def test_the_table_is_made(embedder: Embedder, model_cache: Path) -> None:
    embedder.embed_query("the model is converted before a server needs it")

    rows = list(compare_serving(KNOWLEDGE, TINY, model_cache / "models"))

    assert [row.name for row in rows] == [
        "second start, s",
        "memory at the start, MB",
        "memory after a chat, MB",
        "chat, 2 at once, +ms p50",
        "chat, 2 at once, +ms p95",
        "chat, 2 at once, CPU ms",
        "chats/s, 2 at once",
        "chat in full load, 2, CPU ms",
        "stream, 2 at once, first token, +ms p50",
        "stream, 2 at once, first token, +ms p95",
        "stream, 2 at once, CPU ms",
        "a streamed token, CPU ms",
        "search, requests/s",
        "search, p50 ms",
        "search, CPU ms",
        "history, requests/s",
        "history, p50 ms",
        "history, CPU ms",
    ]
    assert not [row for row in rows if math.isnan(row.ours) or math.isnan(row.theirs)]


def test_a_folder_without_text_is_said_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(NotServing, match="too little text"):
        list(compare_serving(tmp_path))


@pytest.mark.acceptance
def test_a_soak_loses_nothing(embedder: Embedder, model_cache: Path) -> None:
    embedder.embed_query("the model is converted before a server needs it")

    options = Options(streams=6, minutes=0.1, seconds=0.5, tokens=8, users=2)
    outcome = soak(KNOWLEDGE, options, model_cache / "models")

    assert [one.reading.error for one in outcome.errors] == []
    assert outcome.stored.questions == len(outcome.asked) > 6
    assert outcome.stored.whole + outcome.stored.cut == outcome.stored.questions
    assert outcome.stored.faults == 0
    assert outcome.looks
    assert list(report(outcome))[-1] == "good"


def heard(question: str, answer: str, *, message_id: str = "a1", hung_up: bool = False, error: str = "") -> Asked:
    said = {"conversation_id": "c", "message_id": message_id, "answer": answer}
    call = Call("/chat", {"message": question})
    return Asked(question, True, Reading(call, 0.0, 200, said=said, hung_up=hung_up, error=error))


@pytest.mark.parametrize(
    ("rows", "asked", "faults"),
    [
        ([("q1", "user", "One?", 0), ("a1", "assistant", "Yes.", 0)], heard("One?", "Yes."), set()),
        ([("q1", "user", "One?", 0), ("a1", "assistant", "Ye", 1)], heard("One?", "", hung_up=True), set()),
        ([], heard("One?", "", error="503"), set()),
        ([("a1", "assistant", "Yes.", 0)], heard("One?", "Yes."), {"lost_questions", "doubled_answers"}),
        ([("q1", "user", "One?", 0)], heard("One?", "Yes."), {"lost_answers"}),
        ([("q1", "user", "One?", 0), ("a1", "assistant", "No.", 0)], heard("One?", "Yes."), {"other_texts"}),
        ([("q1", "user", "One?", 0), ("a1", "assistant", "Yes.", 1)], heard("One?", "Yes."), {"other_texts"}),
        (
            [("q1", "user", "One?", 0), ("a1", "assistant", "Yes.", 0), ("a2", "assistant", "Yes.", 0)],
            heard("One?", "Yes."),
            {"doubled_answers"},
        ),
        (
            [("q1", "user", "One?", 0), ("q2", "user", "One?", 0), ("a1", "assistant", "Yes.", 0)],
            heard("One?", "Yes."),
            {"doubled_questions"},
        ),
    ],
)
def test_what_is_lost_or_doubled_is_found(
    tmp_path: Path, rows: list[tuple[Any, ...]], asked: Asked, faults: set[str]
) -> None:
    with sqlite3.connect(tmp_path / "messages.sqlite3") as database:
        database.execute("CREATE TABLE chat_message (id, role, content, cut, conversation_id DEFAULT 'c')")
        database.executemany("INSERT INTO chat_message (id, role, content, cut) VALUES (?, ?, ?, ?)", rows)

    stored = asdict(count_stored(tmp_path / "messages.sqlite3", [asked]))

    assert {name for name in stored.keys() - {"questions", "whole", "cut"} if stored[name]} == faults
