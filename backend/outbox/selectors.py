"""Reads of the outbox."""

from __future__ import annotations

from django.db.models import Count

from backend.outbox.models import Mail, MailState


def count_by_state() -> dict[str, int]:
    """How many mails are pending, sent (and not yet forgotten) and dead."""
    found = dict(Mail.objects.order_by().values_list("state").annotate(number=Count("pk")))
    return {state: found.get(state, 0) for state in MailState.values}
