"""Reads of the jobs and their runs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone

from backend.jobs.models import JobRecord, JobRun, Leader
from backend.jobs.table import all_jobs

LATEST = 5  # runs that are shown with a job
FRESH = timedelta(seconds=60)  # a leader tells every ten seconds that it lives


def describe_jobs() -> list[dict[str, Any]]:
    """Every job with its schedule, its next slot and its latest runs, by name."""
    now = timezone.now()
    records = JobRecord.objects.in_bulk()
    described = []
    for name, job in sorted(all_jobs().items()):
        record = records.get(name)
        described.append(
            {
                "name": name,
                "does": job.does,
                "enabled": job.schedule is not None,
                "schedule": job.schedule.text if job.schedule else "",
                "next_run": job.schedule.after(now) if job.schedule else None,
                "timeout": job.seconds,
                "failing_since": record.failing_since if record else None,
                "last_success_at": record.last_success_at if record else None,
                "last_runs": list(runs_of(name)[:LATEST]),
            }
        )
    return described


def runs_of(name: str) -> QuerySet[JobRun]:
    """The runs of a job, the latest first."""
    return JobRun.objects.filter(job=name).select_related("requested_by").order_by("-id")


def current_leader() -> Leader | None:
    """The process that runs the jobs, if one has said so lately."""
    return Leader.objects.filter(seen_at__gte=timezone.now() - FRESH).first()
