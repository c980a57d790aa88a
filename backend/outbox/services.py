"""Putting mail into the outbox, trying it again, and erasing it. `backend.outbox.delivery` sends it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import AbstractUser
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.db.models import Q
from django.dispatch import Signal
from django.template import Context
from django.template.loader import get_template, render_to_string
from django.utils import timezone

from backend.outbox import files
from backend.outbox.models import Mail, MailState

queued = Signal()  # mail was committed: who sends need not wait for the clock

LONGEST_ADDRESS = Mail._meta.get_field("to").max_length or 0
BATCH = 500


def enqueue(kind: str, to: str, context: dict[str, Any], *, user: AbstractUser | None = None) -> Mail:
    """Queue a mail, in the transaction that is open: it is sent only when that is committed, and then surely.

    kind: the name of the templates `mail/{kind}.subject.txt`, `.txt` and `.html`, which know PUBLIC_URL as `public_url`
    beside `context`. to: one address (ValidationError). user: whom it is about; erasing the account erases it.
    """
    mail = _make(kind, to, context, user)
    mail.save(force_insert=True)
    _announce()
    return mail


def enqueue_once(once: str, kind: str, to: str, context: dict[str, Any]) -> bool:
    """The same, unless a mail of this name is in the outbox for this address. Whether it was queued."""
    mail = _make(kind, to, context, None)
    mail.once = once
    Mail.objects.bulk_create([mail], ignore_conflicts=True)  # says nothing of what it left out
    made = Mail.objects.filter(pk=mail.pk).exists()
    if made:
        _announce()
    return made


def requeue(ids: Iterable[UUID] | None = None) -> int:
    """Try again, at once and from the beginning: these mails, those that wait for their next try too; or all dead ones.
    How many they are. What was sent has no text any more and is left alone, as is what is just being sent.
    """
    now = timezone.now()
    idle = Q(claimed_until=None) | Q(claimed_until__lte=now)
    mails = Mail.objects.filter(idle, state__in=(MailState.DEAD, MailState.PENDING))
    mails = mails.filter(state=MailState.DEAD) if ids is None else mails.filter(pk__in=list(ids))
    with transaction.atomic():
        number = mails.update(
            state=MailState.PENDING, attempts=0, not_before=now, trouble_since=None, claimed_until=None
        )
        _announce()
    return number


def erase_for(user: AbstractUser) -> int:
    """Erase every mail about the user, with its file; and those about nobody to an address that is the user's by proof:
    anybody may sign up with anybody's. How many there were.
    """
    about = Q(user_id=user.pk)
    if user.email and getattr(user, "is_verified", False):
        about |= Q(user_id=None, to__iexact=user.email)
    return erase(about)


def forget_sent(before: datetime) -> int:
    """Erase the mails that were sent before this moment, with their files. How many there were."""
    return erase(Q(state=MailState.SENT, sent_at__lt=before))


def erase(which: Q) -> int:
    """Erase these mails with their files. How many there were.

    The files go after the rows and before the commit: who writes one looks for its row afterwards.
    """
    erased = 0
    while ids := list(Mail.objects.filter(which).order_by("pk").values_list("pk", flat=True)[:BATCH]):
        with transaction.atomic():
            Mail.objects.filter(pk__in=ids).delete()
            for mail_id in ids:
                files.remove(mail_id)
        erased += len(ids)
    return erased


def _make(kind: str, to: str, context: dict[str, Any], user: AbstractUser | None) -> Mail:
    validate_email(to)
    if len(to) > LONGEST_ADDRESS:
        raise ValidationError("Enter a valid email address.", "invalid")
    context = {"public_url": settings.ENV.site, **context}
    return Mail(
        kind=kind,
        user_id=user.pk if user else None,
        to=to,
        subject=" ".join(_plain(f"mail/{kind}.subject.txt", context).split())[:200],
        text=_plain(f"mail/{kind}.txt", context).strip() + "\n",
        html=render_to_string(f"mail/{kind}.html", context),
    )


def _plain(template: str, context: dict[str, Any]) -> str:
    """Django would write & as &amp; in plain text too."""
    rendered: str = get_template(template).template.render(Context(context, autoescape=False))  # type: ignore[attr-defined]
    return rendered


def _announce() -> None:
    transaction.on_commit(lambda: queued.send_robust(sender=Mail), robust=True)
