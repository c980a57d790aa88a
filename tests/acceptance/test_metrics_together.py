"""GET /metrics of a server with two workers: the same whoever answers, also after one of them was killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from backend.environment import Environment
from tests.acceptance.server import Client, Server, serving
from tests.folder import write

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.skipif("web_workers" not in Environment.model_fields, reason="this server has one process"),
]


def scrape(server: Server) -> dict[tuple[str, ...], float]:
    """Over a connection of its own, so that any worker may answer."""
    text = httpx.get(f"{server.url}/metrics", timeout=30).raise_for_status().text
    samples = [one for family in text_string_to_metric_families(text) for one in family.samples]
    found = {(one.name, *one.labels.values()): one.value for one in samples}
    assert len(found) == len(samples), "nothing is told twice"
    return found


def test_every_worker_tells_of_all(make_server: Callable[..., Server], chroma_server: str) -> None:
    server = make_server(WEB_WORKERS="2", CHROMA_URL=chroma_server)
    write(server.knowledge, "a.md", "# Leave\n\nParental leave is 16 weeks.\n")
    with serving(server), Client(server) as client:
        server.wait_until(lambda: client.states() == {"a.md": "indexed"}, "the first sync")
        headers = {"Authorization": client.headers["Authorization"]}
        question = {"message": "How long is parental leave?"}
        for _ in range(12):
            answer = httpx.post(f"{server.url}/chat", json=question, headers=headers, timeout=30)
            assert answer.json()["outcome"] == "grounded", answer.text
        for _ in range(6):
            found = scrape(server)
            assert found["footnote_chat_answers_total", "grounded"] == 12
            assert found["footnote_http_request_seconds_count", "POST", "chat", "200"] == 12
            assert found["footnote_chat_seats_taken",] == 0
            assert found["footnote_leader",] == 1
            assert found["footnote_sources", "indexed"] == 1
        processes = {key[1] for key in found if key[0] == "footnote_process_resident_memory_bytes"}
        assert server.process is not None
        workers = processes - {str(server.process.pid)}
        assert len(workers) == 2
        if not Path("/proc").exists():
            pytest.skip("processes are told of on Linux only")
        killed = workers.pop()
        os.kill(int(killed), signal.SIGKILL)

        def is_replaced() -> bool:
            now = {key[1] for key in scrape(server) if key[0] == "footnote_process_resident_memory_bytes"}
            return len(now) == 3 and killed not in now

        server.wait_until(is_replaced, "another worker in its place")
        assert scrape(server)["footnote_chat_answers_total", "grounded"] == 12
        assert server.interrupt() == 0
