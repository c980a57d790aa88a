"""Forget what has had its time: logins, sessions, repeated requests, audit lines, counters, sent mails, job runs."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.contrib.sessions.models import Session
from django.utils import timezone

from backend.accounts.models import TokenFamily
from backend.audit.models import Event
from backend.chat.models import IdempotencyKey
from backend.jobs.models import JobRun, RunState
from backend.outbox.services import forget_sent
from backend.throttling.models import Counter
from tasks.jobs.batches import delete_all

REPEATS_KEPT = timedelta(days=1)  # nobody repeats a request for longer
MAILS_KEPT = timedelta(days=3)  # after they were sent
RUNS_KEPT = timedelta(days=30)
RUNS_OF_A_JOB = 1000  # are kept at the most, and of one that runs seldom the last few however old
SELDOM = 20


def run() -> dict[str, int]:
    now = timezone.now()
    old = {
        "logins": TokenFamily.objects.filter(expires_at__lte=now),
        "sessions": Session.objects.filter(expire_date__lt=now),
        "repeated_requests": IdempotencyKey.objects.filter(created_at__lt=now - REPEATS_KEPT),
        "audit_lines": Event.objects.filter(at__lt=now - timedelta(days=settings.ENV.audit_retention_days)),
        "counters": Counter.objects.filter(expires_at__lte=now.timestamp()),
    }
    counts = {name: delete_all(rows).rows for name, rows in old.items()}
    counts["mails"] = forget_sent(now - MAILS_KEPT)
    counts["job_runs"] = _forget_runs()
    return {name: number for name, number in counts.items() if number}


def _forget_runs() -> int:
    """The latest slot of each job stays: by it is known what was missed."""
    forgotten = 0
    ended = JobRun.objects.exclude(state__in=(RunState.REQUESTED, RunState.RUNNING))
    for name in JobRun.objects.order_by().values_list("job", flat=True).distinct():
        rows = ended.filter(job=name)
        recent = list(rows.order_by("-id").values_list("pk", flat=True)[:RUNS_OF_A_JOB])
        too_many = rows.filter(pk__lt=recent[-1]) if len(recent) == RUNS_OF_A_JOB else rows.none()
        too_old = rows.filter(requested_at__lt=timezone.now() - RUNS_KEPT).exclude(pk__in=recent[:SELDOM])
        forgotten += delete_all(too_many).rows + delete_all(too_old).rows
    return forgotten
