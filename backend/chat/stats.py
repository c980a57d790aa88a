"""What was asked and answered by day (UTC), over all users and without their names.

Questions, tokens and cost are those of `DailyUsage`, which outlives the messages. Times and opinions are those of the
answers that are still stored; of a day's answers the latest SAMPLE are timed, so that the work is bounded.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import numpy as np
from django.db.models import Count, Min, Q, Sum
from django.db.models.functions import TruncDate
from django.utils import timezone

from backend.chat.models import DailyUsage, Feedback, Message, Outcome, Role
from backend.chat.usage import COUNTERS

Row = dict[str, Any]

LONGEST = 365  # days
SAMPLE = 300  # answers of one day that are timed
TOKENS = ("input_tokens", "output_tokens")
STAGES = ("total", "condense", "retrieve", "generate", "verify")


def chat_stats(days: int, today: date | None = None) -> Row:
    """`by_day`, the last `days` days up to today, the oldest first, and `totals` over them. today: or this day."""
    today = today or timezone.now().astimezone(UTC).date()
    first = today - timedelta(days=days - 1)
    used, liked, timed = _usage(first, today), _feedback(first, today), _times(first, today)
    by_day = []
    for number in range(days):
        day = first + timedelta(days=number)
        by_day.append({"day": day, **_describe([used.get(day)], [liked.get(day)], timed.get(day, []))})
    every = [times for one_day in timed.values() for times in one_day]
    return {"totals": _describe(used.values(), liked.values(), every), "by_day": by_day}


def _describe(used: Iterable[Row | None], liked: Iterable[Row | None], times: list[Row]) -> Row:
    sums: dict[str, Any] = defaultdict(int)
    for row in [*used, *liked]:
        for name, number in (row or {}).items():
            sums[name] += number
    return {
        "questions": sums["questions"],
        "outcomes": {name: sums[name] for name in Outcome.values},
        "failed": sums["failed"],
        "latency_ms": _percentiles(times),
        "feedback": {"up": sums["up"], "down": sums["down"]},
        **{name: sums[name] for name in TOKENS},
        "cost": round(float(sums["cost"]), 8),
        "unpriced": sums["unpriced"],
    }


def _percentiles(times: list[Row]) -> Row:
    """p50 and p95 of each stage that was timed, and of how many answers."""
    found: Row = {"answers": len(times)}
    for stage in STAGES:
        if values := [row[stage] for row in times if stage in row]:
            p50, p95 = np.percentile(values, (50, 95))
            found[stage] = {"p50": round(float(p50), 2), "p95": round(float(p95), 2)}
    return found


def _usage(first: date, today: date) -> dict[date, Row]:
    sums = {name: Sum(name) for name in COUNTERS}
    rows = DailyUsage.objects.filter(day__gte=first, day__lte=today).order_by().values("day").annotate(**sums)
    return {row["day"]: {name: number for name, number in row.items() if name != "day"} for row in rows}


def _feedback(first: date, today: date) -> dict[date, Row]:
    """By the day of the answer."""
    end = start_of(today + timedelta(days=1))
    given = Feedback.objects.filter(message__created_at__gte=start_of(first), message__created_at__lt=end).order_by()
    rows = given.values(day=TruncDate("message__created_at", tzinfo=UTC)).annotate(
        up=Count("pk", filter=Q(rating__gt=0)), down=Count("pk", filter=Q(rating__lt=0))
    )
    return {row["day"]: {name: number for name, number in row.items() if name != "day"} for row in rows}


def _times(first: date, today: date) -> dict[date, list[Row]]:
    """One small query a day, through the index on the time: the rows are large, and most need not be looked at."""
    answers = Message.objects.filter(role=Role.ASSISTANT)
    oldest = Message.objects.filter(created_at__gte=start_of(first)).aggregate(at=Min("created_at"))["at"]
    if oldest is None:
        return {}
    found = {}
    day = oldest.astimezone(UTC).date()
    while day <= today:
        of_the_day = answers.filter(created_at__gte=start_of(day), created_at__lt=start_of(day + timedelta(days=1)))
        times = of_the_day.order_by("-created_at").values_list("latency_ms", flat=True)[:SAMPLE]
        found[day] = [row for row in times if row]  # one that was cut has none
        day += timedelta(days=1)
    return found


def start_of(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
