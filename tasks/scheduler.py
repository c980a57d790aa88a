"""The table of jobs, and the scheduler that runs them in this process."""

from __future__ import annotations

import logging
from collections.abc import Callable

from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger
from django.conf import settings
from django.db import close_old_connections

from tasks.jobs import expired_tokens, old_conversations, repeated_requests

logger = logging.getLogger(__name__)


def make_scheduler(wake_sync: Callable[[], None]) -> BackgroundScheduler:
    """A scheduler with every job of the table, not started. Missed runs are made up once; no job overlaps itself."""
    scheduler = BackgroundScheduler(
        timezone="UTC", job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": 3600}
    )
    table = [
        ("reindex", wake_sync, IntervalTrigger(seconds=settings.ENV.sync_interval)),
        ("old_conversations", old_conversations.run, CronTrigger(hour=2, timezone="UTC")),
        ("expired_tokens", expired_tokens.run, CronTrigger(hour=3, timezone="UTC")),
        ("repeated_requests", repeated_requests.run, CronTrigger(hour=3, minute=10, timezone="UTC")),
    ]
    for name, job, trigger in table:
        scheduler.add_job(_guarded, trigger, args=[name, job], id=name)
    return scheduler


def _guarded(name: str, job: Callable[[], None]) -> None:
    """The job boundary: a failure is logged under the job's name, and the database connection is given back."""
    close_old_connections()
    try:
        job()
    except Exception:
        logger.exception("the job %s failed", name)
    finally:
        close_old_connections()
