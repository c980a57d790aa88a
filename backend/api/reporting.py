"""Unexpected errors to Sentry, where SENTRY_DSN is set: what kind, where in the code, and the ids to find its log line.

No request, no body, no variable, no text of an exception: each can hold what somebody wrote.
"""

from __future__ import annotations

import logging
from typing import Any

import sentry_sdk
from sentry_sdk.integrations.logging import LoggingIntegration


def start(dsn: str) -> None:
    """Send every record of level ERROR."""
    sentry_sdk.init(
        dsn=dsn,
        default_integrations=False,
        auto_enabling_integrations=False,
        integrations=[LoggingIntegration(level=None, event_level=logging.ERROR, sentry_logs_level=None)],
        send_default_pii=False,
        include_local_variables=False,
        max_request_body_size="never",
        max_breadcrumbs=0,
        send_client_reports=False,
        server_name="",
        before_send=_strip,
    )


def _strip(event: Any, hint: dict[str, Any]) -> Any:
    from backend.api.requests import route_of, told  # these settings are being read when this module is imported

    for one in event.get("exception", {}).get("values", []):
        one["value"] = ""
    said = event.get("logentry", {}).get("message", "")
    event["logentry"] = {"message": said}
    kept = ("event_id", "timestamp", "level", "logger", "platform", "exception", "logentry", "sdk", "release")
    event = {name: event[name] for name in kept if name in event}
    record = hint.get("log_record")
    tags = {"reference": getattr(record, "reference", None)}
    if (now := told()) is not None:
        tags |= {"request_id": now.id, "route": route_of(now.request), "conversation_id": now.conversation}
        if now.user is not None:
            event["user"] = {"id": str(now.user)}
    event["tags"] = {name: value for name, value in tags.items() if value}
    return event
