"""One index for several processes: who reads it, who owns it, and who takes the owner's place (docs/adr/0017)."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from django.db import Error, close_old_connections, connection
from django.utils import timezone

from backend.knowledge import services
from backend.knowledge.index import follow_switch, get_index, take_over
from backend.knowledge.readiness import mark_compared, was_compared
from backend.knowledge.selectors import was_compared_since
from tasks.locks import process_name
from vectorstore.errors import IndexUnavailable

if TYPE_CHECKING:
    from tasks.follower import FolderFollower

logger = logging.getLogger(__name__)

STARTING_SECONDS = 0.5  # between two looks at whether the folder was compared
TRY_SECONDS = 2.0  # between two looks whether the index has an owner
TELL_SECONDS = 10.0  # between two notes of the owner that it lives


class Reader:
    """What a process owes its users while another one writes the index that it reads."""

    def __init__(self) -> None:
        self._since = timezone.now()
        self._asked = False

    def look(self) -> None:
        """Have the folder compared once since this process started, and compare by the embedding model that answers.
        IndexUnavailable while the vectors do not answer.
        """
        if not was_compared():
            if not self._asked:
                services.request_sync("start")
                self._asked = True
            if was_compared_since(self._since):
                mark_compared()
        get_index()
        follow_switch()


class Trouble:
    """With the index, in the log once and not with every try."""

    def __init__(self) -> None:
        self._said = ""

    def is_there(self, error: Exception) -> None:
        text = " ".join(str(error).split())
        if text != self._said:
            logger.error("index: %s It is tried again.", text)
        self._said = text

    def is_over(self) -> None:
        if self._said:
            logger.info("index: it answers again")
        self._said = ""


class SharedFollower:
    """Where several processes answer by one index: the one that owns it follows the folder, the others read along. When
    the owner ends, one of those that may takes its place.
    """

    def __init__(self, make: Callable[[], FolderFollower], *, may_own: bool) -> None:
        self.make = make
        self.may_own = may_own
        self.name = process_name()
        self._stop = threading.Event()
        self._reader = Reader()
        self._trouble = Trouble()
        self._follower: FolderFollower | None = None
        self._since = timezone.now()
        self._told: float | None = None
        self._thread = threading.Thread(target=self._work, name="index-reader", daemon=True)

    def start(self) -> None:
        """Own the index if nobody does, or read along until then."""
        self._thread.start()

    def stop(self, timeout: float = 4.0) -> None:
        """As FolderFollower.stop."""
        self._stop.set()
        deadline = time.monotonic() + timeout
        self._thread.join(timeout)
        if self._follower is not None:
            self._follower.stop(max(0.0, deadline - time.monotonic()))

    @property
    def owns(self) -> bool:
        """Whether this process is the one that follows the folder."""
        return self._follower is not None

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive() and (self._follower is None or self._follower.is_alive)

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                if self._follower is None and self.may_own and take_over():
                    logger.info("%s owns the index and follows the folder", self.name)
                    self._follower, self._since = self.make(), timezone.now()
                    self._follower.start()
                if self._follower is None:
                    self._reader.look()
                else:
                    self._tell()
                self._trouble.is_over()
            except (Error, IndexUnavailable) as error:
                self._trouble.is_there(error)
            except Exception:
                logger.exception("index")
            finally:
                close_old_connections()
            self._stop.wait(TRY_SECONDS if was_compared() else STARTING_SECONDS)
        if self._follower is not None:
            with contextlib.suppress(Error):
                services.forget_owner(self.name)
        connection.close()

    def _tell(self) -> None:
        if self._told is None or time.monotonic() - self._told >= TELL_SECONDS:
            self._told = time.monotonic()
            services.note_owner(self.name, self._since)
            services.mend_lost_vectors()
