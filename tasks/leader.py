"""Of all processes that would run the jobs one does: the one that holds the lock. When it dies, hangs or loses the lock
another one takes over within seconds.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime

import psycopg
from django.db import Error, close_old_connections, connection
from django.utils import timezone

from backend.jobs import services
from backend.jobs.leading import leading
from tasks.locks import Lock, make_lock, process_name
from tasks.scheduler import Clock
from tasks.table import make_table

logger = logging.getLogger(__name__)

TRY_SECONDS = 4.0  # between two looks at the lock, by its holder and by those who wait for it
TELL_SECONDS = 10.0  # between two notes of the leader that it lives
STOP_SECONDS = 1.0  # for the runs under way to end
SET_BACK_SECONDS = 2.0  # a clock that loses more between two looks was set back


class Candidate:
    """A thread that waits for the lock, and runs the clock while it has it."""

    def __init__(self, make_clock: Callable[[], Clock], wall_time: Callable[[], float] = time.time) -> None:
        """wall_time: seconds, which somebody may set back."""
        self.make_clock = make_clock
        self._wall_time = wall_time
        self._ahead = 0.0  # of the wall's time to the time that only grows, at the last look
        self.name = process_name()
        self._stop = threading.Event()
        self._clock: Clock | None = None
        self._since: datetime | None = None
        self._told: datetime | None = None
        self._thread = threading.Thread(target=self._work, name="leader", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def tell_to_stop(self) -> None:
        """Have it end what runs, and let another process lead; does not wait."""
        self._stop.set()

    def stop(self, seconds: float = STOP_SECONDS + 1) -> None:
        """The same, and wait for it, at most so long."""
        self.tell_to_stop()
        self._thread.join(seconds)

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def _work(self) -> None:
        lock: Lock | None = None
        try:
            while not self._stop.is_set():
                try:
                    lock = lock or make_lock("leader", watched=True)
                    self._look(lock)
                except Exception as error:
                    if isinstance(error, (Error, psycopg.Error, OSError)):
                        logger.error("leader: %s", " ".join(str(error).split()))
                    else:
                        logger.exception("leader")
                    self._step_down()
                    if lock:
                        lock.release()
                finally:
                    close_old_connections()
                self._stop.wait(TRY_SECONDS)
        finally:
            self._step_down()
            if lock:
                lock.release()
            connection.close()

    def _look(self, lock: Lock) -> None:
        if self._clock is not None and not lock.is_held():
            logger.warning("%s has lost the lock and no longer runs the jobs", self.name)
            self._step_down()
        before, self._ahead = self._ahead, self._wall_time() - time.monotonic()
        if self._clock is None:
            if not lock.acquire():
                return
            self._take_over()
        elif self._ahead < before - SET_BACK_SECONDS:
            logger.warning("the clock was set back by %.0f s", before - self._ahead)
            self._clock.follow_set_back()
            self._told = None
        self._tell()

    def _tell(self) -> None:
        now = timezone.now()
        if self._since and (self._told is None or (now - self._told).total_seconds() >= TELL_SECONDS):
            self._told = now
            try:
                services.note_leader(self.name, self._since)
            except Error as error:  # a database that is slow to take it is no reason to end what runs
                logger.error("leader: %s", " ".join(str(error).split()))

    def _take_over(self) -> None:
        self._since, self._told = timezone.now(), None
        clock = self.make_clock()
        self._clock = clock
        clock.start()
        leading.set()
        logger.info("%s runs the jobs: %s", self.name, ", ".join(sorted(clock.table)))

    def _step_down(self) -> None:
        leading.clear()
        clock, self._clock = self._clock, None
        if clock is not None:
            clock.stop()
            clock.wait(STOP_SECONDS)
            try:
                services.forget_leader(self.name)
            except Error:
                logger.debug("the database does not answer; the leader's row grows old")


def make_candidate() -> Candidate:
    """One that would run the configured table."""
    return Candidate(lambda: Clock(make_table()))
