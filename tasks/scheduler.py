"""The clock of the process that leads: APScheduler says when, tasks/runs.py runs.

Whatever the number of processes, a slot is run once: one process leads (tasks/leader.py), and the row of a slot can be
made once. What went by while nobody led is made up by one run, of the latest slot.
"""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import psycopg
from apscheduler.executors.base import BaseExecutor
from apscheduler.job import Job as Entry
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger
from django.conf import settings
from django.db import Error, close_old_connections, connection
from django.db.models import Q
from django.utils import timezone

from backend.jobs import services
from backend.jobs.models import JobRun, RunState
from backend.jobs.schedules import Schedule
from backend.jobs.table import Job
from tasks import runs
from tasks.errors import JobBusy
from tasks.locks import process_name

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0  # between two looks for runs that were asked for
BEGIN_AGAIN_SECONDS = 3.0  # between two tries to begin a run, when the database does not answer
INTERRUPTED_LOOKS = 15  # so many looks pass between two searches for runs whose process died


class Clock:
    """Runs the jobs of a table until it is stopped."""

    def __init__(self, table: dict[str, Job]) -> None:
        self.table = table
        self._stop = threading.Event()
        self._looks = 0
        self._began = timezone.now()
        self._pool = ThreadPoolExecutor(max(1, 2 * len(table)), thread_name_prefix="job")
        self._requested: set[Any] = set()
        self._sent: dict[Any, float] = {}
        self.scheduler = BackgroundScheduler(
            timezone="UTC",
            executors={"default": {"type": "threadpool", "max_workers": 1}, "slots": _Slots(self._pool, self._stop)},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )

    def start(self) -> None:
        """Begin, with what went by since the last slot that is known."""
        now = timezone.now()
        for job in self.table.values():
            if job.schedule is not None:
                self.scheduler.add_job(
                    _nothing,
                    _Slotted(job.schedule),
                    args=[job],
                    id=job.name,
                    executor="slots",
                    next_run_time=_first(job, job.schedule, now),
                )
        self.scheduler.add_job(self._look, "interval", seconds=LOOK_SECONDS, id="requests", misfire_grace_time=1)
        self.scheduler.start()
        # APScheduler tells every run in three lines; the rows and our own log say it.
        logging.getLogger("apscheduler").setLevel(logging.ERROR)

    def follow_set_back(self) -> None:
        """The machine's clock was set back: look anew for what is due. A slot that was run is not run again."""
        now = timezone.now()
        for job in self.table.values():
            if job.schedule is not None:
                self.scheduler.modify_job(job.name, next_run_time=_first(job, job.schedule, now))
        self.scheduler.modify_job("requests", next_run_time=now)

    def stop(self) -> None:
        """Begin nothing more, and end what runs."""
        self._stop.set()
        if self.scheduler.running:
            self.scheduler.shutdown(wait=False)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def wait(self, seconds: float) -> None:
        """Until the runs under way have ended, at most so long."""
        waiting = threading.Thread(target=self._pool.shutdown, daemon=True)
        waiting.start()
        waiting.join(seconds)

    def _look(self) -> None:
        """Begin what was asked for, and what is to be tried again; now and then, note runs whose process died."""
        close_old_connections()
        try:
            if self._looks % INTERRUPTED_LOOKS == 0:
                self._close_interrupted()
            self._looks += 1
            due = JobRun.objects.filter(state=RunState.REQUESTED, not_before__lte=timezone.now())
            for run in due.order_by("not_before"):
                if run.job not in self.table or self._stop.is_set():
                    continue
                if is_sent(self.table[run.job]):
                    self._send(self.table[run.job], run)
                elif run.pk not in self._requested:
                    self._requested.add(run.pk)
                    self._pool.submit(self._run_requested, self.table[run.job], run)
        except (Error, psycopg.Error) as error:
            logger.error("jobs that were asked for: the database does not answer: %s", error)
        finally:
            close_old_connections()

    def _send(self, job: Job, run: JobRun) -> None:
        """To a worker; again after a while, as long as none has begun it: the broker may forget."""
        from tasks.worker import SEND_AGAIN_SECONDS, send

        now = time.monotonic()
        if now - self._sent.get(run.pk, float("-inf")) >= SEND_AGAIN_SECONDS and send("run", job.queue, run.pk):
            self._sent = {pk: at for pk, at in self._sent.items() if now - at < SEND_AGAIN_SECONDS} | {run.pk: now}

    def _run_requested(self, job: Job, run: JobRun) -> None:
        try:
            runs.run_requested(job, run, self._stop)
        except JobBusy:
            pass  # it is looked at again
        except Exception:
            logger.exception("a run of %s that was asked for could not be begun", job.name)
        finally:
            self._requested.discard(run.pk)
            connection.close()

    def _close_interrupted(self) -> None:
        mine = Q(runner=process_name(), started_at__gte=self._began)
        for name in JobRun.objects.filter(state=RunState.RUNNING).exclude(mine).values_list("job", flat=True):
            if name in self.table:
                runs.close_interrupted(self.table[name])


def is_sent(job: Job) -> bool:
    """Whether a worker runs it; the clock then only asks for it."""
    return bool(job.queue) and settings.ENV.tasks == "celery"


def _first(job: Job, schedule: Schedule, now: datetime) -> datetime:
    """The latest slot that went by, if one did since the last that is known; otherwise the next one.

    A job that was never run waits for its time.
    """
    known = services.last_slot(job.name)
    latest = schedule.latest(now)
    return latest if known is not None and latest > known else schedule.after(now)


class _Slotted(BaseTrigger):  # type: ignore[misc]
    """APScheduler's view of a schedule. Slots that went by meanwhile are one: the latest."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime:
        return self.schedule.after(max(now, previous) if previous else now)


class _Slots(BaseExecutor):  # type: ignore[misc]
    """Runs the slot itself, of which APScheduler's own executors tell a job nothing."""

    def __init__(self, pool: ThreadPoolExecutor, stop: threading.Event) -> None:
        super().__init__()
        self._pool = pool
        self._stop = stop

    def _do_submit_job(self, entry: Entry, run_times: list[datetime]) -> None:
        job: Job = entry.args[0]
        assert job.schedule is not None  # noqa: S101 (for the type checker)
        slot = max(run_times[-1].astimezone(UTC), job.schedule.latest(timezone.now()))

        def ended(future: Future[None]) -> None:
            self._run_job_success(entry.id, [])

        if not self._stop.is_set():
            self._pool.submit(self._run, job, slot).add_done_callback(ended)

    def _run(self, job: Job, slot: datetime) -> None:
        """Begin it, as soon as the database answers; by then a later slot may stand for it."""
        assert job.schedule is not None  # noqa: S101 (for the type checker)
        while not self._stop.is_set():
            close_old_connections()
            try:
                if is_sent(job):
                    services.request_slot(job, slot)
                else:
                    runs.run_slot(job, slot, self._stop)
            except (Error, psycopg.Error, OSError) as error:
                logger.error(
                    "the job %s cannot be begun, it is tried again: %s", job.name, " ".join(str(error).split())
                )
            except Exception:
                logger.exception("the job %s could not be begun for %s", job.name, slot)
                return
            else:
                return
            finally:
                connection.close()
            self._stop.wait(BEGIN_AGAIN_SECONDS)
            slot = max(slot, job.schedule.latest(timezone.now()))


def _nothing(job: Job) -> None:
    """What APScheduler is given to call; `_Slots` runs the job."""
