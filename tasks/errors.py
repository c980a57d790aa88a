"""What goes wrong with jobs.

Exception
├── JobBusy    a run of it is under way
└── JobFailed  it could not do its work, for a reason that needs no traceback
"""

from __future__ import annotations

from typing import Any


class JobBusy(Exception):
    """A run of the job is under way in some process."""


class JobFailed(Exception):
    """The job could not do its work. counts: what it did all the same."""

    def __init__(self, message: str, **counts: Any) -> None:
        super().__init__(message)
        self.counts = counts
