"""Several processes, one leader: a slot is run once, and another takes over when it dies, hangs or is cut off."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from django.db import connection

from backend.environment import BASE_DIR, as_unset
from backend.jobs.models import JobRun, Leader, RunState
from tasks.locks import SILENCE_SECONDS, make_lock

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.acceptance]

PATIENCE = 60.0  # seconds; far above what it takes, so that a busy machine fails nothing
TAKE_OVER = 30.0  # seconds that a take-over may take


@dataclass(frozen=True, slots=True)
class Line:
    """One run of a probe, as it says itself."""

    job: str
    leader: int
    began: float
    ended: float


@dataclass
class Night:
    """Processes that would run the jobs of `tests.tasks.probe` over the test's database."""

    folder: Path
    processes: list[subprocess.Popen[bytes]]

    def start(self) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.tasks.probe"],
                cwd=BASE_DIR,
                env=self.environment(),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def environment(self) -> dict[str, str]:
        settings = connection.settings_dict
        name = settings["NAME"]
        if connection.vendor == "sqlite":
            url = f"sqlite:///{name}"
        else:
            login = f"{settings['USER']}:{settings['PASSWORD']}@" if settings["USER"] else ""
            url = f"postgresql://{login}{settings['HOST']}{':' if settings['PORT'] else ''}{settings['PORT']}/{name}"
        given = {
            "DATABASE_URL": url,
            "DATA_DIR": str(self.folder),
            "KNOWLEDGE_DIR": str(self.folder),
            "PROBE": str(self.folder / "lines"),
            "DJANGO_SETTINGS_MODULE": "backend.settings",
        }
        return os.environ | as_unset() | given

    def lines(self) -> list[Line]:
        path = self.folder / "lines"
        rows = [row.split() for row in path.read_text().splitlines()] if path.exists() else []
        return [Line(job, int(leader), float(began), float(ended)) for job, leader, began, ended in rows]

    def wait_until(self, condition: Callable[[], bool], what: str) -> float:
        started = time.monotonic()
        while not condition():
            waited = time.monotonic() - started
            assert waited < PATIENCE, f"not within {PATIENCE:.0f} s: {what}\n{(self.folder / 'log').read_text()}"
            time.sleep(0.05)
        return time.monotonic() - started

    def leader(self) -> subprocess.Popen[bytes]:
        """The process that leads, once there is one and it has run something."""
        self.wait_until(lambda: bool(self.lines()), "a first run")
        pid = self.lines()[-1].leader
        return next(process for process in self.processes if process.pid == pid)

    def take_over_from(self, old: int) -> float:
        """Seconds until another process runs something."""
        return self.wait_until(lambda: self.lines()[-1].leader != old, "a take-over")

    def end(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@pytest.fixture
def night(tmp_path: Path) -> Iterator[Night]:
    made = Night(tmp_path, [])
    yield made
    made.end()


def check_slots(night: Night, frozen: tuple[int, float, float] | None = None) -> None:
    """Each slot has one row, each row that is done one run, and no two runs of a job overlap.

    frozen: a leader, and the times between which it was. A thread of it that was at work then ends what it was at when
    its process is let go on, as nothing outside can end it: that one run of a job that runs in a thread may overlap.
    """
    done = Counter(JobRun.objects.filter(state=RunState.DONE).values_list("job", flat=True))
    begun = Counter(line.job for line in night.lines())
    for name in ("tick", "tock"):
        assert begun[name] >= done[name] > 0
        # A run whose leader died after its line was written and before its row was.
        assert begun[name] - done[name] <= JobRun.objects.filter(job=name).exclude(state=RunState.DONE).count()
        lines = sorted((line for line in night.lines() if line.job == name), key=lambda line: line.began)
        if frozen and name == "tick":
            leader, stopped, resumed = frozen
            cut = [line for line in lines if line.leader == leader and line.began < stopped and line.ended > resumed]
            assert len(cut) <= 1
            lines = [line for line in lines if line not in cut]
        for before, after in itertools.pairwise(lines):
            assert before.ended <= after.began, (before, after)


def test_three_processes_run_each_slot_once_also_when_the_leader_is_killed(night: Night) -> None:
    for _ in range(3):
        night.start()
    first = night.leader()
    night.wait_until(lambda: JobRun.objects.filter(job="tock", state=RunState.DONE).exists(), "both jobs")
    assert Leader.objects.get().name.endswith(f":{first.pid}")
    assert {line.leader for line in night.lines()} == {first.pid}
    os.kill(first.pid, signal.SIGKILL)
    assert night.take_over_from(first.pid) < TAKE_OVER
    second = night.leader()
    night.start()
    second.terminate()
    assert second.wait(PATIENCE) == 0
    assert night.take_over_from(second.pid) < TAKE_OVER
    third = night.lines()[-1].leader
    night.wait_until(lambda: ("tock", third) in {(line.job, line.leader) for line in night.lines()}, "its tock")
    night.end()
    check_slots(night)


def test_a_leader_that_is_frozen_or_cut_off_is_replaced(night: Night) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("a locked file is held as long as its process lives")
    night.start()
    first = night.leader()
    night.start()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database"
            " WHERE locktype = 'advisory' AND datname = current_database()"
        )
    night.wait_until(lambda: "no longer runs the jobs" in (night.folder / "log").read_text(), "the loss")
    after_the_loss = time.time() + 5
    night.wait_until(lambda: night.lines()[-1].began > after_the_loss, "a run after it")
    leading = night.leader()
    other = next(process for process in night.processes if process is not leading)
    os.kill(leading.pid, signal.SIGSTOP)
    stopped = time.time()
    try:
        assert night.take_over_from(leading.pid) < SILENCE_SECONDS + 10
    finally:
        let_go = time.time()
        os.kill(leading.pid, signal.SIGCONT)
    resumed = let_go + 3
    night.wait_until(lambda: night.lines()[-1].began > resumed, "runs after it came back")
    assert {line.leader for line in night.lines() if line.began > resumed} == {other.pid}
    assert first in (leading, other)
    night.wait_until(
        lambda: JobRun.objects.filter(job="tock", state=RunState.DONE).exists(), "a run in its own process"
    )
    night.end()
    check_slots(night, (leading.pid, stopped, let_go))


def test_a_lock_is_held_by_one_and_ends_with_it() -> None:
    one, other = make_lock("test"), make_lock("test")
    assert one.acquire()
    assert one.is_held()
    assert not other.acquire()
    assert not other.is_held()
    assert make_lock("another").acquire()
    one.release()
    one.release()
    assert other.acquire()
    other.release()


def test_a_lock_that_was_given_up_is_free_at_once() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("files have no server that ends sessions later")
    held = "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database"
    lock = make_lock("test")
    with connection.cursor() as cursor:
        for _ in range(100):
            assert lock.acquire()
            lock.release()
            cursor.execute(held + " WHERE locktype = 'advisory' AND datname = current_database()")
            assert cursor.fetchone() == (0,)


def test_a_lock_whose_connection_is_gone_is_not_held() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("files have no connection")
    lock = make_lock("test", watched=True)
    assert lock.acquire()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database"
            " WHERE locktype = 'advisory' AND datname = current_database()"
        )
    assert not lock.is_held()
    assert lock.acquire(), "and can be had again"
    lock.release()
