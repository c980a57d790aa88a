"""GET /metrics of a server of several processes: whoever is asked tells of all."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import pytest

from backend.environment import BASE_DIR, as_unset, child_environment

# A master that forks two, as gunicorn does. Each line that it is sent is a child that is to end, or a question.
SERVER = """
import json, os, sys
from pathlib import Path
from backend.api import counting
counting.share(Path(os.environ["DATA_DIR"]))
import django; django.setup()
import backend.urls
from backend.api.metrics import forget_process, scraped
from backend.api.requests import SECONDS
from backend.chat.metrics import ANSWERS, SEATS
from backend.environment import child_environment, shared_counts
from backend.jobs.leading import leading

children = []
for number in (2, 3):
    done_read, done = os.pipe()
    end, end_write = os.pipe()
    if (pid := os.fork()) == 0:
        for other in (end_write, *(earlier for _, earlier in children)):
            os.close(other)
        ANSWERS.labels("grounded").inc(number)
        SEATS.inc(number)
        SECONDS.labels("GET", "me", 200).observe(number)
        if number == 2:
            leading.set()
        os.write(done, b".")
        os.read(end, 1)
        os._exit(0)
    os.close(end)
    os.read(done_read, 1)
    children.append((pid, end_write))

for line in sys.stdin:
    if line == "end one\\n":
        pid, end_write = children.pop(0)
        os.close(end_write)
        os.waitpid(pid, 0)
        forget_process(pid)
    samples = [(one.name, one.labels, one.value) for metric in scraped.collect() for one in metric.samples]
    inherits = "PROMETHEUS_MULTIPROC_DIR" in child_environment()
    told = {"samples": samples, "folder": str(shared_counts()), "inherits": inherits, "pids": len(children) + 1}
    print(json.dumps(told), flush=True)
"""


class Running:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.stdin: IO[str] = process.stdin
        self.stdout: IO[str] = process.stdout

    def ask(self, line: str = "tell") -> None:
        self.stdin.write(f"{line}\n")
        self.stdin.flush()
        told = json.loads(self.stdout.readline())
        self.folder, self.inherits, self.pids = Path(told["folder"]), told["inherits"], told["pids"]
        self.samples = {(name, *labels.values()): value for name, labels, value in told["samples"]}
        assert len(self.samples) == len(told["samples"]), "nothing is told twice"


@contextmanager
def running(data: Path) -> Iterator[Running]:
    data.mkdir(exist_ok=True)
    values = {"DATA_DIR": str(data), "DJANGO_SETTINGS_MODULE": "backend.settings", "LOG_LEVEL": "ERROR"}
    environment = child_environment(**as_unset() | values)
    command = [sys.executable, "-c", SERVER]
    with subprocess.Popen(
        command, cwd=BASE_DIR, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Running(process)
        finally:
            process.kill()
            assert process.stdout is not None
            process.stdout.read()  # until its children have ended too


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path / "data") as process:
        yield process


def test_a_scrape_adds_up_what_all_processes_counted(server: Running) -> None:
    server.ask()
    found = server.samples
    assert found["footnote_chat_answers_total", "grounded"] == 5
    assert found["footnote_chat_seats_taken",] == 5
    assert found["footnote_leader",] == 1
    assert found["footnote_http_request_seconds_count", "GET", "me", "200"] == 2
    assert found["footnote_http_request_seconds_sum", "GET", "me", "200"] == 5
    assert found["footnote_http_request_seconds_bucket", "GET", "me", "200", "2.5"] == 1
    assert found["footnote_metrics_read", "jobs"] == 0, "there is no database; asked once, by who is asked"
    assert len([key for key in found if key[0] == "footnote_process_resident_memory_bytes"]) == 3, "with the master"
    assert not server.inherits, "what a server starts does not count with it"


def test_of_a_process_that_ended_only_what_it_counted_stays(server: Running) -> None:
    server.ask("end one")
    found = server.samples
    assert found["footnote_chat_answers_total", "grounded"] == 5
    assert found["footnote_chat_seats_taken",] == 3
    assert found["footnote_leader",] == 0
    assert len([key for key in found if key[0] == "footnote_process_resident_memory_bytes"]) == server.pids == 2


def test_what_ended_servers_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with ExitStack() as stack:
        first = stack.enter_context(running(data))
        first.ask()
        with running(data) as second:
            second.ask()
            assert second.folder != first.folder
        first.ask()
        assert first.samples["footnote_chat_answers_total", "grounded"] == 5
        assert second.folder.exists()
        with running(data) as third:
            third.ask()
            assert not second.folder.exists()
            assert first.folder.exists()
