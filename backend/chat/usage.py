"""What answering costs: prices, what each user used on each day (UTC), and how much a day may take.

`record` adds to a row of `DailyUsage` inside the caller's transaction, so that an answer and its usage are stored
together or not at all. `require_budget` is asked before a question and `record` told after it: questions that run at
the same time may go beyond a budget by what they use themselves.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.db.models import F, Sum
from django.utils import timezone
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from rest_framework import status
from rest_framework.exceptions import APIException

from backend.accounts.models import User
from backend.chat.models import DailyUsage, Outcome
from chains.models import EXTRACTIVE

SHIPPED_PRICES = Path(__file__).with_name("prices.toml")
TABLE = DailyUsage._meta.db_table
LONGEST_MODEL = 120  # characters of a model's name that are kept
COUNTERS = ("questions", *Outcome.values, "failed", "input_tokens", "output_tokens", "cost", "unpriced")
# One statement, which the ORM cannot write: what it can takes three, and ten times as long.
ADD = (
    f"INSERT INTO {TABLE} (user_id, day, model, {', '.join(COUNTERS)}) "  # noqa: S608 (names of columns)  # nosec B608
    f"VALUES ({', '.join(['%s'] * (3 + len(COUNTERS)))}) ON CONFLICT (user_id, day, model) DO UPDATE SET "
    + ", ".join(f"{name} = {TABLE}.{name} + excluded.{name}" for name in COUNTERS)
)


class BudgetSpent(APIException):
    """429, until the day is over."""

    status_code = status.HTTP_429_TOO_MANY_REQUESTS
    default_code = "budget_spent"

    def __init__(self, detail: str, wait: float) -> None:
        super().__init__(detail)
        self.wait = wait


class Price(BaseModel):
    """Of a million tokens."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    input: float = Field(ge=0, allow_inf_nan=False)
    output: float = Field(ge=0, allow_inf_nan=False)


class PriceTable(BaseModel):
    model_config = ConfigDict(extra="forbid")
    models: dict[str, Price]


def cost_of(model_name: str, input_tokens: int, output_tokens: int) -> float | None:
    """What so many tokens of a model cost; None when its price is not known. What was not asked costs nothing."""
    if model_name == EXTRACTIVE or not (input_tokens or output_tokens):
        return 0.0
    table = prices()
    price = table.get(model_name) or table.get(f"{model_name.partition(':')[0]}:*")
    if price is None:
        return None
    return (input_tokens * price.input + output_tokens * price.output) / 1_000_000


def prices() -> Mapping[str, Price]:
    """By model, of the file that PRICES names; ImproperlyConfigured says what is wrong with it."""
    return _read_prices(Path(settings.ENV.prices) if settings.ENV.prices else SHIPPED_PRICES)


def record(
    user: User,
    model: str,
    outcome: str | None,
    usage: Mapping[str, Any] | None = None,
    cost: float | None = None,
) -> None:
    """Add one question to what the user used today. `outcome` is None when the model did not answer."""
    usage = usage or {}
    if outcome is not None and outcome not in Outcome.values:
        raise ValueError(f"{outcome!r} is no outcome")
    added: dict[str, Any] = {
        "questions": 1,
        outcome or "failed": 1,
        "input_tokens": int(usage.get("input_tokens") or 0),
        "output_tokens": int(usage.get("output_tokens") or 0),
        "cost": Decimal(f"{cost or 0:.8f}"),
        "unpriced": int(outcome is not None and cost is None),
    }
    row = [user.pk, _today(), model[:LONGEST_MODEL], *(added.get(name, 0) for name in COUNTERS)]
    with connection.cursor() as cursor:
        cursor.execute(ADD, [str(value) if isinstance(value, Decimal) else value for value in row])


def require_budget(user: User) -> None:
    """BudgetSpent when the user has used up DAILY_TOKEN_BUDGET or DAILY_COST_BUDGET; 0 is no limit."""
    tokens, money = settings.ENV.daily_token_budget, settings.ENV.daily_cost_budget
    if not tokens and not money:
        return
    used = DailyUsage.objects.filter(user=user, day=_today()).aggregate(
        tokens=Sum(F("input_tokens") + F("output_tokens"), default=0), cost=Sum("cost", default=Decimal(0))
    )
    spent = [
        what
        for what, number, limit in (("tokens", used["tokens"], tokens), ("cost", float(used["cost"]), money))
        if limit and number >= limit
    ]
    if spent:
        raise BudgetSpent(
            f"Your budget of {' and '.join(spent)} for today is spent. The next day begins at midnight UTC.",
            _until_midnight(timezone.now()),
        )


def _today() -> Any:
    return timezone.now().astimezone(UTC).date()


def _until_midnight(now: datetime) -> float:
    now = now.astimezone(UTC)
    midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    return (midnight - now).total_seconds()


@lru_cache(maxsize=4)
def _read_prices(path: Path) -> Mapping[str, Price]:
    try:
        with path.open("rb") as file:
            return PriceTable.model_validate(tomllib.load(file)).models
    except (OSError, ValueError) as error:  # also what TOML and pydantic refuse
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            problem = f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
        else:
            problem = str(error)
        raise ImproperlyConfigured(f"PRICES: {path} is not a table of prices: {problem}") from None
