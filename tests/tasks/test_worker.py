"""TASKS=celery: a real broker, a real worker, and the server that only reads what the worker writes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from pytest_django.fixtures import Settings

from backend.environment import BASE_DIR, read_environment
from backend.jobs.models import JobRun, RunState
from backend.jobs.schedules import Every
from backend.jobs.table import all_jobs
from tasks.locks import process_name
from tasks.scheduler import Clock
from tasks.worker import configured, run
from tests.acceptance.conftest import make_server  # noqa: F401 (a fixture)
from tests.acceptance.server import Client, Server
from tests.folder import write
from tests.stores import running_chroma
from tests.tasks.test_leader import Night

PATIENCE = 90.0  # seconds; far above what it takes, so that a busy machine fails nothing
BROKERS = {
    "redis": "redis://127.0.0.1:6379/9",
    "rabbitmq": "amqp://guest:guest@127.0.0.1:5672//",
}
PORTS = {"redis": 6379, "rabbitmq": 5672}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "CELERY_BROKER_URL"),
        ({"CELERY_BROKER_URL": "http://127.0.0.1"}, "CELERY_BROKER_URL"),
        ({"CELERY_BROKER_URL": "redis://127.0.0.1:6379/9"}, "CHROMA_URL"),
    ],
)
def test_what_celery_needs_is_asked_for(monkeypatch: pytest.MonkeyPatch, given: dict[str, str], said: str) -> None:
    for name, value in {"TASKS": "celery", **given}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ImproperlyConfigured, match=said):
        read_environment().require_broker()
    monkeypatch.setenv("TASKS", "inside")
    assert read_environment().require_broker() == ""


@pytest.fixture
def chroma(tmp_path: Path) -> Iterator[str]:
    """A Chroma server of the test's own."""
    with running_chroma(tmp_path) as url:
        yield url


class Worker:
    """`manage.py run_worker QUEUE` beside a server."""

    def __init__(self, server: Server, queue: str) -> None:
        self.log = server.data.with_suffix(f".{queue}.log")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "run_worker", queue],
                cwd=BASE_DIR,
                env=server.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def purge(broker: str) -> None:
    """Take out what an earlier run left."""
    with configured().connection_for_write(broker) as connection:
        for queue in ("ingestion", "mail"):
            with connection.channel() as channel:
                connection.SimpleQueue(queue, channel=channel).clear()


@pytest.mark.acceptance
@pytest.mark.parametrize("kind", BROKERS)
def test_workers_read_the_folder_and_the_server_answers_from_it(
    make_server: Callable[..., Server],  # noqa: F811
    chroma: str,
    kind: str,
) -> None:
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", PORTS[kind])) != 0:
            pytest.skip(f"{kind} does not answer on its usual port")
    broker = BROKERS[kind]
    purge(broker)
    server = make_server(TASKS="celery", CELERY_BROKER_URL=broker, CHROMA_URL=chroma)
    write(server.knowledge, "a.md", "# Leave\n\nParental leave is 16 weeks.\n")
    server.start(wait=False)
    server.wait_until(lambda: "Footnote serves" in server.log.read_text(), "its database")
    worker = Worker(server, "ingestion")
    try:
        server.wait_until(server.is_ready, "ready")
        with Client(server) as client:
            server.wait_until(lambda: client.states() == {"a.md": "indexed"}, "the first file")
            assert client.ask("How long is parental leave?")["outcome"] == "grounded"
            write(server.knowledge, "b.md", "# Office\n\nThe office opens at 8 in the morning.\n")
            server.wait_until(lambda: client.states().get("b.md") == "indexed", "a dropped file")
            assert client.ask("When does the office open?")["citations"][0]["source"] == "b.md"

            worker.kill()
            write(server.knowledge, "c.md", "# Bicycles\n\nBicycles are parked behind the house.\n")
            time.sleep(3)
            assert "c.md" not in client.states(), "nobody is there to read it"
            assert client.ask("How long is parental leave?")["outcome"] == "grounded"
            worker = Worker(server, "ingestion")
            server.wait_until(lambda: client.states().get("c.md") == "indexed", "what was written meanwhile")
            (server.knowledge / "a.md").unlink()
            server.wait_until(lambda: client.states()["a.md"] == "removed", "a deletion")
            assert client.ask("How long is parental leave?")["outcome"] == "abstained"
        refused = server.manage("sync")
        assert refused.returncode == 0, "the worker does it"
    finally:
        worker.kill()
    assert "Traceback" not in worker.log.read_text() + server.log.read_text()


@pytest.mark.acceptance
@pytest.mark.django_db(transaction=True)
def test_the_clock_only_asks_and_a_worker_runs(settings: Settings, tmp_path: Path) -> None:
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", PORTS["redis"])) != 0:
            pytest.skip("Redis does not answer on its usual port")
    broker = BROKERS["redis"]
    purge(broker)
    given = {"TASKS": "celery", "CELERY_BROKER_URL": broker, "CHROMA_URL": "http://127.0.0.1:1"}
    settings.ENV = settings.ENV.model_copy(update={"tasks": "celery"})
    settings.CELERY_BROKER = broker
    expired = replace(all_jobs()["expired"], queue="mail", schedule=Every(2), inside=True)
    clock = Clock({"expired": expired})
    clock.start()
    log = tmp_path / "worker.log"
    with log.open("wb") as stream:
        worker = subprocess.Popen(
            [sys.executable, "manage.py", "run_worker", "mail"],
            cwd=BASE_DIR,
            env=Night(tmp_path, []).environment() | given,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + PATIENCE
        while JobRun.objects.filter(state=RunState.DONE).count() < 2:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        done = list(JobRun.objects.filter(state=RunState.DONE))
        assert len({run.slot for run in done}) == len(done)
        assert process_name() not in {run.runner for run in done}
        repeated = JobRun.objects.filter(state=RunState.DONE).latest("started_at")
        run(str(repeated.pk))
        run(str(repeated.pk).replace(str(repeated.pk)[-4:], "0000"))
        repeated.refresh_from_db()
        assert repeated.attempt == 1, "a message that comes twice does nothing"
    finally:
        clock.stop()
        clock.wait(5)
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("broker", ["redis://127.0.0.1:1/0", "amqp://guest:secret-word@127.0.0.1:1//"])
def test_a_broker_that_is_down_has_taken_nothing(tmp_path: Path, broker: str) -> None:
    """In a process of its own: connections to a broker are kept."""
    program = (
        "import django, uuid; django.setup(); from tasks.worker import send; print(send('run', 'mail', uuid.uuid4()))"
    )
    given = {"TASKS": "celery", "CELERY_BROKER_URL": broker, "CHROMA_URL": "http://127.0.0.1:1"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=BASE_DIR,
        env=Night(tmp_path, []).environment() | given,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert done.stdout == "False\n"
    assert "the broker does not answer" in done.stderr
    assert "secret-word" not in done.stderr
