"""Sending what is in the outbox: every mail at least once, and twice only where the server's word was lost.

Any number of processes may do it. A mail is taken by a conditional UPDATE whose row count tells who got it, sent
outside every transaction, and then marked. Who takes it has it for a while: a process that was killed meanwhile is not
waited for longer. What remains is the moment between the server's acceptance and our mark; the second copy then has the
first one's Message-ID, so that the receiver's server can drop it.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from backend.outbox import files
from backend.outbox.messages import write_message
from backend.outbox.models import Mail, MailState
from backend.outbox.smtp import MailError, Refused, ServerTrouble, Session, one_line

logger = logging.getLogger(__name__)

TRIES = 20  # with the pauses below about two days
FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=30), timedelta(hours=4)
GIVE_UP = timedelta(days=2)  # while the server takes no mail at all, which costs a mail no try
LONGEST_TROUBLE_PAUSE = timedelta(minutes=15)
SPARE = timedelta(
    seconds=30
)  # that a mail is kept beyond the time that the server may take: to write down what it said
AT_ONCE = 50  # ids of one look
INSISTING = (0.2, 1.0, 3.0, 8.0)  # seconds between tries to write down what became of a mail; within SPARE
LONGEST_ERROR = 500

Clock = Callable[[], datetime]


@dataclass(slots=True)
class Delivery:
    """What one round did. trouble: why it ended before all was tried."""

    sent: int = 0
    deferred: int = 0
    dead: int = 0
    trouble: str = ""


def deliver(clock: Clock = timezone.now, stopping: Callable[[], bool] = lambda: False) -> Delivery:
    """Send what is due, the longest waiting first, until there is nothing or the server takes nothing."""
    done = Delivery()
    server = settings.ENV.mail_server
    transport = Session(server) if server else files.Folder()
    lease = timedelta(seconds=server.longest if server else 0) + SPARE
    try:
        while ids := list(_due(clock()).order_by("not_before", "pk").values_list("pk", flat=True)[:AT_ONCE]):
            for pk in ids:
                if stopping():
                    return done
                transport.open()
                mail = _claim(pk, clock(), lease)
                try:
                    if mail is not None:
                        _try(transport, mail, clock, done)
                except ServerTrouble:
                    if not transport.taken:
                        raise
                    transport.close()  # it takes so many mails in one session; the next one decides
    except ServerTrouble as trouble:
        done.trouble = str(trouble)
        done.dead += _wait_for_the_server(done.trouble, clock())
    finally:
        transport.close()
    return done


def pause_after(attempts: int, chance: float) -> timedelta:
    """Until the next try: twice as long each time, and not at the same moment for all. chance: in [0, 1)."""
    pause: timedelta = min(FIRST_PAUSE * 2 ** (attempts - 1), LONGEST_PAUSE)
    return pause * (0.75 + 0.5 * chance)


def _due(now: datetime) -> QuerySet[Mail]:
    idle = Q(claimed_until=None) | Q(claimed_until__lte=now)
    return Mail.objects.filter(idle, state=MailState.PENDING, not_before__lte=now)


def _claim(pk: UUID, now: datetime, lease: timedelta) -> Mail | None:
    """The mail, ours until the lease ends; None when somebody else took it, or it is gone."""
    with transaction.atomic():
        if not _due(now).filter(pk=pk).update(claimed_until=now + lease, attempts=F("attempts") + 1):
            return None
    return Mail.objects.filter(pk=pk, claimed_until=now + lease).first()


def _try(transport: Session | files.Folder, mail: Mail, clock: Clock, done: Delivery) -> None:
    try:
        if mail.attempts > TRIES:
            raise Refused(f"given up after {TRIES} tries, the last of which a process did not survive")
        transport.send(mail, _written(mail))
    except ServerTrouble as trouble:
        if transport.taken:  # so many in one session, and this one in the next
            _insist(lambda: _mark(mail, attempts=F("attempts") - 1))
        else:
            _put_behind(mail, str(trouble), clock(), done)
        raise
    except Refused as refused:
        _bury(mail, str(refused), done)
    except MailError as deferred:
        if mail.attempts >= TRIES:
            _bury(mail, str(deferred), done)
            return
        why, pause = str(deferred), pause_after(mail.attempts, random.random())  # noqa: S311 (spreads tries)
        _insist(lambda: _mark(mail, not_before=clock() + pause, trouble_since=None, error=why))
        done.deferred += 1
        logger.info("mail %s (%s) is tried again in %d s: %s", mail.pk, mail.kind, pause.total_seconds(), why)
    else:
        _insist(lambda: _mark_sent(mail, clock()))
        done.sent += 1


def _put_behind(mail: Mail, why: str, now: datetime, done: Delivery) -> None:
    """The server says that it takes none, and may say so to this one alone: the next round begins with another."""
    since = mail.trouble_since or now
    if now - since > GIVE_UP:
        _bury(mail, why, done)
        return
    pause = min(max(FIRST_PAUSE, (now - since) / 4), LONGEST_TROUBLE_PAUSE)
    _insist(lambda: _mark(mail, attempts=F("attempts") - 1, not_before=now + pause, trouble_since=since, error=why))


def _bury(mail: Mail, why: str, done: Delivery) -> None:
    _insist(lambda: _mark(mail, state=MailState.DEAD, error=why))
    done.dead += 1
    logger.warning("mail %s (%s) is given up after %d tries: %s", mail.pk, mail.kind, mail.attempts, why)


def _written(mail: Mail) -> bytes:
    try:
        return write_message(mail)
    except ValueError as error:  # Django's BadHeaderError, and what cannot be encoded
        raise Refused(f"it cannot be written as a mail: {one_line(str(error))}") from error


def _mark(mail: Mail, *, error: str | None = None, **changes: object) -> None:
    """End the claim, unless it ended by itself and somebody else has the mail."""
    if error is not None:
        changes["error"] = error[:LONGEST_ERROR]
    with transaction.atomic():
        ours = Mail.objects.filter(pk=mail.pk, state=MailState.PENDING, claimed_until=mail.claimed_until)
        ours.update(claimed_until=None, **changes)


def _mark_sent(mail: Mail, now: datetime) -> None:
    """Whoever has the claim: it must not be sent once more."""
    with transaction.atomic():
        Mail.objects.filter(pk=mail.pk).exclude(state=MailState.SENT).update(
            state=MailState.SENT, sent_at=now, text="", html="", error="", claimed_until=None
        )
    if not Mail.objects.filter(pk=mail.pk).exists():  # erased meanwhile
        files.remove(mail.pk)


def _insist(write: Callable[[], None]) -> None:
    """Have it written, also when the database is away for a moment: what is not written down is sent again."""
    for seconds in INSISTING:
        try:
            write()
        except (OperationalError, InterfaceError):
            connection.close_if_unusable_or_obsolete()
            time.sleep(seconds)
        else:
            return
    write()


def _wait_for_the_server(why: str, now: datetime) -> int:
    """Tell all that is due why it waits. Dead is what has waited too long: how many those are."""
    why = why[:LONGEST_ERROR]
    with transaction.atomic():
        too_long = Q(not_before__lt=now - GIVE_UP) | Q(trouble_since__lt=now - GIVE_UP)
        given_up = _due(now).filter(too_long).update(state=MailState.DEAD, error=why)
        _due(now).exclude(error=why).update(error=why)
    if given_up:
        logger.warning("%d mails are given up after %d days: %s", given_up, GIVE_UP.days, why)
    return given_up
