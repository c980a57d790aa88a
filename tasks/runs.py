"""Runs jobs, each under a lock of its own name: in a process of its own that is killed when it hangs, or, where the job
is made for it, in a thread (docs/adr/0012).
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import Error, close_old_connections, connection
from django.utils.module_loading import import_string

from backend.environment import child_environment
from backend.jobs import services
from backend.jobs.models import JobRun, RunState
from backend.jobs.table import Job
from tasks.errors import JobBusy, JobFailed
from tasks.locks import Lock, make_lock, process_name
from vectorstore import spans

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.2  # between two looks at a run under way
HOLD_SECONDS = 4.0  # between two looks at its lock
WRITE_AGAIN_SECONDS = (1, 5, 20)  # when the database does not answer at the end of a run
STOPPED = "stopped before it was complete: the process no longer leads, or ends"


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended."""

    state: RunState
    counts: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    interrupted: bool = False


_STOPPED_ENDING = Ending(RunState.FAILED, error=STOPPED, interrupted=True)

_stopping: ContextVar[Callable[[], bool]] = ContextVar("stopping", default=lambda: False)


class _Hold:
    """On a run: until somebody stops it, or its lock is lost."""

    def __init__(self, lock: Lock, stop: threading.Event) -> None:
        self._lock = lock
        self._stop = stop
        self._looked = time.monotonic()
        self._lost = False

    def is_lost(self) -> bool:
        if time.monotonic() - self._looked > HOLD_SECONDS:
            self._looked = time.monotonic()
            self._lost = self._lost or not self._lock.is_held()
        return self._lost or self._stop.is_set()


def stopping() -> bool:
    """For jobs that run in a thread, between two steps: whether to end now."""
    return _stopping.get()()


def run_slot(job: Job, slot: datetime, stop: threading.Event) -> JobRun | None:
    """Run a job for a slot, unless that was taken; a slot that meets a run of the same job under way goes by."""
    try:
        return _perform(job, lambda: services.begin_slot(job, slot, process_name()), stop)
    except JobBusy:
        services.miss_slot(job, slot)
        return None


def run_requested(job: Job, run: JobRun, stop: threading.Event) -> JobRun | None:
    """Run what was asked for, unless another process did. JobBusy when a run of the job is under way."""
    return _perform(job, lambda: services.begin_requested(run, process_name()), stop)


def run_now(job: Job) -> JobRun:
    """Run a job here, as the command line asks for it. JobBusy when a run of it is under way."""
    run = _perform(job, lambda: services.begin_now(job, process_name()), threading.Event())
    if run is None:
        raise JobBusy(f"The job {job.name} is running.")
    return run


def close_interrupted(job: Job) -> None:
    """Note the end of a run whose process is gone, as its lock tells."""
    lock = make_lock(f"job-{job.name}")
    if lock.acquire():
        try:
            services.close_interrupted(job)
        finally:
            lock.release()


def _perform(job: Job, begin: Callable[[], JobRun | None], stop: threading.Event) -> JobRun | None:
    lock = make_lock(f"job-{job.name}", watched=True)
    if not lock.acquire():
        raise JobBusy(f"The job {job.name} is running.")
    try:
        services.close_interrupted(job)
        run = begin()
        if run is None:
            return None
        logger.debug("begun: %s %s attempt %d in a %s", job.name, run.slot, run.attempt, job.place)
        with spans.span(f"job {job.name}", {"footnote.attempt": run.attempt, "footnote.place": job.place}):
            try:
                if job.inside:
                    return _run_inside(job, run, _Hold(lock, stop))
                return _finish(job, run, run_in_process(job, _Hold(lock, stop).is_lost))
            except Exception as error:  # for instance no memory for another process
                logger.exception("the job %s could not be run", job.name)
                return _finish(job, run, Ending(RunState.FAILED, error=f"{type(error).__name__}: {error}"))
    finally:
        lock.release()


