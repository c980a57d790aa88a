"""SQLite: copied by its backup API, which takes one moment of it while others write; restored by exchanging the file.

Everything is done to the new file before it takes the old one's place: checked, migrated, erased from.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from django.db import Error, connection

from backend.backups.archive import Manifest
from backend.backups.databases import (
    Database,
    Snapshot,
    applied_migrations,
    count_rows,
    own_tables,
    refuse_other_counts,
)
from backend.backups.erasures import Entries
from backend.backups.errors import Damaged, NotMade
from backend.backups.finishing import finish

BUSY_SECONDS = 60.0


class SQLite(Database):
    vendor = "sqlite"

    def __init__(self, erased: Entries) -> None:
        self.path = Path(connection.settings_dict["NAME"])
        self.erased = erased

    @property
    def root(self) -> Path:
        return self.path.parent

    @property
    def live(self) -> list[Path]:
        return [self.path, *(self.path.with_name(f"{self.path.name}{suffix}") for suffix in ("-wal", "-shm"))]

    def snapshot(self, target: Path) -> Snapshot:
        tables = own_tables()
        try:
            with (
                contextlib.closing(sqlite3.connect(self.path, timeout=BUSY_SECONDS)) as source,
                contextlib.closing(sqlite3.connect(target, isolation_level=None)) as copy,
            ):
                # All pages in one step: it holds no writer up, and with several steps each write would begin it anew.
                source.backup(copy)
                copy.execute("PRAGMA journal_mode=DELETE")  # one file, without companions
                if problem := _problem(copy):
                    raise NotMade(f"The database is damaged: {problem}.")
                copy.execute("VACUUM")  # what was deleted is not in it any more
                cursor = copy.cursor()
                return Snapshot(applied_migrations(cursor), count_rows(cursor, tables))
        except sqlite3.Error as error:
            raise NotMade(f"The database cannot be copied: {error}.") from None

    def exists(self) -> bool:
        return self.path.exists()

    def check(self, manifest: Manifest) -> None:
        return

    def prepare(self, staged: Path, manifest: Manifest) -> int:
        try:
            with contextlib.closing(sqlite3.connect(staged)) as copy:
                if problem := _problem(copy):
                    raise Damaged(f"The database of the backup is damaged: {problem}.")
            with self._answering_from(staged):
                refuse_other_counts(manifest, Damaged)
                erased = finish(self.erased)
        except (sqlite3.Error, Error) as error:
            raise Damaged(f"The database of the backup cannot be used: {error}.") from None
        return erased

    def set_aside(self, manifest: Manifest) -> None:
        connection.close()
        if self.path.exists():
            # What a killed process left beside it; it may be damaged, and be replaced for that.
            with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(self.path)) as database:
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def place(self, staged: Path, manifest: Manifest) -> int:
        connection.close()
        staged.replace(self.path)
        return 0

    def remove_new(self, manifest: Manifest | None) -> None:
        connection.close()
        for path in self.live:
            path.unlink(missing_ok=True)

    def put_back(self) -> None:
        return

    def forget_aside(self) -> None:
        return

    @contextlib.contextmanager
    def _answering_from(self, path: Path) -> Iterator[None]:
        """Django connects to that file meanwhile, in every thread of this process; then it has no companions."""
        connection.close()
        connection.settings_dict["NAME"] = str(path)
        try:
            yield
        finally:
            connection.close()
            connection.settings_dict["NAME"] = str(self.path)
        with contextlib.closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA journal_mode=DELETE")


def _problem(database: sqlite3.Connection) -> str:
    """What SQLite finds wrong with the file; "" if it is sound."""
    [found] = database.execute("PRAGMA quick_check(1)").fetchone()
    return "" if found == "ok" else str(found).splitlines()[-1]
