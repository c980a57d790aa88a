"""Erased accounts stay erased: a backup is older than what was erased after it, and must not bring it back.

Who was erased is told by the ledgers beside the backups and by the database that is about to be replaced. It is read
before anything is touched, and carried out before anybody reads the restored database.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from django.db import connection

from backend.accounts import erasure
from backend.accounts.models import Erasure

Entries = list[erasure.Entry]


def in_ledgers(*folders: Path) -> Entries:
    """Who was erased, by the ledgers in these folders."""
    return sorted({entry for folder in folders for entry in erasure.read_ledger(folder)}, key=_moment)


def in_database() -> Entries:
    """Who was erased, by the database that answers now; django.db.Error when it cannot tell."""
    if Erasure._meta.db_table not in connection.introspection.table_names():
        return []  # nothing was ever in it, or it is older than erasures
    return sorted(erasure.known_erasures(), key=_moment)


def _moment(entry: erasure.Entry) -> datetime:
    return entry.erased_at
