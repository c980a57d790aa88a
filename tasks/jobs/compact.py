"""Give back the space of what was deleted, where that can be done while others read and write.

This runs in a process of its own, and must: Chroma brings an SQLite of its own, and two of them in one process that
open the same file damage it (sqlite.org/howtocorrupt.html, 2.2.1). tantivy merges and removes its files by itself;
Chroma's graph of vectors keeps its size.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from django.conf import settings
from django.db import connection

WORTH = 0.25  # share of free pages from which on a file is written anew
MOST_MB = 300  # of content that is written anew: others cannot write meanwhile, some seconds
BUSY_SECONDS = 10


def run() -> dict[str, float]:
    counts: dict[str, float] = {}
    files = {"chroma": settings.ENV.data_dir / "chroma" / "chroma.sqlite3"}
    if connection.vendor == "sqlite":
        connection.close()
        files["database"] = Path(connection.settings_dict["NAME"])
    for name, path in files.items():
        if path.is_file() and not (name == "chroma" and settings.ENV.chroma_url):
            counts |= {f"{name}_{what}": number for what, number in compact(path).items()}
    return counts


def compact(path: Path) -> dict[str, float]:
    """Write an SQLite file anew without its free pages, if it is worth it. In MB: given back, and still free."""
    with closing(sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)) as database:
        before, free = _megabytes(database)
        freed = 0.0
        if before and free / before >= WORTH and before - free <= MOST_MB:
            database.execute("VACUUM")
            after, free = _megabytes(database)
            freed = before - after
        database.execute("PRAGMA optimize")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return {"freed_mb": round(freed, 1), "free_mb": round(free, 1)}


def _megabytes(database: sqlite3.Connection) -> tuple[float, float]:
    """Of the file, and of its free pages."""
    size, pages, free = (database.execute(f"PRAGMA {name}").fetchone()[0] for name in NUMBERS)
    return size * pages / 1e6, size * free / 1e6


NUMBERS = ("page_size", "page_count", "freelist_count")
