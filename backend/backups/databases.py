"""What a backup and a restore ask of a database."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.db import connection

from backend.backups.archive import DATABASES, Manifest
from backend.backups.errors import BackupError

MIGRATIONS = "django_migrations"


@dataclass(frozen=True)
class Snapshot:
    """What a copy of the database holds, all of one moment. server, schema: as in the manifest."""

    migrations: list[str]
    counts: dict[str, int]
    server: int = 0
    schema: str = ""


class Database(ABC):
    """The configured database. NotMade and Refused say what is wrong; a restore holds DATA_DIR/index.lock."""

    vendor: str

    @property
    def member(self) -> str:
        """Its name in an archive."""
        return DATABASES[self.vendor]

    @property
    @abstractmethod
    def root(self) -> Path:
        """A folder on the disk where what is unpacked must be made."""

    @property
    @abstractmethod
    def live(self) -> list[Path]:
        """Its files, if it is made of files of this instance. The first is the one that the others belong to."""

    @abstractmethod
    def snapshot(self, target: Path) -> Snapshot:
        """Write a copy, of one moment, while others write."""

    @abstractmethod
    def exists(self) -> bool:
        """Whether there is one; nothing is made by asking."""

    @abstractmethod
    def check(self, manifest: Manifest) -> None:
        """Refused where this copy cannot be restored here, or somebody uses the database."""

    @abstractmethod
    def prepare(self, staged: Path, manifest: Manifest) -> int:
        """Do everything that can be done before anything is touched; returns how many accounts it erased again."""

    @abstractmethod
    def set_aside(self, manifest: Manifest) -> None:
        """Keep what is there, so that `put_back` or `forget_aside` can follow. Repeated, it changes nothing."""

    @abstractmethod
    def place(self, staged: Path, manifest: Manifest) -> int:
        """Let the copy answer. Returns as `prepare` does."""

    @abstractmethod
    def remove_new(self, manifest: Manifest | None) -> None:
        """Drop what `place` has brought, or a part of it."""

    @abstractmethod
    def put_back(self) -> None:
        """Let what was set aside, or a part of it, answer again."""

    @abstractmethod
    def forget_aside(self) -> None:
        """Delete what was set aside, if anything was."""


def own_tables() -> list[str]:
    """This release's tables that exist, and the list of migrations; others may share the database."""
    names = set(connection.introspection.django_table_names(only_existing=True, include_views=False))
    return sorted(names | ({MIGRATIONS} & set(connection.introspection.table_names())))


def count_rows(cursor: Any, tables: Iterable[str]) -> dict[str, int]:
    """Rows by table, as the cursor's transaction sees them."""
    counts = {}
    for table in tables:
        cursor.execute(f"SELECT count(*) FROM {connection.ops.quote_name(table)}")  # noqa: S608  # nosec B608 (ours)
        [counts[table]] = cursor.fetchone()
    return counts


def applied_migrations(cursor: Any) -> list[str]:
    cursor.execute(f"SELECT app, name FROM {MIGRATIONS} ORDER BY id")  # noqa: S608  # nosec B608
    return [f"{app}.{name}" for app, name in cursor.fetchall()]


def refuse_other_counts(manifest: Manifest, error: type[BackupError]) -> None:
    """What was restored must hold as many rows as what was backed up."""
    with connection.cursor() as cursor:
        found = count_rows(cursor, manifest.counts)
    if differing := [table for table, count in manifest.counts.items() if found[table] != count]:
        raise error(
            f"The database of the backup is not what was backed up: {differing[0]} has {found[differing[0]]} rows, "
            f"not {manifest.counts[differing[0]]}."
        )
