"""DRF's throttles, by the limits in the settings (`THROTTLE_CHAT=60/minute;1000/day`), counted by `limits`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

from django.conf import settings
from django.http import HttpRequest
from limits import RateLimitItem, parse_many
from prometheus_client import Counter
from rest_framework.exceptions import Throttled
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from backend.api.addresses import network_of
from backend.api.metrics import registry
from backend.throttling.storage import get_storage

if TYPE_CHECKING:
    from rest_framework.views import APIView


REFUSED = Counter("footnote_throttled", "Requests beyond the limits, by what limits them.", ["name"], registry=registry)


@lru_cache(maxsize=64)
def read_limits(text: str) -> tuple[RateLimitItem, ...]:
    """ "60/minute; 1000/day" as limits; empty is none. ValueError."""
    return tuple(parse_many(text)) if text.strip() else ()


def count(name: str, *who: str) -> float:
    """Count one of what THROTTLE_{name} limits, by these. The seconds to wait: 0 when it is within the limits."""
    storage = get_storage()
    wait = _wait(name, who, lambda limit, key: storage.incr(key, limit.get_expiry()) > limit.amount)
    if wait:
        REFUSED.labels(name).inc()
    return wait


def require(name: str, *who: str) -> None:
    """As `count`. Throttled (429) beyond the limits."""
    if wait := count(name, *who):
        raise TooMany(wait)


def take_back(name: str, *who: str) -> None:
    """What was counted last by these was none of it."""
    storage = get_storage()
    for limit in read_limits(getattr(settings.ENV, f"throttle_{name}")):
        storage.incr(limit.key_for(name, *who), limit.get_expiry(), -1)


def is_spent(name: str, *who: str) -> float:
    """The seconds to wait until one more is within the limits, without counting it; 0 when it is now."""
    storage = get_storage()
    return _wait(name, who, lambda limit, key: storage.get(key) >= limit.amount)


def _wait(name: str, who: tuple[str, ...], is_over: Callable[[RateLimitItem, str], bool]) -> float:
    """The seconds until none of the limits is over; 0 when none is. Every one of them is asked."""
    waits = [0.0]
    for limit in read_limits(getattr(settings.ENV, f"throttle_{name}")):
        key = limit.key_for(name, *who)
        if is_over(limit, key):
            waits.append(max(1.0, get_storage().get_expiry(key) - time.time()))
    return max(waits)


class TooMany(Throttled):
    """429, with Retry-After."""

    default_detail = "Too many requests. Please try again later."
    extra_detail_singular = extra_detail_plural = ""


class ByUser(BaseThrottle):
    """Limits what one user does; every program of hers counts as she."""

    name: ClassVar[str]
    methods: ClassVar[Sequence[str] | None] = None  # all of them

    def allow_request(self, request: Request, view: APIView) -> bool:
        if self.methods is not None and request.method not in self.methods:
            return True
        self.seconds = count(self.name, *self.who(request))
        return not self.seconds

    def who(self, request: Request) -> tuple[str, ...]:
        return ("user", str(request.user.pk))

    def wait(self) -> float:
        return self.seconds


class ByAddress(ByUser):
    """Limits what comes from one address (of IPv6: from one /64, which is what one customer has)."""

    def who(self, request: Request) -> tuple[str, ...]:
        return ("address", address_key(request))


def address_key(request: HttpRequest | Request) -> str:
    return network_of(request.META.get("REMOTE_ADDR", ""))


class Chat(ByUser):
    name = "chat"
    methods = ("POST",)


class Search(ByUser):
    name = "search"


class Upload(ByUser):
    name = "upload"
    methods = ("POST",)


class Signup(ByAddress):
    name = "signup"


class Login(ByAddress):
    name = "login"


class Mail(ByAddress):
    """Requests that send mail to somebody."""

    name = "mail"
