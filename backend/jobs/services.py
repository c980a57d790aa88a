"""A run's way: requested or due, running, ended. Each step is one statement that looks at the state it leaves, so that
of two processes one takes it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone

from backend.accounts.models import User
from backend.api.errors import Conflict
from backend.jobs.models import JobRecord, JobRun, Leader, RunState, Trigger
from backend.jobs.table import Job
from backend.outbox.services import enqueue

logger = logging.getLogger(__name__)

FIRST_PAUSE = timedelta(minutes=1)  # before a run that failed is tried again; four times as long each time
PAUSE_GROWS = 4
LONGEST_ERROR = 500
INTERRUPTED = "the process that ran it ended before it was complete"
OVERLAPPED = "the run before it was still going on"


def request_run(job: Job, user: User) -> JobRun:
    """Ask for a run now; the leader begins it within seconds. Conflict when there is one already.

    One that failed and waits to be tried again is tried now instead.
    """
    if JobRun.objects.filter(job=job.name, state=RunState.RUNNING).exists():
        raise Conflict(f"The job {job.name} is running.", "job_running")
    waiting = JobRun.objects.filter(job=job.name, state=RunState.REQUESTED)
    # One that was asked for in this very moment waits for nothing.
    if waiting.filter(not_before__gt=timezone.now() + timedelta(seconds=1)).update(
        not_before=timezone.now(), trigger=Trigger.API, requested_by=user
    ):
        return waiting.latest("requested_at")
    try:
        with transaction.atomic():
            if waiting.exists():
                raise IntegrityError
            return JobRun.objects.create(job=job.name, trigger=Trigger.API, requested_by=user)
    except IntegrityError:
        raise Conflict(f"A run of {job.name} is requested already.", "job_requested") from None


def begin_slot(job: Job, slot: datetime, runner: str) -> JobRun | None:
    """Take a slot; None when it was taken before. Those between the last one and this go by: one row tells how many."""
    _note_missed_before(job, slot)
    return _create(
        job=job.name,
        slot=slot,
        state=RunState.RUNNING,
        attempt=1,
        started_at=timezone.now(),
        runner=runner,
    )


def request_slot(job: Job, slot: datetime) -> JobRun | None:
    """Take a slot for a worker to run; None when it was taken before, or while a run waits or is under way."""
    if JobRun.objects.filter(job=job.name, state__in=(RunState.REQUESTED, RunState.RUNNING)).exists():
        return None
    _note_missed_before(job, slot)
    return _create(job=job.name, slot=slot)


def begin_now(job: Job, runner: str) -> JobRun | None:
    """A run that the command line asks for; None when one is running."""
    return _create(
        job=job.name,
        trigger=Trigger.COMMAND,
        state=RunState.RUNNING,
        attempt=1,
        started_at=timezone.now(),
        runner=runner,
    )


def begin_requested(run: JobRun, runner: str) -> JobRun | None:
    """Take a run that was asked for or is to be tried again; None when somebody else did, or another one runs."""
    try:
        with transaction.atomic():
            taken = JobRun.objects.filter(pk=run.pk, state=RunState.REQUESTED).update(
                state=RunState.RUNNING,
                attempt=F("attempt") + 1,
                started_at=timezone.now(),
                ended_at=None,
                runner=runner,
            )
    except IntegrityError:
        return None
    if not taken:
        return None
    run.refresh_from_db()
    return run


def miss_slot(job: Job, slot: datetime) -> None:
    """A slot that comes while the run before it is still going on goes by."""
    if _create(job=job.name, slot=slot, state=RunState.MISSED, error=OVERLAPPED, counts={"slots": 1}):
        _add(job.name, missed=1)


def finish(
    job: Job,
    run: JobRun,
    state: RunState,
    counts: Mapping[str, Any] | None = None,
    error: str = "",
    *,
    interrupted: bool = False,
) -> JobRun | None:
    """Note how a run ended; None when that was noted before. One that failed is tried again if its job allows it, and
    is told to the admins if not.

    interrupted: nothing is known to be wrong with the job, its process was stopped or died.
    """
    again = state != RunState.DONE and run.trigger != Trigger.COMMAND and run.attempt <= job.retries
    now = timezone.now()
    error = " ".join(error.split())[:LONGEST_ERROR]
    with transaction.atomic():
        ended = JobRun.objects.filter(pk=run.pk, state=RunState.RUNNING, attempt=run.attempt).update(
            state=RunState.REQUESTED if again else state,
            not_before=now + FIRST_PAUSE * PAUSE_GROWS ** (run.attempt - 1) if again else run.not_before,
            ended_at=now,
            counts=dict(counts or {}),
            error=error,
        )
        if not ended:
            return None
        seconds = (now - run.started_at).total_seconds() if run.started_at else 0.0
        _add(job.name, **{state.value: 1, "seconds": seconds})
        JobRecord.objects.filter(pk=job.name).update(last_seconds=seconds)
        if state == RunState.DONE:
            _note_success(job, now)
        elif not again and not interrupted:
            _note_failure(job, now, error)
    if state != RunState.DONE:
        level = logging.INFO if interrupted else logging.ERROR
        logger.log(level, "the job %s %s%s: %s", job.name, state.label.lower(), ", to be tried again" * again, error)
    run.refresh_from_db()
    return run


def close_interrupted(job: Job) -> None:
    """A row that is left as running, while whoever calls this holds the job's lock, is that of a process that died."""
    for run in JobRun.objects.filter(job=job.name, state=RunState.RUNNING):
        finish(job, run, RunState.FAILED, error=INTERRUPTED, interrupted=True)


