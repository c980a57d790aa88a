"""The load test, with numbers as small as they can be, against the real server."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from evals.load import Call, Reading
from evals.mix import KINDS, SHARES, Column, Options, own, report, run_mix
from evals.serving import questions_about
from vectorstore.embeddings import Embedder

KNOWLEDGE = Path(__file__).parents[2] / "knowledge"


@pytest.mark.acceptance
def test_everybody_is_answered(embedder: Embedder, model_cache: Path) -> None:
    embedder.embed_query("the model is converted before a server needs it")
    options = Options(people=12, seconds=6, pause=0.05, answer=0.1, tokens=4)

    with own("embedded", KNOWLEDGE, options, {}, model_cache / "models") as stack:
        column = run_mix(stack, questions_about(KNOWLEDGE), options)

    assert not column.errors, [reading.error for reading in column.errors]
    done = {kind: len(readings) for kind, readings in column.readings.items()}
    assert set(done) == set(KINDS) == set(SHARES)
    assert all(done[kind] for kind in KINDS if kind != "upload"), done
    assert 0 < column.of_a_chat < math.inf
    assert 0 < column.of_a_request < math.inf
    assert all(
        reading.said["conversation_id"] == reading.call.data["conversation_id"]
        for reading in column.readings["follow-up"]
    )


def test_errors_are_counted_by_kind_and_told() -> None:
    call = Call("/chat", {"message": "?"})
    good = Reading(call, 1.0, status=200, ended=1.5)
    bad = Reading(call, 1.0, status=503, ended=1.1, error="503 model_unavailable")
    column = Column("embedded", {"question": [good, bad], "history": []}, seconds=2.0, of_a_request=3.0, of_a_chat=4.0)

    lines = list(report([column]))

    assert next(line.split() for line in lines if line.startswith("question")) == ["question", "2", "500", "500", "1"]
    assert any("1.0 requests/s; CPU 3.0 ms a request, 4.0 ms a chat" in line for line in lines)
    assert lines[-1].strip() == "embedded: 503 model_unavailable"
