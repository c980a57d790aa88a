"""One line and one measurement for each request, and the ids that its other log lines carry.

The line names the route, not the path: a path may hold the id of somebody's conversation, or what somebody typed.
"""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from prometheus_client import Histogram

from backend.api.addresses import is_among, networks
from backend.api.metrics import registry
from vectorstore import spans

if TYPE_CHECKING:
    from vectorstore.spans.recorder import Attributes, Root

logger = logging.getLogger(__name__)

HEADER = "X-Request-ID"
GOOD_ID = re.compile(r"[A-Za-z0-9._:-]{8,128}")
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
QUIET = ("healthz", "readyz", "metrics")  # asked every few seconds: their lines are for DEBUG
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120)

SECONDS = Histogram(
    "footnote_http_request_seconds",
    "Seconds until the last byte of an answer was written.",
    ["method", "route", "status"],
    buckets=BUCKETS,
    registry=registry,
)

_measured: dict[tuple[str, str, int], Histogram] = {}


class Told:
    """What the log lines of the request that this thread answers say of it."""

    __slots__ = ("conversation", "id", "request")

    def __init__(self, request: HttpRequest, request_id: str) -> None:
        self.request = request
        self.id = request_id
        self.conversation = ""

    @property
    def user(self) -> int | None:
        """Known once somebody has asked for it; a log line asks the database nothing."""
        user = self.request.__dict__.get("user")
        if user is None or ("_wrapped" in getattr(user, "__dict__", {}) and not hasattr(type(user._wrapped), "_meta")):
            return None
        pk: int | None = getattr(user, "pk", None)
        return pk


_told: ContextVar[Told | None] = ContextVar("told", default=None)


def told() -> Told | None:
    """Of the request that is being answered here; None outside of one."""
    return _told.get()


def note_conversation(conversation_id: object) -> None:
    """Have the log lines of this request name its conversation."""
    if (now := _told.get()) is not None:
        now.conversation = str(conversation_id)


class Requests:
    """The outermost middleware: before it a request has the address of its peer, perhaps a proxy."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        began = time.perf_counter()
        now = Told(request, _id_of(request))
        _told.set(now)
        traced = _begin_span(request)
        response = self.get_response(request)
        response.headers[HEADER] = now.id

        def ended() -> None:
            _told.set(now)  # a stream may be closed by another thread
            if traced is not None:
                traced.resume()
            _note(now, response.status_code, time.perf_counter() - began)
            if traced is not None:
                _end_span(traced, now, response.status_code)
            _told.set(None)

        if response.streaming:
            response._resource_closers.append(ended)  # type: ignore[attr-defined]  # Django calls them at the end
        else:
            ended()
        return response


def route_of(request: HttpRequest) -> str:
    """As the URL conf has it; of what is nowhere in it "none", so that nobody makes names by asking for them."""
    match = request.resolver_match
    return (match.route or "/") if match is not None else "none"


def _id_of(request: HttpRequest) -> str:
    """The id that a proxy of ours gave the request, else a new one."""
    proxies = networks(tuple(settings.ENV.trusted_proxies))
    given = str(request.META.get("HTTP_X_REQUEST_ID", ""))
    if proxies and GOOD_ID.fullmatch(given) and is_among(str(request.META.get("REMOTE_ADDR", "")), proxies):
        return given
    return uuid.uuid4().hex


def _method_of(request: HttpRequest) -> str:
    return str(request.method) if request.method in METHODS else "other"


def _begin_span(request: HttpRequest) -> Root | None:
    """Of the trace that the client began, if it says so. Of `tracestate` nothing is taken: it may hold anything."""
    if request.path_info.strip("/") in QUIET:
        return None
    method = _method_of(request)
    given = str(request.META.get("HTTP_TRACEPARENT", ""))
    return spans.begin(method, {"http.request.method": method}, "server", given)


def _end_span(span: Root, now: Told, status: int) -> None:
    route = route_of(now.request)
    told: Attributes = {"http.route": route, "http.response.status_code": status, "footnote.request_id": now.id}
    span.end(f"{_method_of(now.request)} {route}", told, str(status) if status >= 500 else "")


def _note(now: Told, status: int, seconds: float) -> None:
    request = now.request
    route = route_of(request)
    method = _method_of(request)
    key = (method, route, status)
    measured = _measured.get(key)
    if measured is None:
        measured = _measured[key] = SECONDS.labels(*key)
    measured.observe(seconds)
    if not now.conversation and request.resolver_match is not None:
        given: Any = request.resolver_match.kwargs.get("conversation_id", "")
        now.conversation = str(given)
    level = logging.DEBUG if route in QUIET else logging.INFO
    if logger.isEnabledFor(level):
        ms = round(seconds * 1000, 1)
        facts = {"method": method, "route": route, "status": status, "ms": ms}
        logger.log(level, "%s %s %d %.1f ms", method, route, status, ms, extra=facts)
