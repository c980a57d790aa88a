"""The jobs and the outbox in numbers, for GET /metrics: read from the database, so every process tells the same."""

from __future__ import annotations

from collections.abc import Iterator

from django.db.models import Count
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from backend.jobs.models import JobRecord, JobRun, RunState
from backend.jobs.selectors import current_leader
from backend.jobs.table import all_jobs
from backend.outbox.models import Mail, MailState

OUTCOMES = ("done", "failed", "timed_out", "missed")


def collect() -> Iterator[Metric]:
    records = JobRecord.objects.in_bulk()
    running = set(JobRun.objects.filter(state=RunState.RUNNING).values_list("job", flat=True))
    runs = CounterMetricFamily(
        "footnote_job_runs", "Runs of a job by outcome, and slots missed.", None, ["job", "outcome"]
    )
    seconds = CounterMetricFamily("footnote_job_seconds", "Seconds that the runs of a job took in all.", None, ["job"])
    last = GaugeMetricFamily("footnote_job_last_seconds", "Seconds that its last run took.", None, ["job"])
    success = GaugeMetricFamily(
        "footnote_job_last_success_timestamp_seconds", "When it was last done; 0 when it never was.", None, ["job"]
    )
    failing = GaugeMetricFamily("footnote_job_failing", "1 while it fails.", None, ["job"])
    active = GaugeMetricFamily("footnote_job_running", "1 while it runs.", None, ["job"])
    for name in sorted(all_jobs()):
        record = records.get(name) or JobRecord(job=name)
        for outcome in OUTCOMES:
            runs.add_metric([name, outcome], getattr(record, outcome))
        seconds.add_metric([name], record.seconds)
        if record.last_seconds is not None:
            last.add_metric([name], record.last_seconds)
        success.add_metric([name], record.last_success_at.timestamp() if record.last_success_at else 0)
        failing.add_metric([name], record.failing_since is not None)
        active.add_metric([name], name in running)
    yield from (runs, seconds, last, success, failing, active)
    yield GaugeMetricFamily(
        "footnote_leader_known", "1 when a process has said lately that it runs the jobs.", current_leader() is not None
    )
    counted = dict(Mail.objects.order_by().values_list("state").annotate(Count("pk")))
    mails = GaugeMetricFamily("footnote_outbox_mails", "Mails in the outbox by state.", None, ["state"])
    for state in MailState.values:
        mails.add_metric([state], counted.get(state, 0))
    yield mails
