"""The catalogue and its indexes in numbers, for GET /metrics: read from the database."""

from __future__ import annotations

from collections.abc import Iterator

from django.db.models import Count, Sum
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

from backend.knowledge.models import Source, SourceState, SyncRun, SyncState, Task


def collect() -> Iterator[Metric]:
    states = dict(Source.objects.order_by().values_list("state").annotate(Count("pk")))
    files = GaugeMetricFamily("footnote_sources", "Files by state.", None, ["state"])
    for state in SourceState.values:
        files.add_metric([state], states.get(state, 0))
    yield files
    chunks = Source.objects.order_by().aggregate(number=Sum("current_version__chunk_count", default=0))
    yield GaugeMetricFamily("footnote_chunks", "Passages that may be answered from.", chunks["number"])
    yield from _last_sync()
    yield from _drift()


def _last_sync() -> Iterator[Metric]:
    run = SyncRun.objects.filter(task=Task.SYNC, state=SyncState.DONE).order_by("-requested_at").first()
    ended = run.finished_at.timestamp() if run and run.finished_at else 0.0
    yield GaugeMetricFamily(
        "footnote_sync_last_success_timestamp_seconds", "When a sync was last done; 0: never.", ended
    )
    if run and run.finished_at and run.started_at:
        seconds = (run.finished_at - run.started_at).total_seconds()
        yield GaugeMetricFamily("footnote_sync_last_seconds", "Seconds that it took.", seconds)


def _drift() -> Iterator[Metric]:
    """What the last comparison found, or after a repair what was left."""
    runs = SyncRun.objects.filter(task__in=[Task.RECONCILE, Task.REPAIR], state=SyncState.DONE)
    run = runs.order_by("-requested_at").first()
    drift = GaugeMetricFamily(
        "footnote_index_drift", "Differences of disk, database and indexes at the last comparison.", None, ["kind"]
    )
    if run is not None:
        found = run.report.get("left") or run.report.get("differences") or {}
        for kind, number in sorted(found.items()):
            if kind != "names":
                drift.add_metric([kind], number)
    yield drift
