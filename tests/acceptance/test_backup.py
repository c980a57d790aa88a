"""Backup and restore as an operator does them: beside a server under load, onto another machine, with kill -9."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend.environment import BASE_DIR
from tests.acceptance.server import PASSWORD, PATIENCE, Client, Server, serving
from tests.folder import write, write_pdf
from tests.waiting import wait_for

pytestmark = pytest.mark.acceptance

QUESTIONS = ["How long is parental leave?", "Who may sleep in room 3?", "When do whales sing?"]


def fill(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    write(folder, "leave.md", "# Leave\n\nParental leave is 16 weeks.\n")
    write_pdf(folder, "hotel/rules.pdf", [f"Nobody sleeps in room {page}." for page in range(1, 5)])
    write(folder, "sea/whales.md", "# Whales\n\nWhales sing for hours, at night.\n")


def searched(client: Client) -> Any:
    found = {q: client.get("/search", params={"q": q}).json()["results"] for q in QUESTIONS}
    return {q: [{**row, "score": round(row["score"], 4)} for row in rows] for q, rows in found.items()}


def histories(server: Server, names: list[str]) -> dict[str, list[Any]]:
    """What each user has, by logging in with the password of before."""
    told: dict[str, list[Any]] = {}
    for name in names:
        told[name] = []
        with Client(server, name) as client:
            page: str | None = "/chat-history?page_size=200"
            while page:
                found = client.get(page).json()
                told[name] += found["results"]
                page = found["next"]
    return told


NO_BROKER = {"TASKS": "celery", "CELERY_BROKER_URL": "redis://127.0.0.1:1/0", "CHROMA_URL": "http://127.0.0.1:1"}


@pytest.mark.parametrize(
    ("command", "given"),
    [(["run_scheduler"], {}), (["outbox", "--send"], {}), (["run_worker", "mail"], NO_BROKER)],
    ids=["scheduler", "sender", "worker"],
)
def test_what_works_on_the_database_without_a_server_is_in_the_way_too(
    make_server: Callable[..., Server], tmp_path: Path, command: list[str], given: dict[str, str]
) -> None:
    server = make_server()
    file = str(tmp_path / "made.tar.gz")
    for wanted in (["migrate"], ["backup", "--output", file]):
        done = server.manage(*wanted)
        assert done.returncode == 0, done.stderr
    other = subprocess.Popen(
        [sys.executable, "manage.py", *command],
        cwd=BASE_DIR,
        env=server.environment | given,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for((server.data / "used.lock").exists, "its lock")
        for _ in range(20):  # the file is there a moment before it is locked
            refused = server.manage("restore", file, "--force")
            if refused.returncode:
                break
        assert (refused.returncode, "is using" in refused.stderr) == (1, True)
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()
    done = server.manage("restore", file, "--force")
    assert done.returncode == 0, done.stderr


def test_onto_another_machine_while_everybody_goes_on_talking(
    make_server: Callable[..., Server], database: Callable[[], str], tmp_path: Path
) -> None:
    fill(tmp_path / "one")
    server = make_server(tmp_path / "one", DATABASE_URL=database())
    names = ["maria", "noor", "olga"]
    file = tmp_path / "moved.tar.gz"
    with serving(server):
        server.wait_until(lambda: server.manage("sync").returncode == 0, "the sync")
        stop = threading.Event()
        failed: list[str] = []
        answers: Counter[str] = Counter()

        def talk(name: str) -> None:
            with Client(server, name) as client:
                while not stop.is_set():
                    answer = client.post("/chat", json={"message": QUESTIONS[0]})
                    if answer.status_code != 200:
                        failed.append(answer.text)
                    answers[name] += 1  # each name has one thread

        people = [threading.Thread(target=talk, args=[name]) for name in names]
        for person in people:
            person.start()
        server.wait_until(lambda: all(answers[name] > 2 for name in names), "everybody has talked")
        made = server.manage("backup", "--output", str(file))
        assert made.returncode == 0, made.stderr
        then = dict(answers)
        server.wait_until(lambda: all(answers[name] > then[name] + 1 for name in names), "everybody goes on")
        stop.set()
        for person in people:
            person.join()
        assert not failed, failed
        refused = server.manage("restore", str(file), "--force")
        assert (refused.returncode, "is using" in refused.stderr) == (1, True)
        with Client(server) as client:
            token, shown = client.headers["Authorization"], searched(client)
        before = histories(server, names)

    other = make_server(tmp_path / "two", DATABASE_URL=database())
    restored = other.manage("restore", str(file))
    assert restored.returncode == 0, restored.stderr
    with serving(other), Client(other) as client:
        assert searched(client) == shown
        assert httpx.get(f"{other.url}/chat-history", headers={"Authorization": token}).status_code == 401
        after = histories(other, names)
        for name in names:
            assert 0 < len(after[name]) < len(before[name]), "the backup was made in the middle"
            older = {conversation["id"]: conversation for conversation in before[name]}
            for conversation in after[name]:
                messages = conversation["messages"]
                assert [m["role"] for m in messages] in (["user", "assistant"], ["user"])
                if len(messages) == 2:
                    assert messages == older[conversation["id"]]["messages"]
                    assert messages[1]["citations"]
        [cited] = [m for c in after["maria"][-1:] for m in c["messages"] if m["role"] == "assistant"]
        assert client.get(f"/messages/{cited['id']}/citations/1/verify").json()["valid"]
        login = {"username": "newcomer", "email": "new@example.org", "password": PASSWORD}
        assert client.post("/signup", json=login).status_code == 201


def test_kill_minus_nine_in_the_middle_of_a_restore(
    make_server: Callable[..., Server], database: Callable[[], str], tmp_path: Path
) -> None:
    fill(tmp_path / "one")
    for number in range(600):
        write(tmp_path / "one", f"many/{number}.md", f"# Number {number}\n")
    one = make_server(tmp_path / "one", DATABASE_URL=database())
    file = tmp_path / "one.tar.gz"
    assert one.manage("migrate").returncode == 0
    made = one.manage("backup", "--output", str(file))
    assert made.returncode == 0, made.stderr
    two = make_server(tmp_path / "two", DATABASE_URL=database())
    assert two.manage("migrate").returncode == 0
    for number in range(600):
        write(tmp_path / "two", f"other/{number}.md", f"# Other {number}\n")
    state = two.data / ".footnote-restore" / "state"
    chance = random.Random(5)
    interrupted = 0
    for _ in range(4):
        again = state.exists()
        process = subprocess.Popen(
            [sys.executable, "manage.py", "restore", str(file), "--force"],
            cwd=BASE_DIR,
            env=two.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + PATIENCE
        while not state.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(chance.uniform(0.5, 2.5) if again else chance.uniform(0, 0.03))
        process.send_signal(signal.SIGKILL)
        process.wait()
        if state.exists() and state.read_text() in ("aside", "placing"):
            interrupted += 1
            refused = two.manage("serve")
            assert "A restore did not come to its end" in refused.stderr
    assert interrupted, "it was never killed in the middle"
    done = two.manage("restore", str(file), "--force")
    assert done.returncode == 0, done.stderr
    assert sorted(p.relative_to(two.knowledge) for p in two.knowledge.rglob("*")) == sorted(
        p.relative_to(one.knowledge) for p in one.knowledge.rglob("*")
    )
    assert not state.parent.exists()
    assert two.manage("check").returncode == 0
