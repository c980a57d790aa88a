"""A mail to ADMIN_EMAILS about the day before (UTC): who came, what was asked, what was not answered, what failed.

Each address gets it once a day whatever happens: the mail has the day in its name, and the outbox takes a name once for
each address. A run that is cut off half-way and made up by another process adds what is missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Count
from django.utils import timezone

from backend.accounts.selectors import count_users
from backend.chat.models import DailyUsage
from backend.chat.report import failed_models, shown, slowest, unanswered
from backend.chat.stats import chat_stats, start_of
from backend.jobs.models import JobRun, RunState
from backend.knowledge.models import Source, SourceState
from backend.outbox.selectors import count_by_state
from backend.outbox.services import enqueue_once
from vectorstore.embeddings import load_embeddings

KIND = "daily_report"
BUNDLED = "minilm"  # groups questions whatever EMBEDDING_MODEL is: it costs nothing
DAYS = 14  # of the chart
QUESTIONS, SLOWEST, FAILURES = 10, 5, 10  # lines of each list
LETTERS = 30  # of the longest bar in plain text
OUTCOMES = {  # of the chart, in this order, with their colours
    "grounded": "#2e7d4f",
    "partial": "#9cc069",
    "abstained": "#e0a030",
    "ungrounded": "#8a7fb5",
    "failed": "#b3392f",
}


@dataclass(frozen=True, slots=True)
class Bar:
    """One day of the chart. parts: (colour, whole per cent of the longest bar). letters: the same in plain text."""

    day: date
    questions: int
    parts: list[tuple[str, int]]
    rest: int
    letters: str


def run(now: datetime | None = None) -> dict[str, Any]:
    """To how many addresses it was queued; none when all have it, or nobody wants it. now: where the clock did not say
    when it wanted this run, which a run that is late or tried again has from before.
    """
    addresses = settings.ENV.admin_emails
    if not addresses:
        return {"mails": 0}
    day = (_slot() or now or timezone.now()).astimezone(UTC).date() - timedelta(days=1)
    context = describe(day)
    with transaction.atomic():
        queued = [enqueue_once(f"{KIND} {day}", KIND, address, context) for address in addresses]
    return {"mails": sum(queued)}


def _slot() -> datetime | None:
    """Of the run that is under way, which is this one: a job has one at a time."""
    return JobRun.objects.filter(job=KIND, state=RunState.RUNNING).values_list("slot", flat=True).first()


def describe(day: date) -> dict[str, Any]:
    """What the templates show."""
    begin, end = start_of(day), start_of(day + timedelta(days=1))
    by_day = chat_stats(DAYS, day)["by_day"]
    today = by_day[-1]
    users, joined = count_users(begin, end)
    sources = Source.objects.filter(state=SourceState.FAILED).order_by("path")
    times = today["latency_ms"].get("total")
    return {
        "day": day,
        "users": users,
        "joined": joined,
        "asked": DailyUsage.objects.filter(day=day).exclude(user=None).aggregate(n=Count("user", distinct=True))["n"],
        "today": today,
        "outcomes": _outcomes(today),
        "median": times and times["p50"] / 1000,
        "p95": times and times["p95"] / 1000,
        "chart": _chart(by_day),
        "legend": list(OUTCOMES.items()),
        "unanswered": unanswered(day, QUESTIONS, load_embeddings(BUNDLED, settings.ENV.data_dir)),
        "slowest": slowest(day, SLOWEST),
        "models": failed_models(day),
        "jobs": _failed_jobs(begin, end),
        "sources": [(path, shown(error)) for path, error in sources.values_list("path", "error")[:FAILURES]],
        "more_sources": max(0, sources.count() - FAILURES),
        "dead_mails": count_by_state()["dead"],
    }


def _outcomes(row: dict[str, Any]) -> dict[str, int]:
    return {**row["outcomes"], "failed": row["failed"]}


def _chart(by_day: list[dict[str, Any]]) -> list[Bar]:
    most = max(sum(_outcomes(row).values()) for row in by_day) or 1
    bars = []
    for row in by_day:
        numbers = {name: number for name, number in _outcomes(row).items() if number}
        parts = [(OUTCOMES[name], max(1, round(95 * number / most))) for name, number in numbers.items()]
        letters = "█" * max(1, round(LETTERS * sum(numbers.values()) / most)) if numbers else ""
        bars.append(Bar(row["day"], row["questions"], parts, 100 - sum(width for _, width in parts), letters))
    return bars


def _failed_jobs(begin: datetime, end: datetime) -> list[tuple[str, int]]:
    """The jobs that failed, and how often."""
    ended = JobRun.objects.filter(ended_at__gte=begin, ended_at__lt=end)
    failed = ended.filter(state__in=(RunState.FAILED, RunState.TIMED_OUT)).order_by().values_list("job")
    return sorted(failed.annotate(number=Count("pk")), key=lambda row: (-row[1], row[0]))
