"""Compare disk, catalogue and both indexes by content, and repair what differs; the owner of the index does it."""

from __future__ import annotations

from typing import Any

from backend.knowledge.models import Task
from tasks.errors import JobFailed
from tasks.jobs.reindex import done_by_owner


def run() -> dict[str, int]:
    report = done_by_owner(Task.REPAIR).report
    found = _counts(report["differences"])
    if left := _counts(report.get("left", {})):
        told = ", ".join(f"{number} {name}" for name, number in left.items())
        raise JobFailed(f"not all of it could be repaired: {told}", **found)
    return found


def _counts(differences: dict[str, Any]) -> dict[str, int]:
    return {name: number for name, number in differences.items() if name != "names" and number}
