"""Waiting for what another thread or process does."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 60.0  # seconds; far above what it takes, so that a busy machine fails nothing
SPARSE = 0.02  # seconds between two looks


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """AssertionError, with `what` did not happen, when patience ends."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE:.0f} s: {what}"
        time.sleep(SPARSE)
