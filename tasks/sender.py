"""Sends mail within seconds: woken when this process queued some, and by the clock for what others queued."""

from __future__ import annotations

import logging
import random
import threading
from typing import Any

from django.db import Error, close_old_connections, connection

from backend.outbox.delivery import deliver
from backend.outbox.services import queued

logger = logging.getLogger(__name__)

POLL_SECONDS = 5.0
LONGEST_PAUSE = 60.0  # seconds between two tries while the server takes nothing
# Seconds, drawn anew each time, before mail that was just queued is sent: what that costs the requests beside it does
# not tell who asked for a mail whether there is one.
APART = (0.2, 1.5)


class MailSender:
    """One thread. Told to stop, it takes no further mail and sends the one that is under way."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._work, name="mail", daemon=True)

    def start(self) -> None:
        """Send what is due at once, then whatever comes."""
        queued.connect(self.wake)
        self._wake.set()
        self._thread.start()

    def wake(self, **about: Any) -> None:
        """Look soon."""
        self._wake.set()

    def stop(self, timeout: float) -> None:
        """Wait so many seconds for its end. A mail that is cut off is sent again by the next process."""
        queued.disconnect(self.wake)
        self._stop.set()
        self._wake.set()
        self._thread.join(timeout)

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def _work(self) -> None:
        trouble, pause = "", POLL_SECONDS
        while not self._stop.is_set():
            if self._wake.wait(POLL_SECONDS):
                self._stop.wait(random.uniform(*APART))  # noqa: S311  # nosec B311 (no secret)
            self._wake.clear()
            if self._stop.is_set():
                break
            found = self._round()
            if found and not trouble:
                logger.error("mail waits, and is tried again: %s", found)
            elif trouble and not found:
                logger.info("mail is sent again")
            trouble = found
            pause = min(2 * pause, LONGEST_PAUSE) if found else POLL_SECONDS
            if found:
                self._stop.wait(pause)
                self._wake.set()
        connection.close()

    def _round(self) -> str:
        """Why mail cannot be sent at all; empty when it can."""
        try:
            return deliver(stopping=self._stop.is_set).trouble
        except Error as error:
            return f"the database does not answer: {error}"
        except Exception:
            logger.exception("sending mail failed")
            return "an error, see above"
        finally:
            close_old_connections()