def note_leader(name: str, since: datetime) -> None:
    """Say that this process leads."""
    Leader.objects.update_or_create(id=1, defaults={"name": name, "since": since, "seen_at": timezone.now()})


def forget_leader(name: str) -> None:
    """Say that this process does not lead any more."""
    Leader.objects.filter(name=name).delete()


def _create(**values: Any) -> JobRun | None:
    try:
        with transaction.atomic():
            return JobRun.objects.create(**values)
    except IntegrityError:
        return None


def _note_missed_before(job: Job, slot: datetime) -> None:
    """The slots since the last one that is known: one row, of the latest of them, however long the pause was."""
    last = last_slot(job.name)
    if job.schedule is None or last is None:
        return
    missed = 0
    latest = None
    moment = job.schedule.after(last)
    while moment < slot and missed < 10_000:
        missed, latest = missed + 1, moment
        moment = job.schedule.after(moment)
    if latest and _create(job=job.name, slot=latest, state=RunState.MISSED, counts={"slots": missed}):
        _add(job.name, missed=missed)


def last_slot(name: str) -> datetime | None:
    """The latest slot of a job that is known."""
    slots = JobRun.objects.filter(job=name, slot__isnull=False).order_by("-slot")
    return slots.values_list("slot", flat=True).first()


def _add(name: str, **amounts: float) -> None:
    JobRecord.objects.get_or_create(pk=name)
    JobRecord.objects.filter(pk=name).update(**{field: F(field) + amount for field, amount in amounts.items()})


def _note_success(job: Job, now: datetime) -> None:
    JobRecord.objects.filter(pk=job.name).update(last_success_at=now)
    told = JobRecord.objects.filter(pk=job.name, admins_told=True).update(admins_told=False)
    if told:
        _tell_admins("job_works_again", {"job": job.name, "now": now})
    JobRecord.objects.filter(pk=job.name).update(failing_since=None)


def _note_failure(job: Job, now: datetime, error: str) -> None:
    JobRecord.objects.filter(pk=job.name, failing_since=None).update(failing_since=now)
    if settings.ENV.admin_emails and JobRecord.objects.filter(pk=job.name, admins_told=False).update(admins_told=True):
        _tell_admins("job_failed", {"job": job.name, "does": job.does, "now": now, "error": error})


def _tell_admins(kind: str, context: dict[str, Any]) -> None:
    for address in settings.ENV.admin_emails:
        enqueue(kind, address, context)
