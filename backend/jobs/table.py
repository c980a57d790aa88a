"""The table of jobs as the web sees it. `tasks` fills it, by the dotted path of what makes it, so that nothing here
imports what runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from django.utils.module_loading import import_string

from backend.jobs.schedules import Schedule


@dataclass(frozen=True, slots=True)
class Job:
    """One row: what runs, when, where, and what happens when it does not end or fails.

    run: dotted path of a function without arguments. What it returns, counts by name or None, is kept with the run.
    schedule: None when the job is switched off; it can be asked for all the same.
    seconds: after which a run is given up. retries: so often a run that failed is tried again, with growing pauses.
    inside: run by a thread, which costs nothing but cannot be killed, instead of a process of its own (docs/adr/0012).
    queue: where Celery's workers take it from with TASKS=celery; without one it is run by the leader even then.
    """

    name: str
    does: str
    run: str
    schedule: Schedule | None
    seconds: float
    retries: int = 0
    inside: bool = False
    queue: str = ""

    @property
    def place(self) -> Literal["thread", "process"]:
        return "thread" if self.inside else "process"


_made_by: list[str] = []


def register(path: str) -> None:
    """Take the table from the function at this dotted path: it returns the jobs by their names."""
    _made_by[:] = [path]


def all_jobs() -> Mapping[str, Job]:
    """Every job there is, by name, those that are switched off too."""
    table: dict[str, Job] = {}
    for path in _made_by:
        table |= import_string(path)()
    return table
