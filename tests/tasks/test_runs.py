"""One run of a job: how it ends, and who is told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from django.db import OperationalError, connection
from django.db.backends.signals import connection_created
from django.utils import timezone
from pytest_django.fixtures import Settings

from backend.environment import BASE_DIR
from backend.jobs import services
from backend.jobs.models import JobRecord, JobRun, RunState, Trigger
from backend.jobs.schedules import Every, parse_cron
from backend.jobs.table import Job
from backend.outbox.models import Mail
from tasks import runs, scheduler
from tasks.errors import JobBusy
from tasks.leader import Candidate
from tasks.locks import make_lock
from tasks.scheduler import Clock
from tests.waiting import wait_for

pytestmark = pytest.mark.django_db(transaction=True)

HOURLY = parse_cron("0 * * * *", ZoneInfo("UTC"))
NINE = datetime(2026, 5, 1, 9, tzinfo=UTC)


def job(name: str, *, seconds: float = 20, retries: int = 0, inside: bool = False) -> Job:
    """A job of tests/tasks/probe.py."""
    return Job(name, "does what a test wants", f"tests.tasks.probe.{name}", HOURLY, seconds, retries, inside)


def run(wanted: Job, slot: datetime = NINE) -> JobRun | None:
    return runs.run_slot(wanted, slot, threading.Event())


@pytest.fixture
def probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PROBE", str(tmp_path / "lines"))
    return tmp_path / "lines"


@pytest.fixture
def admins(settings: Settings) -> None:
    settings.ENV = settings.ENV.model_copy(update={"admin_emails": ["one@example.org", "two@example.org"]})


@pytest.mark.parametrize("inside", [True, False])
def test_a_slot_is_run_once(probe: Path, inside: bool) -> None:
    tick = job("tick", inside=inside)
    first = run(tick)
    assert first is not None
    assert (first.state, first.counts, first.error, first.attempt) == (RunState.DONE, {"ticks": 1}, "", 1)
    assert (first.slot, first.trigger) == (NINE, Trigger.CLOCK)
    assert first.started_at is not None
    assert first.ended_at is not None
    assert first.started_at < first.ended_at
    assert run(tick) is None
    assert len(probe.read_text().splitlines()) == 1
    record = JobRecord.objects.get()
    assert (record.done, record.failed, record.last_success_at) == (1, 0, first.ended_at)


@pytest.mark.parametrize("inside", [True, False])
def test_a_job_that_fails_says_why(inside: bool) -> None:
    first = run(job("fail", inside=inside))
    assert first is not None
    assert (first.state, first.error) == (RunState.FAILED, "ValueError: as the test wants")
    counted = run(job("fail_with_counts", inside=inside))
    assert counted is not None
    assert (counted.state, counted.counts, counted.error) == (
        RunState.FAILED,
        {"half": 1},
        "half of it could not be done",
    )


def test_what_a_job_prints_and_a_death_are_no_answer() -> None:
    printed, dead = run(job("print_much")), run(job("die"))
    assert printed is not None
    assert (printed.state, printed.counts) == (RunState.DONE, {"printed": 1})
    assert dead is not None
    assert (dead.state, dead.error) == (RunState.FAILED, "its process ended with -9; the log says more")


def test_a_process_that_hangs_is_killed_with_what_it_started(probe: Path) -> None:
    ended = run(job("sleep_for_ever", seconds=6))
    assert ended is not None
    assert (ended.state, ended.error) == (RunState.TIMED_OUT, "it was not done after 6 s")
    wait_for(lambda: not alive(int(probe.read_text())), "its child's end")


def test_a_thread_that_hangs_is_told_and_given_up() -> None:
    ended = run(job("nap", seconds=0.5, inside=True))
    assert ended is not None
    assert ended.state == RunState.TIMED_OUT
    assert not any(thread.name == "job-nap" for thread in threading.enumerate())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_what_runs_ends_with_the_process_that_wanted_it(probe: Path, number: int) -> None:
    program = """
