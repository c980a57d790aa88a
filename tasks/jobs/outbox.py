"""Send the mail that is due, also where no server with a sender of its own runs (backend/outbox/delivery.py), and take
away the files of mail that is gone from the outbox."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from backend.outbox.delivery import deliver
from backend.outbox.files import remove_orphans


class MailServerAway(Exception):
    """Mail waits because the server takes none."""


def run() -> dict[str, Any]:
    """How many were sent, deferred and given up. MailServerAway when the mail server takes nothing."""
    remove_orphans()
    done = asdict(deliver())
    if trouble := done.pop("trouble"):
        raise MailServerAway(trouble)
    return done
