"""Locks between processes, which end with whoever holds them: an advisory lock of PostgreSQL, or a locked file beside
the SQLite database.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import psycopg
from django.db import connection
from filelock import FileLock, Timeout

# The server ends a session whose client says nothing for so long: a leader that is frozen, or cut off, is replaced.
SILENCE_SECONDS = 20
# So that an end of the connection that nobody announces is noticed on both sides.
KEEPALIVE = {"keepalives_idle": 5, "keepalives_interval": 5, "keepalives_count": 2, "tcp_user_timeout": 10_000}
SERVER_KEEPALIVE = {"tcp_keepalives_idle": 5, "tcp_keepalives_interval": 5, "tcp_keepalives_count": 2}


class Lock(Protocol):
    """One process holds it."""

    def acquire(self) -> bool:
        """Whether it is held now; never waits."""

    def is_held(self) -> bool:
        """Whether it still is. Asks the server, where there is one."""

    def release(self) -> None:
        """Give it up; also when it is not held."""


def make_lock(name: str, *, watched: bool = False) -> Lock:
    """The lock of this name for everybody who uses the configured database.

    watched: its holder calls `is_held` every few seconds, and loses it when it does not for SILENCE_SECONDS. A file's
    lock is held until its process ends or releases it.
    """
    if connection.vendor == "postgresql":
        return PostgresLock(name, watched=watched)
    folder = Path(connection.settings_dict["NAME"]).resolve().parent / "locks"
    return LockedFile(folder / f"{name}.lock")


class PostgresLock:
    """On a connection of its own: in a pool the lock would go to whoever gets the connection next."""

    def __init__(self, name: str, *, watched: bool) -> None:
        digest = hashlib.sha256(f"footnote:{name}".encode()).digest()
        self._key = int.from_bytes(digest[:8], "big", signed=True)
        self._watched = watched
        self._session: psycopg.Connection[Any] | None = None

    def acquire(self) -> bool:
        """psycopg.Error when the database does not answer."""
        self.release()
        parameters = connection.get_connection_params()
        given = {name: parameters[name] for name in parameters if name not in ("context", "cursor_factory")}
        session = psycopg.connect(**{"connect_timeout": 10, **given, **KEEPALIVE}, autocommit=True)
        try:
            for name, value in SERVER_KEEPALIVE.items():
                session.execute(f"SET {name} = {value}")
            if session.info.server_version >= 140_000:
                session.execute(f"SET idle_session_timeout = '{SILENCE_SECONDS if self._watched else 0}s'")
            row = session.execute("SELECT pg_try_advisory_lock(%s)", [self._key]).fetchone()
        except BaseException:
            session.close()
            raise
        if not row or not row[0]:
            session.close()
            return False
        self._session = session
        return True

    def is_held(self) -> bool:
        if self._session is None:
            return False
        try:
            self._session.execute("SELECT 1")
        except psycopg.Error:
            self.release()
            return False
        return True

    def release(self) -> None:
        """Given up when it returns, where the server answers: closing alone would let the server keep it a moment."""
        session, self._session = self._session, None
        if session is None:
            return
        with suppress(psycopg.Error):  # a session that broke is ended, and its lock with it, by the server
            session.execute("SELECT pg_advisory_unlock(%s)", [self._key])
        session.close()


class LockedFile:
    """The operating system lets go of it when the process ends, however it does."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Many threads of a process take turns at releasing it.
        self._lock = FileLock(path, timeout=0, thread_local=False)

    def acquire(self) -> bool:
        try:
            self._lock.acquire()
        except Timeout:
            return False
        return True

    def is_held(self) -> bool:
        return self._lock.is_locked

    def release(self) -> None:
        self._lock.release(force=True)


def process_name() -> str:
    """Machine and process."""
    return f"{os.uname().nodename}:{os.getpid()}"[:120]