def _finish(job: Job, run: JobRun, ending: Ending) -> JobRun | None:
    """Note how it ended. The row of a run whose end could not be written is closed when the job runs next."""
    spans.note({"footnote.state": str(ending.state)})
    if ending.state != RunState.DONE:
        spans.fail(str(ending.state))
    for wait in (*WRITE_AGAIN_SECONDS, None):
        try:
            return services.finish(job, run, ending.state, ending.counts, ending.error, interrupted=ending.interrupted)
        except Error as error:
            logger.error("the end of %s could not be written: %s", job.name, error)
            close_old_connections()
            if wait is not None:
                time.sleep(wait)
    return None


def _run_inside(job: Job, run: JobRun, hold: _Hold) -> JobRun | None:
    """A thread cannot be killed: one that hangs is told to stop, its run is given up, and as long as it lives the job
    is not run again.
    """
    given_up = threading.Event()
    endings: list[Ending] = []

    def work() -> None:
        _stopping.set(given_up.is_set)
        try:
            endings.append(call(job.run))
        finally:
            connection.close()

    thread = threading.Thread(target=spans.carried(work), name=f"job-{job.name}", daemon=True)
    thread.start()
    deadline = time.monotonic() + job.seconds
    while thread.is_alive() and not hold.is_lost() and time.monotonic() < deadline:
        thread.join(LOOK_SECONDS)
    lost = hold.is_lost()
    if thread.is_alive():
        given_up.set()
        thread.join(1.0 if lost else 0.0)
    if endings and (endings[0].state == RunState.DONE or not given_up.is_set()):
        return _finish(job, run, endings[0])
    ended = _finish(job, run, _STOPPED_ENDING if lost else _too_slow(job))
    while thread.is_alive() and not hold.is_lost():
        thread.join(LOOK_SECONDS)
    return ended


def call(path: str) -> Ending:
    """The job boundary: what the function at this dotted path returns, or why it failed."""
    close_old_connections()
    try:
        counts = import_string(path)() or {}
        return Ending(RunState.DONE, json.loads(json.dumps(counts, default=str)))
    except JobFailed as error:
        return Ending(RunState.FAILED, error.counts, str(error))
    except Exception as error:
        logger.exception("%s failed", path)
        return Ending(RunState.FAILED, error=f"{type(error).__name__}: {error}")
    finally:
        close_old_connections()


def run_in_process(job: Job, is_lost: Callable[[], bool]) -> Ending:
    """A process of its own, which is killed with all that it started when it takes too long or `is_lost` says so. It
    hears that this one lives: when that dies or is frozen it ends by itself, before another may have the lock.
    """
    process = subprocess.Popen(  # noqa: S603 (our own command, by this interpreter)
        [sys.executable, "-m", "tasks.child", job.run, spans.traceparent()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=settings.BASE_DIR,
        env=child_environment(),
        start_new_session=True,  # so that what it starts can be killed with it
    )
    said: list[bytes] = []
    assert process.stdin is not None  # noqa: S101 (for the type checker)
    assert process.stdout is not None  # noqa: S101
    os.set_blocking(process.stdin.fileno(), False)  # one that does not listen holds nobody up
    reader = threading.Thread(target=lambda: said.append(process.stdout.read()), daemon=True)  # type: ignore[union-attr]
    reader.start()
    deadline = time.monotonic() + job.seconds
    try:
        while process.poll() is None and not is_lost() and time.monotonic() < deadline:
            with suppress(OSError):  # it has just ended
                os.write(process.stdin.fileno(), b".")
            with suppress(subprocess.TimeoutExpired):
                process.wait(LOOK_SECONDS)
        ended = process.poll() is not None
    finally:
        _kill(process)
    reader.join(5)
    if ended and said and (reply := _read(said[0])):
        return reply
    if ended:
        return Ending(RunState.FAILED, error=f"its process ended with {process.returncode}; the log says more")
    return _STOPPED_ENDING if is_lost() else _too_slow(job)


def _too_slow(job: Job) -> Ending:
    return Ending(RunState.TIMED_OUT, error=f"it was not done after {job.seconds:g} s")


def _read(reply: bytes) -> Ending | None:
    try:
        told = json.loads(reply)
        return Ending(RunState(told["state"]), told["counts"], told["error"])
    except (ValueError, KeyError, TypeError):
        return None


def _kill(process: subprocess.Popen[bytes]) -> None:
    """It and what it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdin:
        process.stdin.close()
