"""What answering costs, who used how much today, and how much a day may take."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from backend.accounts.models import User
from backend.chat import usage
from backend.chat.models import DailyUsage
from tests.backend.conftest import Sync
from tests.backend.test_edges import check_error

pytestmark = pytest.mark.django_db

TOKENS = {"input_tokens": 100, "output_tokens": 10}


@pytest.mark.parametrize(
    ("model", "cost"),
    [
        ("extractive", 0.0),
        ("ollama:qwen3", 0.0),
        ("openai:gpt-4o-mini", 0.15 + 0.30),
        ("openai:gpt-4o-mini-of-my-own", None),
        ("gpt-4o-mini", None),
        ("", None),
    ],
)
def test_a_cost_is_by_the_million_tokens_and_none_where_the_price_is_not_known(model: str, cost: float | None) -> None:
    assert usage.cost_of(model, 1_000_000, 500_000) == (None if cost is None else pytest.approx(cost))
    assert usage.cost_of(model, 0, 0) == 0.0, "what was not asked costs nothing"


def test_prices_come_from_a_file_of_ones_own(tmp_path: Path, settings: Settings) -> None:
    table = tmp_path / "prices.toml"
    table.write_text('[models."openai:mine"]\ninput = 1\noutput = 2.5\n[models."openai:*"]\ninput = 4.0\noutput = 0\n')
    settings.ENV = settings.ENV.model_copy(update={"prices": str(table)})
    assert usage.cost_of("openai:mine", 1_000_000, 1_000_000) == pytest.approx(3.5)
    assert usage.cost_of("openai:other", 1_000_000, 1_000_000) == pytest.approx(4.0)
    assert usage.cost_of("ollama:qwen3", 1, 1) is None


@pytest.mark.parametrize(
    "text",
    [
        "models = 1",
        "not TOML",
        "",
        '[models."a:b"]\ninput = -1\noutput = 0',
        '[models."a:b"]\ninput = nan\noutput = 0',
        '[models."a:b"]\ninput = 1',
        '[models."a:b"]\ninput = 1\noutput = 1\nper = "token"',
        '[models."a:b"]\ninput = "free"\noutput = 1',
    ],
)
def test_a_bad_table_of_prices_says_what_is_wrong(tmp_path: Path, settings: Settings, text: str) -> None:
    table = tmp_path / "prices.toml"
    table.write_text(text)
    settings.ENV = settings.ENV.model_copy(update={"prices": str(table)})
    with pytest.raises(ImproperlyConfigured, match=r"PRICES: .*prices\.toml"):
        usage.prices()


def test_a_day_adds_up_by_user_and_model(user: User, make_user: Callable[[str], User]) -> None:
    usage.record(user, "openai:a", "grounded", TOKENS, 0.25)
    usage.record(user, "openai:a", "partial", TOKENS, 0.5)
    usage.record(user, "openai:a", "ungrounded", TOKENS, None)
    usage.record(user, "", None)
    usage.record(user, "extractive", "abstained", {"input_tokens": 0, "output_tokens": 0}, 0.0)
    usage.record(make_user("eve"), "openai:a", "grounded", TOKENS, 1.0)
    row = DailyUsage.objects.get(user=user, model="openai:a")
    assert row.day == datetime.now(UTC).date()
    assert (row.questions, row.grounded, row.partial, row.ungrounded, row.abstained, row.failed) == (3, 1, 1, 1, 0, 0)
    assert (row.input_tokens, row.output_tokens, row.cost, row.unpriced) == (300, 30, Decimal("0.75"), 1)
    failed = DailyUsage.objects.get(user=user, model="")
    assert (failed.questions, failed.failed, failed.unpriced, failed.cost) == (1, 1, 0, Decimal(0))
    declined = DailyUsage.objects.get(user=user, model="extractive")
    assert (declined.questions, declined.abstained, declined.unpriced) == (1, 1, 0)


def test_after_the_first_of_the_day_it_is_one_statement(user: User) -> None:
    usage.record(user, "openai:a", "grounded", TOKENS, 0.25)
    with CaptureQueriesContext(connection) as captured:
        usage.record(user, "openai:a", "grounded", TOKENS, 0.25)
    assert len(captured) == 1


def test_what_is_undone_was_not_used(user: User) -> None:
    def store_and_fail() -> None:
        with transaction.atomic():
            usage.record(user, "openai:a", "grounded", TOKENS, 0.25)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        store_and_fail()
    assert not DailyUsage.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_threads_that_record_at_once_lose_nothing(user: User) -> None:
    def work(number: int) -> None:
        try:
            for _ in range(10):
                with transaction.atomic():
                    usage.record(user, f"openai:{number % 2}", "grounded", TOKENS, 0.01)
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    rows = DailyUsage.objects.order_by("model")
    assert [(row.model, row.questions, row.input_tokens, row.cost) for row in rows] == [
        (f"openai:{number}", 40, 4_000, Decimal("0.4")) for number in range(2)
    ]


def budgets(settings: Settings, **values: Any) -> None:
    settings.ENV = settings.ENV.model_copy(update={f"daily_{name}_budget": value for name, value in values.items()})


@pytest.mark.parametrize(
    ("limits", "spent"),
    [
        ({}, ""),
        ({"token": 111}, ""),
        ({"token": 110}, "tokens"),
        ({"cost": 0.26}, ""),
        ({"cost": 0.25}, "cost"),
        ({"token": 1, "cost": 0.01}, "tokens and cost"),
    ],
)
def test_a_budget_is_spent_until_midnight(
    user: User, make_user: Callable[[str], User], settings: Settings, limits: dict[str, Any], spent: str
) -> None:
    usage.record(user, "openai:a", "grounded", TOKENS, 0.20)
    usage.record(user, "openai:b", None, {}, 0.05)
    DailyUsage.objects.create(user=user, day=datetime.now(UTC).date() - timedelta(days=1), model="a", input_tokens=999)
    budgets(settings, **limits)
    usage.require_budget(make_user("eve"))
    if not spent:
        usage.require_budget(user)
        return
    with pytest.raises(usage.BudgetSpent, match=f"budget of {spent} for today") as refused:
        usage.require_budget(user)
    now = datetime.now(UTC)
    assert timedelta(0) < timedelta(seconds=refused.value.wait) <= timedelta(days=1)
    end = now + timedelta(seconds=refused.value.wait)
    assert abs(end - end.replace(hour=0, minute=0, second=0, microsecond=0)) < timedelta(seconds=5)


def test_a_question_beyond_the_budget_is_a_429_that_says_when(
    client: APIClient, user: User, settings: Settings, sync: Sync
) -> None:
    sync()
    budgets(settings, token=100)
    assert client.post("/chat", {"message": "Where are bicycles parked?"}).status_code == 200
    usage.record(user, "openai:a", "grounded", TOKENS, 0.0)
    refused = client.post("/chat", {"message": "Where are bicycles parked?"})
    check_error(refused, 429, "budget_spent")
    assert 0 < int(refused["Retry-After"]) <= 86_400
