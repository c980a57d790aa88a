"""`python -m evals` as its users run it: killed and resumed, over HTTP, on two prompts, from real chats."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from backend.environment import BASE_DIR, as_unset
from evals.model_server import Messages, ModelServer, running_model_server
from evals.samples import load_dataset
from tests.acceptance.server import PASSWORD, Client, Server, serving

pytestmark = pytest.mark.acceptance

PATIENCE = 120.0  # seconds; the runs take a few each


def plain_environment(**settings: str) -> dict[str, str]:
    """Every setting of the product at its default, and these."""
    environment = os.environ | as_unset() | settings
    environment.pop("DJANGO_SETTINGS_MODULE", None)  # the tests' own
    return environment


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "evals", *map(str, arguments)]


def evals(*arguments: object, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments),
        cwd=BASE_DIR,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def scores(path: Path) -> dict[str, Any]:
    """A run without what differs by nature."""
    document: dict[str, Any] = json.loads(path.read_text())
    del document["measured"]
    return document


def with_model(server: ModelServer, **settings: str) -> dict[str, str]:
    return plain_environment(OPENAI_BASE_URL=server.url, OPENAI_API_KEY="none", **settings)


def knowing(messages: Messages) -> str:
    """A model that quotes the sentence with the right answer, where the passages hold it; with the prompt `brief` it
    says of every second question that they do not.
    """
    shown, question = messages[-1]["content"].rsplit("\n\nQuestion: ", 1)
    known = {sample.question: sample for sample in load_dataset("sample").samples}[question]
    if "one sentence, two at the most" in messages[0]["content"] and len(question) % 2:
        return "NOT_IN_DOCUMENTS"
    for answer in known.answers:
        for number, passage in enumerate(shown.split("</passage>")[:-1], start=1):
            for line in passage.splitlines()[1:]:
                if answer.casefold() in line.casefold():
                    return f"{line} [{number}]"
    return "NOT_IN_DOCUMENTS"


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    home, cache = tmp_path / "set", tmp_path / "cache"
    assert evals("init", home, environment=plain_environment()).returncode == 0
    rows = [
        {"id": f"q{i}", "question": f"When does door {i} of the office open?", "answers": ["7:30"]} for i in range(12)
    ]
    gold = {"gold": [{"file": "house-rules.md", "text": "The office opens at 7:30 and closes at 19:00."}]}
    (home / "questions.jsonl").write_text("\n".join(json.dumps(row | gold) for row in rows))
    with running_model_server() as server:
        server.reply = lambda _: "The office opens at 7:30 and closes at 19:00. [1]"
        server.seconds_per_token = 0.02
        environment = with_model(server)
        run = ["run", home, "--model", "openai:slow", "--cache", cache, "--output"]
        with subprocess.Popen(command(*run, tmp_path / "killed.json"), cwd=BASE_DIR, env=environment) as process:
            deadline = time.monotonic() + PATIENCE
            while len(server.requests) < 5 and time.monotonic() < deadline:
                time.sleep(0.01)
            os.kill(process.pid, signal.SIGKILL)
        asked = len(server.requests)
        assert 5 <= asked < len(rows)
        assert not (tmp_path / "killed.json").exists()

        resumed = evals(*run, tmp_path / "resumed.json", environment=environment)
        assert resumed.returncode == 0, resumed.stderr
        assert len(server.requests) <= len(rows) + 1, "at most the answer that was under way is asked again"
        again = evals(*run, tmp_path / "again.json", environment=environment)
        assert "12 of 12 answers were known" in again.stdout
        assert len(server.requests) <= len(rows) + 1, "a second run costs nothing"
        anew = evals(*run, tmp_path / "anew.json", "--no-cache", "--workers", 3, environment=environment)
        assert anew.returncode == 0, anew.stderr
    whole = scores(tmp_path / "anew.json")
    assert scores(tmp_path / "resumed.json") == scores(tmp_path / "again.json") == whole
    assert whole["metrics"]["right answers"]["value"] == 1


def test_a_slow_model_is_a_time_out_and_no_wrong_answer(tmp_path: Path) -> None:
    with running_model_server() as server:
        server.reply = knowing
        server.seconds_per_token = 3.0
        run = ["run", "sample", "--model", "openai:slow", "--limit", 1, "--timeout", 0.2, "--seed", 3, "--no-cache"]
        done = evals(*run, "--output", tmp_path / "run.json", environment=with_model(server))
    assert done.returncode == 1, "every question ended in an error"
    run_document = scores(tmp_path / "run.json")
    assert (run_document["errors"], run_document["timeouts"]) == (0, 1)
    assert run_document["questions"][0]["timed_out"] is True


def test_a_worse_prompt_is_found_and_an_equal_one_is_not(tmp_path: Path) -> None:
    runs = [tmp_path / name for name in ("default.json", "same.json", "worse.json")]
    with running_model_server() as server:
        server.reply = knowing
        environment = with_model(server)
        for path, prompt in zip(runs, ("default", "default", "brief"), strict=True):
            options = ["--model", "openai:known", "--prompt", prompt, "--workers", 2, "--no-cache", "--output", path]
            done = evals("run", "sample", *options, environment=environment)
            assert done.returncode == 0, done.stderr
    compared = evals("compare", *runs, "--output", tmp_path / "compared.json", environment=plain_environment())
    assert compared.returncode == 0, compared.stderr
    same, worse = (row["verdict"]["word"] for row in json.loads((tmp_path / "compared.json").read_text())["others"])
    assert (same, worse) == ("no evidence of a difference", "worse")
    assert "questions were answered differently" in compared.stdout
    gate = ["--baseline", runs[0], "--fail-on", "worse"]
    assert evals("gate", runs[1], *gate, environment=plain_environment()).returncode == 0
    assert evals("gate", runs[2], *gate, environment=plain_environment()).returncode == 1


def chunks_of(client: Client, path: str) -> int:
    """How many passages of this file answer now."""
    rows = client.get("/sources").json()["results"]
    return next(int(row["chunks"]) for row in rows if row["path"] == path)


def test_a_running_server_gives_the_figures_of_a_temporary_instance(
    make_server: Callable[..., Server], tmp_path: Path
) -> None:
    server = make_server()
    dataset = load_dataset("sample")
    for name in dataset.names:
        (server.knowledge / name).write_bytes((dataset.folder / name).read_bytes())
    own = {**plain_environment(), "FOOTNOTE_PASSWORD": PASSWORD}
    here, there = tmp_path / "here.json", tmp_path / "there.json"
    with serving(server), Client(server) as client:
        kept = client.ask("When are old messages erased?")
        run = ["run", "sample", "--url", server.url, "--cache", tmp_path / "cache", "--robustness", "--workers", 2]
        over_http = evals(*run, "--output", there, environment=own)
        assert over_http.returncode == 0, over_http.stderr
        as_maria = evals(*run[:4], "--limit", 2, "--username", "maria", "--no-cache", environment=own)
        assert as_maria.returncode == 0, as_maria.stderr
        left = client.get("/chat-history").json()["results"]
        assert [row["id"] for row in left] == [kept["conversation_id"]], "its own conversations are erased, no other"

        (server.knowledge / "faq.csv").write_text("question,answer\nIs it free?,Yes.\n")
        server.wait_until(lambda: chunks_of(client, "faq.csv") == 1, "the change")
        stale = evals(*run, environment=own)
        assert (stale.returncode, stale.stderr.count("\n")) == (2, 1), stale.stderr
        assert (
            "does not answer from these files of the data set, or from other versions of them: faq.csv" in stale.stderr
        )
        wrong = evals(*run, "--username", "maria", environment=own | {"FOOTNOTE_PASSWORD": "wrong"})
        assert (wrong.returncode, "does not let maria in: 401" in wrong.stderr) == (2, True)
    gone = evals(*run, environment=own)
    assert (gone.returncode, "cannot be reached" in gone.stderr) == (2, True)

    in_an_instance = evals("run", "sample", "--no-cache", "--output", here, environment=own)
    assert in_an_instance.returncode == 0, in_an_instance.stderr
    first, other = scores(here), scores(there)
    assert other["dataset"]["files"] == first["dataset"]["files"]
    alike = [{q["id"]: q for q in run["questions"] if not q["history"]} for run in (first, other)]
    for name, question in alike[0].items():
        for part in ("answer", "outcome", "citations", "rank", "scores"):
            assert alike[1][name][part] == question[part], (name, part)
    assert other["robustness"]["noise"] == {"skipped": "needs an instance of its own, so it cannot be had with --url"}
    assert other["robustness"]["keywords"]["differences"]


def test_real_chats_that_went_wrong_become_drafts(make_server: Callable[..., Server], tmp_path: Path) -> None:
    server = make_server()
    (server.knowledge / "whales.md").write_text("# Whales\n\nWhales sing for hours, at night.\n")
    home = tmp_path / "set"
    assert evals("init", home, environment=plain_environment()).returncode == 0
    with serving(server), Client(server) as client:
        good = client.ask("How long do whales sing?")
        assert good["outcome"] == "grounded"
        disliked = client.ask("When do whales sing?", conversation_id=good["conversation_id"])
        opinion = {"rating": -1, "comment": "In which season?"}
        assert client.post(f"/messages/{disliked['message_id']}/feedback", json=opinion).status_code == 200
        assert client.ask("What is the boiling point of tungsten?")["outcome"] == "abstained"
        made = evals("make", home, "--chats", environment=server.environment)
    assert made.returncode == 0, made.stderr
    rows = {row["question"]: row for row in map(json.loads, (home / "drafts.jsonl").read_text().splitlines())}
    assert rows.keys() == {"When do whales sing?", "What is the boiling point of tungsten?"}
    whales = rows["When do whales sing?"]
    assert whales["history"][0] == {"role": "user", "content": "How long do whales sing?"}
    assert (whales["comment"], whales["nearest"], whales["tags"]) == (
        "In which season?",
        ["whales.md"],
        ["draft", "disliked"],
    )
    assert rows["What is the boiling point of tungsten?"]["tags"] == ["draft", "declined"]


def test_a_calibration_decides_for_the_server_and_for_later_runs(tmp_path: Path) -> None:
    """Every question is about some city's buses; of half of the cities nothing is written."""
    cities = [f"{first}{second}" for first in ("North", "South", "East", "West") for second in "abcdefghij"]
    dataset = tmp_path / "buses"
    (dataset / "files").mkdir(parents=True)
    (dataset / "files" / "buses.csv").write_text(
        "question,answer\n"
        + "".join(f"When does the bus to {city} leave?,At {i}.\n" for i, city in enumerate(cities[:20]))
    )
    questions = [
        {
            "id": city,
            "question": f"When does the bus to {city} leave?",
            "gold": [{"file": "buses.csv", "text": f"When does the bus to {city} leave?"}] if i < 20 else [],
        }
        for i, city in enumerate(cities)
    ]
    (dataset / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in questions))
    data = tmp_path / "data"
    environment = plain_environment(DATA_DIR=str(data))

    before = evals("run", dataset, "--output", tmp_path / "before.json", environment=environment)
    assert before.returncode == 0, before.stderr
    done = evals("calibrate", dataset, "--max-false-refusals", 0, environment=environment)
    assert done.returncode == 0, done.stderr
    assert "20 questions with an answer and 20 without" in done.stdout
    assert f"Written to {data / 'calibration.json'}. A server with this DATA_DIR decides by it" in done.stdout
    after = evals("run", dataset, "--output", tmp_path / "after.json", environment=environment)
    assert after.returncode == 0, after.stderr

    figures = [json.loads((tmp_path / f"{name}.json").read_text())["metrics"] for name in ("before", "after")]
    rights = [found["right abstentions"]["value"] for found in figures]
    assert rights[1] > rights[0], "cities that nobody wrote about are declined now"
    assert figures[1]["false refusals"]["value"] == 0

    (data / "calibration.json").write_text("{}")
    refused = evals("run", dataset, environment=environment)
    assert (refused.returncode, "is not a calibration of this release" in refused.stderr) == (2, True)
    few = evals("calibrate", "sample", environment=plain_environment(DATA_DIR=str(tmp_path / "other")))
    assert (few.returncode, "at least 20 questions" in few.stderr) == (2, True)
    assert not (tmp_path / "other" / "calibration.json").exists()
