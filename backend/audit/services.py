"""Writing the audit log."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import AbstractUser
from django.http import HttpRequest
from rest_framework.request import Request

from backend.audit.models import Action, Event


def record(
    action: Action, request: HttpRequest | Request | None = None, user: AbstractUser | None = None, **detail: Any
) -> None:
    """Write one line, in the transaction that is open. request: from where; None for what the server does by itself.

    detail: never a secret, a password or what somebody wrote.
    """
    address = request.META.get("REMOTE_ADDR") or None if request is not None else None
    Event.objects.create(action=action, user_id=user.pk if user else None, address=address, detail=detail)
