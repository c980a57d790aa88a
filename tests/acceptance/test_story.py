"""The main job, as a newcomer does it: sign up, ask, drop a PDF, ask again, delete it; all over HTTP."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable

import pytest

from backend.environment import BASE_DIR
from tests.acceptance.server import Client, Server, serving
from tests.folder import write, write_pdf

pytestmark = pytest.mark.acceptance


def test_the_story(make_server: Callable[..., Server]) -> None:
    server = make_server()
    write_pdf(
        server.knowledge, "rules.pdf", ["Cover page of the house rules.", "Bicycles are parked behind the house."]
    )
    write(server.knowledge, "handbook.md", "# Handbook\n\n## Leave\n\nParental leave is 16 weeks, paid in full.\n")
    write(server.knowledge, "faq.csv", "question,answer\nHow do I reset my password?,Open Settings and press Reset.\n")
    with serving(server), Client(server) as client:
        pdf = client.ask("Where are bicycles parked?")
        assert (pdf["outcome"], pdf["citations"][0]["source"], pdf["citations"][0]["page"]) == (
            "grounded",
            "rules.pdf",
            2,
        )
        assert pdf["citations"][0]["quote"] == "Bicycles are parked behind the house."
        page = client.ask("How long is parental leave?", conversation_id=pdf["conversation_id"])
        assert page["citations"][0]["heading"] == ["Handbook", "Leave"]
        faq = client.ask("How can I reset my password?")
        assert faq["answer"] == "Open Settings and press Reset. [1]"
        off_topic = client.ask("What is the boiling point of tungsten?")
        assert (off_topic["outcome"], off_topic["citations"]) == ("abstained", [])

        dropped = write_pdf(server.knowledge, "telescope.pdf", ["The telescope on the roof was built in 1887."])
        server.wait_until(lambda: client.states().get("telescope.pdf") == "indexed", "the dropped PDF")
        answer = client.ask("When was the telescope built?")
        assert "1887" in answer["answer"]
        assert (answer["citations"][0]["source"], answer["citations"][0]["page"]) == ("telescope.pdf", 1)

        dropped.unlink()
        answer = client.ask("When was the telescope built?")
        assert "built in 1887" not in str(answer), "at once, not when the watcher has seen it"
        server.wait_until(lambda: client.states()["telescope.pdf"] == "removed", "the deleted PDF")
        assert "built in 1887" not in str(client.ask("When was the telescope built?"))

        history = client.get("/chat-history").json()
        assert history["count"] == 6
        assert [m["role"] for m in history["results"][-1]["messages"]] == ["user", "assistant", "user", "assistant"]
        with Client(server, "paul") as other:
            assert other.get("/chat-history").json()["count"] == 0

        with client.stream("POST", "/chat", json={"message": "Where are bicycles parked?", "stream": True}) as stream:
            events = [line.removeprefix("event: ") for line in stream.iter_lines() if line.startswith("event: ")]
        assert (events[0], events[-1]) == ("meta", "done")
        assert {"token", "citation"} <= set(events)


def test_the_story_holds_without_a_network() -> None:
    """Once more in a network namespace that has nothing but loopback."""
    if not shutil.which("unshare") or subprocess.run(["unshare", "-rn", "true"], check=False).returncode:
        pytest.skip("this machine lets nobody make a network namespace")
    command = f'ip link set lo up && exec "{sys.executable}" -m pytest -q -p no:cacheprovider "$0"'
    story = f"{__file__}::test_the_story"
    done = subprocess.run(
        ["unshare", "-rn", "sh", "-c", command, story], cwd=BASE_DIR, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
