"""Mail in the outbox, and a clock that tests wind."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.utils import timezone
from pytest_django.fixtures import Settings

from backend.accounts.models import User
from backend.outbox.models import Mail
from backend.outbox.services import enqueue

TEMPLATES = Path(__file__).parent.parent / "templates"
LINK = "https://chat.example.org/verify?token=a&b=c"


@dataclass
class Clock:
    now: datetime = field(default_factory=timezone.now)

    def __call__(self) -> datetime:
        return self.now

    def wind(self, **by: float) -> None:
        self.now += timedelta(**by)


def use(settings: Settings, url: str = "", **more: Any) -> None:
    """Send by this EMAIL_URL, with the tests' own templates beside the product's."""
    settings.ENV = settings.ENV.model_copy(update={"email_url": url, **more})
    own, product = TEMPLATES, settings.TEMPLATES[0]["DIRS"][-1]
    settings.TEMPLATES = [settings.TEMPLATES[0] | {"DIRS": [own, product]}]


def hello(to: str = "ada@example.org", user: User | None = None, username: str = "ada") -> Mail:
    return enqueue("hello", to, {"username": username, "link": LINK}, user=user)


def state_of(mail: Mail) -> tuple[str, int, str]:
    """State, attempts and error, as stored."""
    mail.refresh_from_db()
    return mail.state, mail.attempts, mail.error
