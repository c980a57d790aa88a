"""Deleting many rows beside the requests: each lot in a transaction of its own, as many as take some 50 ms, and after
it a pause as long as it took.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction
from django.db.models import Model, QuerySet

from tasks.runs import stopping

BATCH = 1000  # rows, at the most
FEWEST = 50
LOCKED_SECONDS = 0.05  # that a transaction should take
SHORTEST_PAUSE = 0.01  # seconds


def refresh_statistics(*tables: type[Model]) -> None:
    """PostgreSQL plans by what it last knew of a table, and reads all of a large one where it knows nothing."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            for table in tables:
                cursor.execute(f"ANALYZE {connection.ops.quote_name(table._meta.db_table)}")


@dataclass
class Batches:
    """What was deleted so far, and the longest that a transaction held its locks."""

    rows: int = 0
    longest_ms: float = 0.0
    size: int = 200

    def delete(self, some: Callable[[int], int | None]) -> None:
        """Call this, which deletes at most so many rows and returns how many it did, or None when there are no more."""
        while not stopping():
            started = time.perf_counter()
            with transaction.atomic():
                deleted = some(min(self.size, BATCH))
            took = time.perf_counter() - started
            self.rows += deleted or 0
            self.longest_ms = max(self.longest_ms, round(took * 1000, 1))
            if deleted is None:
                return
            self.size = max(FEWEST, min(BATCH, round(self.size * min(1.5, LOCKED_SECONDS / took))))
            time.sleep(max(SHORTEST_PAUSE, took))


def delete_all(rows: QuerySet[Any]) -> Batches:
    """Delete these rows, with what belongs to them."""
    batches = Batches()

    def some(most: int) -> int | None:
        ids = list(rows.order_by("pk").values_list("pk", flat=True)[:most])
        rows.model._default_manager.filter(pk__in=ids).delete()
        return len(ids) or None

    batches.delete(some)
    return batches
