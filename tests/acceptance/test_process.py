"""The process: killed at any moment it loses nothing, told to stop it stops, and it says why it cannot start."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.server import Client, Server, serving
from tests.folder import write, write_pdf

pytestmark = pytest.mark.acceptance

SUBJECTS = [
    "whales",
    "bridges",
    "violins",
    "glaciers",
    "bakeries",
    "comets",
    "libraries",
    "ferries",
    "orchards",
    "clocks",
]


def fill(folder: Path) -> None:
    """Some thirty files of a few passages each: a few seconds of work, so that a kill lands in the middle."""
    for number in range(30):
        subject = SUBJECTS[number % 10]
        sections = [
            f"## Section {part}\n\n" + f"Fact {number}-{part} about {subject} is told here at some length. " * 12
            for part in range(8)
        ]
        write(folder, f"{subject}/{number}.md", f"# {subject.title()} {number}\n\n" + "\n\n".join(sections))
    write_pdf(folder, "rules.pdf", [f"Rule {page}: nobody sleeps in room {page}." for page in range(1, 20)])
    write(folder, "bad.pdf", "not a PDF at all")


def what_it_answers(client: Client) -> Any:
    """Everything a user can see of the index: sources, their passages, and rankings with scores."""
    rows = client.get("/sources", params={"page_size": 200}).json()["results"]
    sources = {row["path"]: [row[name] for name in ("state", "error", "chunks", "pages", "version")] for row in rows}
    passages = {}
    for row in rows[::7]:
        chunks = client.get(f"/sources/{row['id']}/chunks", params={"page_size": 200}).json()["results"]
        passages[row["path"]] = [(c["start"], c["end"], c["heading"], c["text"]) for c in chunks]
    rankings = {}
    for question in [f"What is told about {subject}?" for subject in SUBJECTS] + ["Who may sleep in room 12?"]:
        results = client.get("/search", params={"q": question, "k": 50}).json()["results"]
        rankings[question] = sorted((-round(r["score"], 3), r["source"], r["text"]) for r in results[:1])
    return sources, passages, rankings


def test_a_kill_during_ingestion_changes_nothing_in_the_end(make_server: Callable[..., Server]) -> None:
    disturbed = make_server()
    fill(disturbed.knowledge)
    chance = random.Random(7)
    for _ in range(3):
        disturbed.start(wait=False)
        database = disturbed.data / "footnote.sqlite3"
        disturbed.wait_until(database.exists, "the database")
        time.sleep(chance.uniform(0.5, 4.0))
        disturbed.kill()
    with serving(disturbed), Client(disturbed) as client:
        disturbed.wait_until(lambda: "pending" not in client.states().values(), "the end of the sync")
        after_kills = what_it_answers(client)

    undisturbed = make_server(disturbed.knowledge)
    with serving(undisturbed), Client(undisturbed) as client:
        assert len(client.states()) == 32
        assert what_it_answers(client) == after_kills


def test_ctrl_c_stops_it_also_in_the_middle_of_work(make_server: Callable[..., Server]) -> None:
    server = make_server()
    fill(server.knowledge)
    server.start(wait=False)
    server.wait_until((server.data / "footnote.sqlite3").exists, "the database")
    assert server.interrupt() in (0, 130), "at once, perhaps before the server runs"
    begun = server.log.read_text().count("Footnote serves")
    server.start(wait=False)
    server.wait_until(lambda: server.log.read_text().count("Footnote serves") > begun, "its first words")
    time.sleep(1.5)
    assert server.interrupt() in (0, 130)
    with serving(server), Client(server) as client:
        server.wait_until(lambda: "pending" not in client.states().values(), "the end of the sync")
        assert client.ask("Who may sleep in room 12?")["citations"][0]["page"] == 12
        assert server.interrupt() == 0
    server.start()
    assert server.interrupt() == 0, "also at once, while the model is being loaded"
    for unclean in ("Traceback", "SIGABRT"):  # SIGKILL is how the master keeps its bound on a machine that is too busy
        assert unclean not in server.log.read_text()


def test_what_a_worker_that_dies_leaves_is_taken_up_by_the_next(make_server: Callable[..., Server]) -> None:
    """The master starts another worker, which owns the index again."""
    server = make_server()
    write(server.knowledge, "a.md", "# Leave\n\nParental leave is 16 weeks.\n")
    with serving(server), Client(server) as client:
        assert server.process is not None
        children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
        if not children.exists():
            pytest.skip("only Linux lists a process's children in /proc")
        for child in children.read_text().split():
            os.kill(int(child), signal.SIGKILL)
        time.sleep(0.5)
        server.wait_until(server.is_ready, "the next worker")
        assert client.ask("How long is parental leave?")["outcome"] == "grounded"


def test_other_processes_beside_a_server(make_server: Callable[..., Server]) -> None:
    """A sync is done by the server; a second server, and one on a taken port, get a sentence."""
    server = make_server()
    with serving(server), Client(server) as client:
        write(server.knowledge, "a.md", "# Leave\n\nParental leave is 16 weeks.\n")
        done = server.manage("sync")
        assert done.returncode == 0, done.stderr
        assert client.states() == {"a.md": "indexed"}
        assert client.ask("How long is parental leave?")["outcome"] == "grounded"

        again = server.manage("serve")
        assert again.returncode != 0
        assert "Another Footnote process" in again.stderr
        refused = make_server(PORT=str(server.port)).manage("serve")
        assert refused.returncode != 0
        assert "PORT" in refused.stderr
        assert "Traceback" not in again.stderr + refused.stderr


def test_settings_that_are_wrong_are_named_and_nothing_starts(make_server: Callable[..., Server]) -> None:
    for name, value, said in (
        ("PORT", "eighty", "PORT"),
        ("HOST", "0.0.0.0", "SECRET_KEY"),
        ("DEBUG", "off", "SECRET_KEY"),
    ):
        refused = make_server(**{name: value}).manage("serve")
        assert refused.returncode != 0
        assert said in refused.stderr
        assert "Traceback" not in refused.stderr, refused.stderr
