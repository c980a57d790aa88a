"""Erasing an account: nothing is left that names the person, and no restored backup brings her back.

What belongs to a user outside this app is erased by functions that the other apps register by their dotted paths.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.db.models import Q
from django.http import HttpRequest
from django.utils.module_loading import import_string
from rest_framework.request import Request

from backend.accounts.models import Erasure, User
from backend.api.errors import is_deadlock
from backend.audit.models import Action, Event
from backend.audit.services import record
from backend.outbox.services import erase_for
from vectorstore.disk import sync_folder

logger = logging.getLogger(__name__)

TRIES = 6  # of an erasure that meets other transactions of its user

_erasers: list[str] = []


def register(path: str) -> None:
    """Have the function at this dotted path called with every user who is to be erased, in the transaction of it."""
    if path not in _erasers:
        _erasers.append(path)


@dataclass(frozen=True, slots=True)
class Entry:
    """One erasure, as the ledger beside the backups holds it. `joined`, because another database counts users anew."""

    user_id: int
    joined: datetime
    erased_at: datetime

    def as_line(self) -> str:
        row = {"user": self.user_id, "joined": self.joined.isoformat(), "erased_at": self.erased_at.isoformat()}
        return json.dumps(row)


def erase(user: User, request: HttpRequest | Request | None = None) -> None:
    """Erase an account with all its chats, keys, logins and mails. One that is gone already is left at that."""
    for tried in itertools.count(1):
        try:
            entry = _erase(user, alone=connection.in_atomic_block or tried > TRIES // 2)
            break
        except DatabaseError as error:
            met = isinstance(error, IntegrityError) or is_deadlock(error)  # with what a request of hers wrote meanwhile
            if tried == TRIES or connection.in_atomic_block or not met:
                raise
    if entry:
        transaction.on_commit(lambda: note(entry))  # the admin erases several in one transaction, which may yet fail


def _erase(account: User, *, alone: bool = False) -> Entry | None:
    """None when it is gone. alone: nothing that belongs to the account can be committed meanwhile; but it may be that
    such a transaction and this one wait for each other. IntegrityError, where not, when something was.
    """
    with transaction.atomic():
        user = User.objects.select_for_update(no_key=not alone).filter(pk=account.pk).first()
        if user is None:
            return None
        for path in _erasers:
            import_string(path)(user)
        erase_for(user)
        Event.objects.filter(user=user).update(address=None, detail={})
        users = ContentType.objects.get_for_model(User)
        LogEntry.objects.filter(Q(user=user) | Q(content_type=users, object_id=str(user.pk))).delete()
        row = Erasure.objects.create(user_id=user.pk, joined=user.date_joined)
        user.delete()
        record(Action.ACCOUNT_ERASED)
    return Entry(row.user_id, row.joined, row.erased_at)


def ledger_of(folder: Path) -> Path:
    return folder / "erasures.jsonl"


def read_ledger(folder: Path) -> list[Entry]:
    """The erasures that are noted in a folder of backups; lines that are none are left out, and said in the log."""
    entries = []
    try:
        lines = ledger_of(folder).read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return []
    for line in filter(None, lines):
        try:
            row = json.loads(line)
            times = (datetime.fromisoformat(row[name]) for name in ("joined", "erased_at"))
            entries.append(Entry(int(row["user"]), *times))
        except (ValueError, KeyError, TypeError):
            logger.warning("%s has a line that is no erasure", ledger_of(folder))
    return entries


def known_erasures() -> list[Entry]:
    """Those that this database knows of."""
    rows = Erasure.objects.values_list("user_id", "joined", "erased_at")
    return [Entry(*row) for row in rows]


def apply(entries: Iterable[Entry]) -> int:
    """Erase again whoever of these is in the database; how many there were. For a database that was restored, and
    entries that `note_missing` has noted.
    """
    erased = 0
    for entry in entries:
        user = User.objects.filter(pk=entry.user_id, date_joined=entry.joined).first()
        if user is not None and _erase(user):
            erased += 1
    return erased


def note(entry: Entry) -> None:
    """Write an erasure down beside the backups, where a restore of one finds it. What is there already is not read:
    an account that is erased once more has a second line, which changes nothing.
    """
    with _failures_logged() as ledger:
        _append(ledger, [entry])


def note_missing(entries: Iterable[Entry]) -> None:
    """Write down those of them that are not there already. Reads the whole ledger."""
    with _failures_logged() as ledger:
        there = {(entry.user_id, entry.joined) for entry in read_ledger(ledger.parent)}
        wanted = {(entry.user_id, entry.joined): entry for entry in entries}
        _append(ledger, [entry for key, entry in wanted.items() if key not in there])


@contextlib.contextmanager
def _failures_logged() -> Iterator[Path]:
    """The ledger beside this instance's backups. The erasure is done, whether it can be noted or not."""
    ledger = ledger_of(settings.ENV.data_dir / "backups")
    try:
        ledger.parent.mkdir(parents=True, exist_ok=True)
        yield ledger
    except OSError as error:
        logger.error("an erasure could not be noted in %s: %s", ledger, error.strerror)


def _append(ledger: Path, entries: Iterable[Entry]) -> None:
    """It is on the disk afterwards. Whatever a crash left of a last line stays a line of its own."""
    lines = "".join(entry.as_line() + "\n" for entry in entries)
    with ledger.open("a+b") as file:
        if size := file.seek(0, os.SEEK_END):
            file.seek(size - 1)
            if file.read() != b"\n":
                lines = "\n" + lines
        file.write(lines.encode())
        file.flush()
        os.fsync(file.fileno())
    if not size:
        sync_folder(ledger.parent)
