"""The table of jobs: what runs, when, for how long at the most. One line a job; its module is in tasks/jobs."""

from __future__ import annotations

from django.conf import settings

from backend.jobs.schedules import Cron, Every, Schedule, parse_cron
from backend.jobs.table import Job

MINUTE, HOUR = 60.0, 3600.0


def make_table() -> dict[str, Job]:
    """Every job by its name, as the settings want it. One without a schedule runs only when somebody asks for it."""
    env = settings.ENV

    def cron(text: str) -> Cron | None:
        return parse_cron(text, env.zone) if text else None

    def every(seconds: float) -> Schedule | None:
        return Every(seconds) if seconds else None

    jobs = [
        Job(
            "reindex",
            "compares the watched folder with the index",
            "tasks.jobs.reindex.run",
            every(env.sync_interval),
            seconds=6 * HOUR,
            inside=True,
        ),
        Job(
            "old_conversations",
            "erases messages older than HISTORY_RETENTION_DAYS and conversations left empty",
            "tasks.jobs.old_conversations.run",
            cron(env.schedule_history),
            seconds=4 * HOUR,
            retries=3,
        ),
        Job(
            "expired",
            "forgets tokens, sessions, repeated requests, audit lines, sent mails and job runs that are old",
            "tasks.jobs.expired.run",
            cron(env.schedule_tokens),
            seconds=2 * HOUR,
            retries=3,
        ),
        Job(
            "reconcile",
            "compares disk, catalogue and both indexes by content, and repairs what differs",
            "tasks.jobs.reconcile.run",
            cron(env.schedule_reconcile),
            seconds=6 * HOUR,
            retries=1,
            inside=True,
        ),
        Job(
            "compact",
            "gives back the space of what was deleted from the indexes and, on SQLite, the database",
            "tasks.jobs.compact.run",
            cron(env.schedule_compact),
            seconds=HOUR,
            retries=1,
        ),
        Job(
            "outbox",
            "sends mail that is due, where no server with a sender of its own runs",
            "tasks.jobs.outbox.run",
            every(MINUTE),
            seconds=HOUR,
            inside=True,
            queue="mail",
        ),
        Job(
            "daily_report",
            "tells ADMIN_EMAILS about the day before",
            "tasks.jobs.daily_report.run",
            cron(env.schedule_report),
            seconds=HOUR,
            retries=3,
        ),
        Job(
            "backup",
            "backs the instance up into DATA_DIR/backups and keeps the newest BACKUPS_KEPT",
            "tasks.jobs.backup.run",
            cron(env.schedule_backup),
            seconds=6 * HOUR,
            retries=1,
        ),
    ]
    return {job.name: job for job in jobs}
