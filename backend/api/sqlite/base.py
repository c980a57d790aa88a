"""Django's SQLite backend; the threads of a process wait for each other before they ask SQLite to write.

SQLite lets one write at a time, and has the others try again after a pause that grows: with hundreds of threads some
are passed over until their time is up ("database is locked"). For a lock of the process one is woken up instead. Other
processes are still met by SQLite's own way.
"""

from __future__ import annotations

import threading
from typing import Any

from django.db import OperationalError
from django.db.backends.sqlite3 import base

_writing = threading.Lock()


class DatabaseWrapper(base.DatabaseWrapper):
    """Every transaction is one that writes: OPTIONS say `transaction_mode: IMMEDIATE`."""

    _writes = False

    def _start_transaction_under_autocommit(self) -> None:
        if not self._writes:
            seconds = self.settings_dict["OPTIONS"]["timeout"]
            if not _writing.acquire(timeout=seconds):
                raise OperationalError(f"others were writing for {seconds} seconds")
            self._writes = True
        try:
            super()._start_transaction_under_autocommit()  # type: ignore[misc]  # the stubs leave it out
        except BaseException:
            self._end_turn()
            raise

    def _commit(self) -> Any:
        try:
            return super()._commit()  # type: ignore[misc]
        finally:
            self._end_turn()

    def _rollback(self) -> Any:
        try:
            return super()._rollback()  # type: ignore[misc]
        finally:
            self._end_turn()

    def _close(self) -> Any:
        try:
            return super()._close()  # type: ignore[misc]
        finally:
            self._end_turn()

    def _end_turn(self) -> None:
        if self._writes:
            self._writes = False
            _writing.release()
