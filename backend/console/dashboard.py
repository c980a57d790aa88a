"""What the dashboard shows: the same figures as GET /stats, the catalogue, the outbox and the jobs."""

from __future__ import annotations

from typing import Any

from django.db.models import Count

from backend.chat.models import Outcome
from backend.chat.stats import chat_stats
from backend.console.charts import Series, bars, lines
from backend.jobs.models import JobRecord, JobRun
from backend.jobs.selectors import current_leader
from backend.knowledge.models import Source, SourceState, SyncRun
from backend.knowledge.selectors import count_catalogue
from backend.outbox.models import Mail, MailState

PERIODS = (14, 30, 90)  # days
RUNS = 12
FAILED = 10  # sources that are named


def describe(days: int) -> dict[str, Any]:
    """The context of the page."""
    stats = chat_stats(days)
    catalogue = count_catalogue()
    mails = dict(Mail.objects.order_by().values_list("state").annotate(Count("pk")))
    return {
        "days": days,
        "totals": stats["totals"],
        "charts": _charts(stats["by_day"]),
        "catalogue": catalogue,
        "sources": [(state, catalogue["by_state"][state]) for state in SourceState.values],
        "failed_sources": Source.objects.filter(state=SourceState.FAILED).only("path", "error")[:FAILED],
        "mails": [(state, mails.get(state, 0)) for state in MailState.values],
        "runs": JobRun.objects.order_by("-id")[:RUNS],
        "failing": JobRecord.objects.exclude(failing_since=None).order_by("job"),
        "leader": current_leader(),
        "last_sync": SyncRun.objects.only("state", "task", "requested_at", "finished_at", "error").first(),
    }


def _charts(by_day: list[dict[str, Any]]) -> list[str]:
    labels = [f"{row['day']:%d %b}" for row in by_day]
    outcomes = [
        Series(name, name, [row["outcomes"][name] for row in by_day])
        for name in (Outcome.GROUNDED, Outcome.PARTIAL, Outcome.ABSTAINED, Outcome.UNGROUNDED)
    ]
    failed = Series("failed", "failed", [row["failed"] for row in by_day])
    times = [row["latency_ms"].get("total", {}) for row in by_day]
    return [
        bars(labels, [Series("questions", "plain", [row["questions"] for row in by_day])], "Questions by day"),
        bars(labels, [*outcomes, failed], "Outcomes by day"),
        lines(
            labels,
            [
                Series("p50", "plain", [row.get("p50") for row in times]),
                Series("p95", "second", [row.get("p95") for row in times]),
            ],
            "Time of an answer, ms",
        ),
        bars(labels, [Series("cost", "second", [row["cost"] for row in by_day])], "Cost by day"),
    ]
