"""Compare the folder with the index, where that is: the process that owns it finds a request and carries it out."""

from __future__ import annotations

import time
from typing import Any

from backend.knowledge import services
from backend.knowledge.models import SyncRun, SyncState, Task
from tasks.errors import JobFailed
from tasks.runs import stopping

LOOK_SECONDS = 0.5
TAKEN_AFTER = 120.0  # seconds in which an owner that has nothing else to do begins
CHANGES = ("added", "changed", "moved", "removed", "failed")


def run() -> dict[str, int]:
    report = done_by_owner(Task.SYNC).report
    return {name: report[name] for name in CHANGES if report.get(name)}


def done_by_owner(task: Task) -> SyncRun:
    """Have the owner of the index do this, and wait for the end; JobFailed when nobody does, or it fails there."""
    run = services.request_sync("clock", task=task)
    patience = time.monotonic() + TAKEN_AFTER
    while run.state in (SyncState.REQUESTED, SyncState.RUNNING):
        if stopping():
            raise JobFailed("it was not waited for any longer; the process that owns the index goes on with it")
        if run.state == SyncState.RUNNING or SyncRun.objects.filter(state=SyncState.RUNNING).exists():
            patience = time.monotonic() + TAKEN_AFTER
        elif time.monotonic() > patience:
            raise JobFailed("no process that owns the index is running: `manage.py serve` is one")
        time.sleep(LOOK_SECONDS)
        run.refresh_from_db()
        if run.error in services.INTERRUPTED:  # its process was told to stop, or died: the next one begins anew
            run = services.request_sync("clock", task=task)
    if run.state == SyncState.FAILED:
        raise JobFailed(run.error, **_numbers(run.report))
    return run


def _numbers(report: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in report.items() if name in CHANGES}
