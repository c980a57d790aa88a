"""GET /stats: numbers by day, without names."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from rest_framework.test import APIClient

from backend.accounts.models import User
from backend.chat.models import DailyUsage, Feedback, Message
from backend.chat.serializers import StatsSerializer
from tests.backend.chats import ANSWER, say, talk
from tests.backend.conftest import Sync
from tests.backend.test_edges import check_error
from tests.folder import write, write_pdf

pytestmark = pytest.mark.django_db

NOTHING: dict[str, Any] = {
    "questions": 0,
    "outcomes": {"grounded": 0, "partial": 0, "abstained": 0, "ungrounded": 0},
    "failed": 0,
    "latency_ms": {"answers": 0},
    "feedback": {"up": 0, "down": 0},
    "input_tokens": 0,
    "output_tokens": 0,
    "cost": 0.0,
    "unpriced": 0,
}


def stats(client: APIClient, **query: Any) -> dict[str, Any]:
    answer = client.get("/stats", query)
    assert answer.status_code == 200, answer.content
    shown: dict[str, Any] = answer.json()
    return shown


def test_without_questions_there_are_days_of_nothing(client: APIClient) -> None:
    shown = stats(client)
    assert shown["days"] == len(shown["by_day"]) == 30
    today = datetime.now(UTC).date()
    assert shown["by_day"][-1] == {"day": today.isoformat(), **NOTHING}
    assert shown["by_day"][0]["day"] == (today - timedelta(days=29)).isoformat()
    assert shown["totals"] == NOTHING
    assert shown["sources"] == {
        "by_state": {"pending": 0, "indexed": 0, "failed": 0, "removed": 0},
        "by_format": {},
        "chunks": 0,
        "pages": 0,
    }


def test_days_and_totals_add_up_over_all_users(client: APIClient, user: User, make_user: Callable[[str], User]) -> None:
    now = datetime.now(UTC)
    today, before = now.date(), now.date() - timedelta(days=3)
    eve = make_user("eve")
    used = {"input_tokens": 100, "output_tokens": 10}
    DailyUsage.objects.create(
        user=user, day=today, model="a", questions=3, grounded=2, failed=1, cost=Decimal("0.5"), **used
    )
    DailyUsage.objects.create(user=eve, day=today, model="a", questions=1, abstained=1, unpriced=1, **used)
    DailyUsage.objects.create(user=None, day=before, model="b", questions=4, partial=4, **used)
    DailyUsage.objects.create(user=user, day=today - timedelta(days=30), model="a", questions=99)
    conversation = talk(user, turns=0)
    for number in range(1, 21):
        at = now - timedelta(days=3 if number > 10 else 0)
        answer = say(conversation, "y", at=at, **{**ANSWER, "latency_ms": {"total": float(number), "verify": 1.0}})
        if number in (1, 2, 11):
            Feedback.objects.create(message=answer, rating=-1 if number == 2 else 1)
    say(conversation, "cut", at=now, **{**ANSWER, "latency_ms": {}})
    say(conversation, "long ago", at=now - timedelta(days=40), **ANSWER)

    shown = stats(client)
    days = {row["day"]: row for row in shown["by_day"]}
    assert shown["totals"] == {
        "questions": 8,
        "outcomes": {"grounded": 2, "partial": 4, "abstained": 1, "ungrounded": 0},
        "failed": 1,
        "latency_ms": {"answers": 20, "total": {"p50": 10.5, "p95": 19.05}, "verify": {"p50": 1.0, "p95": 1.0}},
        "feedback": {"up": 2, "down": 1},
        "input_tokens": 300,
        "output_tokens": 30,
        "cost": 0.5,
        "unpriced": 1,
    }
    first = days[today.isoformat()]
    assert (first["questions"], first["failed"], first["cost"], first["unpriced"]) == (4, 1, 0.5, 1)
    assert first["latency_ms"]["total"] == {"p50": 5.5, "p95": 9.55}
    assert first["feedback"] == {"up": 1, "down": 1}
    other = days[before.isoformat()]
    assert (other["questions"], other["outcomes"]["partial"], other["feedback"]) == (4, 4, {"up": 1, "down": 0})
    written: Any = StatsSerializer(shown).data  # type: ignore[arg-type]  # a dict, as the view has it
    assert shown == written
    names = str(shown)
    assert "ada" not in names
    assert "eve" not in names
    assert stats(client, days=3)["totals"]["questions"] == 4
    assert stats(client, days=31)["totals"]["questions"] == 107


def test_of_a_busy_day_the_latest_answers_are_timed(client: APIClient, user: User) -> None:
    conversation = talk(user, turns=0)
    Message.objects.bulk_create(
        Message(conversation=conversation, role="assistant", content="y", latency_ms={"total": 1.0}) for _ in range(350)
    )
    assert stats(client, days=1)["totals"]["latency_ms"]["answers"] == 300


def test_the_catalogue_is_counted_by_what_answers(client: APIClient, folder: Path, sync: Sync) -> None:
    write(folder, "a.md", "# A\n\nOne.\n\n# B\n\nTwo.\n")
    write(folder, "gone.md", "# Gone\n\nThree.\n")
    write_pdf(folder, "b.pdf", ["Cover page of the house rules.", "Bicycles are parked behind the house."])
    sync()
    (folder / "gone.md").unlink()
    sync()
    shown = stats(client)["sources"]
    assert shown["by_state"] == {"pending": 0, "indexed": 2, "failed": 0, "removed": 1}
    assert (shown["by_format"], shown["pages"]) == ({"markdown": 1, "pdf": 1}, 2)
    listed = client.get("/sources", {"state": "indexed"}).json()["results"]
    assert shown["chunks"] == sum(row["chunks"] for row in listed) > 0


@pytest.mark.parametrize("days", ["0", "366", "-1", "x", "1.5", "9" * 5_000])
def test_days_are_from_1_to_365(client: APIClient, days: str) -> None:
    check_error(client.get("/stats", {"days": days}), 400, "invalid")


def test_only_who_is_signed_in_sees_them() -> None:
    check_error(APIClient().get("/stats"), 401)