import django, threading
django.setup()
from tests.tasks.test_runs import job, runs
runs.run_in_process(job("sleep_for_ever", seconds=600), lambda: False)
"""
    process = subprocess.Popen([sys.executable, "-c", program], cwd=BASE_DIR, env=os.environ | {"PROBE": str(probe)})
    wait_for(probe.exists, "the job's child")
    try:
        process.send_signal(number)
        wait_for(lambda: not alive(int(probe.read_text())), "the end of what the job started")
    finally:
        process.kill()
        process.wait()


def alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@pytest.mark.usefixtures("admins")
def test_a_stopped_run_is_tried_again_and_nobody_is_told() -> None:
    stop = threading.Event()
    stop.set()
    ended = runs.run_slot(job("sleep_for_ever", retries=1), NINE, stop)
    assert ended is not None
    assert (ended.state, ended.attempt, ended.error) == (RunState.REQUESTED, 1, runs.STOPPED)
    assert not Mail.objects.exists()


@pytest.mark.usefixtures("admins")
def test_retries_come_after_growing_pauses_and_keep_the_row() -> None:
    failing = job("fail", retries=2, inside=True)
    pauses = []
    ended = run(failing)
    while ended is not None and ended.state == RunState.REQUESTED:
        assert ended.ended_at is not None
        pauses.append(ended.not_before - ended.ended_at)
        assert not Mail.objects.exists(), "not before it is given up"
        ended = runs.run_requested(failing, ended, threading.Event())
    assert ended is not None
    assert (ended.state, ended.attempt) == (RunState.FAILED, 3)
    assert pauses == [timedelta(minutes=1), timedelta(minutes=4)]
    assert JobRun.objects.count() == 1
    assert Mail.objects.count() == 2


@pytest.mark.usefixtures("admins")
def test_admins_are_told_once_of_a_streak_and_once_when_it_is_over(probe: Path) -> None:
    failing = job("fail", inside=True)
    for hour in range(5):
        run(failing, NINE + timedelta(hours=hour))
    mails = list(Mail.objects.order_by("to"))
    assert [(mail.kind, mail.to) for mail in mails] == [
        ("job_failed", "one@example.org"),
        ("job_failed", "two@example.org"),
    ]
    assert mails[0].subject == "Footnote: the job fail fails"
    assert "ValueError: as the test wants" in mails[0].text
    assert "ValueError: as the test wants" in mails[0].html
    assert JobRecord.objects.get().failing_since == JobRun.objects.get(slot=NINE).ended_at
    works = replace(failing, run="tests.tasks.probe.tick")
    for hour in range(5, 8):
        run(works, NINE + timedelta(hours=hour))
    assert list(Mail.objects.filter(kind="job_works_again").order_by("to").values_list("to", flat=True)) == [
        "one@example.org",
        "two@example.org",
    ]
    assert JobRecord.objects.get().failing_since is None
    run(failing, NINE + timedelta(hours=8))
    assert Mail.objects.filter(kind="job_failed").count() == 4, "another streak"


def test_a_job_runs_once_at_a_time(probe: Path) -> None:
    tick = job("tick", inside=True)
    lock = make_lock("job-tick")
    assert lock.acquire()
    with pytest.raises(JobBusy):
        runs.run_now(tick)
    assert run(tick) is None
    missed = JobRun.objects.get()
    assert (missed.state, missed.slot, missed.counts) == (RunState.MISSED, NINE, {"slots": 1})
    lock.release()
    assert runs.run_now(tick).state == RunState.DONE
    assert JobRecord.objects.get().missed == 1


def test_what_was_missed_is_one_row_and_is_made_up_by_one_run(probe: Path) -> None:
    tick = job("tick", inside=True)
    run(tick, NINE)
    run(tick, NINE + timedelta(hours=5))
    rows = {row.slot: row for row in JobRun.objects.all()}
    assert {slot: row.state for slot, row in rows.items()} == {
        NINE: RunState.DONE,
        NINE + timedelta(hours=4): RunState.MISSED,
        NINE + timedelta(hours=5): RunState.DONE,
    }
    assert rows[NINE + timedelta(hours=4)].counts == {"slots": 4}
    assert JobRecord.objects.get().missed == 4


def test_a_row_that_a_dead_process_left_is_closed(probe: Path) -> None:
    tick = job("tick", inside=True)
    left = services.begin_slot(tick, NINE, "gone:1")
    assert left is not None
    assert run(tick, NINE + timedelta(hours=1)) is not None
    left.refresh_from_db()
    assert (left.state, left.error) == (RunState.FAILED, services.INTERRUPTED)
    again = replace(tick, retries=1)
    left = services.begin_slot(again, NINE + timedelta(hours=2), "gone:1")
    runs.close_interrupted(again)
    assert left is not None
    left.refresh_from_db()
    assert left.state == RunState.REQUESTED
    assert services.finish(again, left, RunState.DONE) is None, "a late word of the process that was given up"


def test_the_clock_makes_up_for_what_went_by_and_takes_requests(probe: Path) -> None:
    tick = job("tick", inside=True)
    due = HOURLY.latest(timezone.now())
    JobRun.objects.create(job="tick", slot=due - timedelta(hours=30), state=RunState.DONE)
    never = replace(tick, name="never")
    off = replace(tick, name="off", schedule=None)
    asked = JobRun.objects.create(job="off", trigger=Trigger.API)
    later = JobRun.objects.create(job="off", slot=due, not_before=timezone.now() + timedelta(hours=1))
    unknown = JobRun.objects.create(job="unknown", trigger=Trigger.API)
    left = services.begin_slot(replace(tick, name="left"), due, "gone:1")
    assert left is not None
    clock = Clock({"tick": tick, "never": never, "off": off, "left": replace(tick, name="left")})
    clock.start()
    try:
        wait_for(lambda: JobRun.objects.filter(job="tick", slot=due, state=RunState.DONE).exists(), "the missed slot")
        wait_for(lambda: JobRun.objects.get(pk=asked.pk).state == RunState.DONE, "the requested run")
        wait_for(lambda: JobRun.objects.get(pk=left.pk).state == RunState.FAILED, "the end of what a dead one left")
    finally:
        clock.stop()
        clock.wait(5)
    states = dict(JobRun.objects.filter(pk__in=[later.pk, unknown.pk]).values_list("pk", "state"))
    assert set(states.values()) == {RunState.REQUESTED}
    if due == HOURLY.latest(timezone.now()):  # no hour began meanwhile
        assert not JobRun.objects.filter(job="never").exists(), "what never ran waits for its time"


def test_a_slot_that_cannot_be_begun_is_begun_when_the_database_answers(
    probe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "BEGIN_AGAIN_SECONDS", 0.05)
    refused: list[str] = []

    def refuse(**about: object) -> None:
        if threading.current_thread().name.startswith("job") and len(refused) < 3:
            refused.append(threading.current_thread().name)
            raise OperationalError("sorry, too many clients already")

    due = HOURLY.latest(timezone.now())
    JobRun.objects.create(job="tick", slot=due - timedelta(hours=1), state=RunState.DONE)
    connection_created.connect(refuse)
    clock = Clock({"tick": job("tick", inside=True)})
    clock.start()
    try:
        wait_for(lambda: JobRun.objects.filter(slot__gte=due, state=RunState.DONE).exists(), "the slot's run")
    finally:
        connection_created.disconnect(refuse)
        clock.stop()
        clock.wait(5)
    assert len(refused) == 3


def test_a_run_whose_process_cannot_be_made_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    ended = run(job("tock"))
    assert ended is not None
    assert (ended.state, ended.error) == (
        RunState.FAILED,
        "FileNotFoundError: [Errno 2] No such file or directory: '/nowhere/python'",
    )
    assert run(job("tock"), NINE + timedelta(hours=1)) is not None, "its lock was given back"


def test_jobs_go_on_when_the_clock_is_set_back(probe: Path) -> None:
    """A clock that was set back by an hour finds all it had planned an hour away."""
    often = Job("tick", "", "tests.tasks.probe.tick", Every(0.5), 20, inside=True)
    table = {"tick": often, "off": replace(often, name="off", schedule=None)}
    clocks: list[Clock] = []
    ahead = [0.0]

    def make_clock() -> Clock:
        clocks.append(Clock(table))
        return clocks[-1]

    candidate = Candidate(make_clock, lambda: time.time() + ahead[0])
    candidate.start()
    try:
        wait_for(lambda: JobRun.objects.filter(state=RunState.DONE).exists(), "a first run")
        for planned in ("tick", "requests"):
            clocks[0].scheduler.modify_job(planned, next_run_time=timezone.now() + timedelta(hours=1))
        time.sleep(1)  # what was under way
        before = JobRun.objects.count()
        asked = JobRun.objects.create(job="off", trigger=Trigger.API)
        ahead[0] = -3600.0
        wait_for(lambda: JobRun.objects.filter(slot__isnull=False).count() > before + 1, "runs by the clock")
        wait_for(lambda: JobRun.objects.get(pk=asked.pk).state == RunState.DONE, "the requested run")
    finally:
        candidate.stop(10)
    assert len(clocks) == 1, "it has led all the time"
    begun = JobRun.objects.exclude(state__in=(RunState.MISSED, RunState.REQUESTED)).count()
    assert len(probe.read_text().splitlines()) <= begun, "no slot was run twice"


def test_slots_that_come_during_a_run_go_by(probe: Path) -> None:
    busy = Job("tick", "", "tests.tasks.probe.tick", Every(0.1), 20, inside=True)
    clock = Clock({"tick": busy})
    clock.start()
    try:
        wait_for(lambda: JobRun.objects.filter(state=RunState.DONE).count() >= 3, "three runs")
    finally:
        clock.stop()
        clock.wait(5)
    assert JobRecord.objects.get().missed > 0
    assert JobRun.objects.filter(state=RunState.MISSED).count() <= JobRun.objects.exclude(state=RunState.MISSED).count()


def test_a_database_that_comes_back_gets_the_end_of_the_run(
    probe: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(runs, "WRITE_AGAIN_SECONDS", (0.01, 0.01))
    tick = job("tick", inside=True)
    begun = services.begin_slot(tick, NINE, "here:1")
    assert begun is not None
    refusals = iter([True, True])

    def refuse(execute: Callable[..., object], *arguments: object) -> object:
        if next(refusals, False):
            raise OperationalError("the database is starting up")
        return execute(*arguments)

    with connection.execute_wrapper(refuse):
        ended = runs._finish(tick, begun, runs.Ending(RunState.DONE))
    assert ended is not None
    assert ended.state == RunState.DONE
