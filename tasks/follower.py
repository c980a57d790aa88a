"""Follows the watched folder: the operating system's events wake a sync, a file that is still being written is waited
for, requests of other processes are carried out. The comparison is the truth; a missed event only costs time."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import Error, close_old_connections, connection

from backend.knowledge import services
from backend.knowledge.models import SyncRun, SyncState, Task
from backend.knowledge.readiness import was_compared
from backend.knowledge.sync import SETTLE_SECONDS
from tasks.sharing import Reader, SharedFollower, Trouble
from vectorstore.errors import IndexUnavailable

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.5  # how often requests in the database are looked for
EVENT_PAUSE = 0.2  # seconds after an event before comparing: a burst of events is one comparison
POLL_FILES_MS = 1000  # between two looks at the files where no events come
REINDEX_RETRY_SECONDS = 300.0  # after a provider of embeddings did not answer
RETRY_SECONDS = 5.0  # before the folder is watched again after it vanished


class FolderFollower:
    """Three threads: one listens to the folder, one syncs, one changes over to another embedding model. `stop()`
    returns when all have ended.

    polling: look at the files instead of waiting for events, which network mounts do not send.
    """

    def __init__(self, folder: Path, *, polling: bool = False) -> None:
        self.folder = folder
        self.polling = polling
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._threads = [
            threading.Thread(target=self._listen, name="folder-events", daemon=True),
            threading.Thread(target=self._work, name="folder-sync", daemon=True),
            threading.Thread(target=self._reindex, name="reindex", daemon=True),
        ]

    def start(self) -> None:
        """Compare the folder at once, then follow it."""
        self._wake.set()
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """Compare soon."""
        self._wake.set()

    def stop(self, timeout: float = 4.0) -> None:
        """End both threads; a sync under way stops after the file it reads. `timeout` is in seconds."""
        self._stop.set()
        self._wake.set()
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    @property
    def is_alive(self) -> bool:
        return all(thread.is_alive() for thread in self._threads)

    def _listen(self) -> None:
        from watchfiles import watch

        while not self._stop.is_set():
            try:
                for _ in watch(
                    self.folder,
                    stop_event=self._stop,
                    debounce=200,
                    step=50,
                    rust_timeout=1000,
                    yield_on_timeout=False,
                    force_polling=self.polling,
                    poll_delay_ms=POLL_FILES_MS,
                ):
                    self._wake.set()
            except (OSError, RuntimeError) as error:
                logger.warning("the folder cannot be watched (%s); it is compared by the clock", error)
            self._stop.wait(RETRY_SECONDS)

    def _work(self) -> None:
        services.close_interrupted_runs()
        trigger = "start"
        due: float | None = None  # when files that were still being written are looked at again
        while not self._stop.is_set():
            woken = self._wake.wait(POLL_SECONDS)
            if self._stop.is_set():
                break
            try:
                request = SyncRun.objects.filter(state=SyncState.REQUESTED).exclude(task=Task.REINDEX).last()
                if request:
                    run = services.carry_out(request, stopping=self._stop.is_set)
                elif woken or (due is not None and time.monotonic() >= due):
                    self._wake.clear()
                    if trigger != "start":
                        self._stop.wait(EVENT_PAUSE)
                    run = services.sync(trigger, stopping=self._stop.is_set)
                    trigger = "watcher"
                else:
                    services.end_idle_parser()
                    continue
                due = time.monotonic() + SETTLE_SECONDS / 3 if run.report.get("waiting") else None
            except (Error, IndexUnavailable) as error:
                logger.error("sync: tried again in a moment: %s", " ".join(str(error).split()))
                self._stop.wait(RETRY_SECONDS)
                self._wake.set()
            except Exception:
                logger.exception("sync failed; it is tried again at the next change or by the clock")
            finally:
                close_old_connections()
        connection.close()

    def _reindex(self) -> None:
        """Change over to the configured embedding model when another one answers, or when somebody asks for it."""
        due = 0.0
        while not self._stop.wait(POLL_SECONDS):
            try:
                request = SyncRun.objects.filter(state=SyncState.REQUESTED, task=Task.REINDEX).last()
                if request is None and time.monotonic() >= due and was_compared():
                    if services.needs_reindex():
                        request = services.request_sync("start", task=Task.REINDEX)
                    else:
                        due = float("inf")
                if request is not None:
                    services.carry_out(request, stopping=self._stop.is_set)
                    due = time.monotonic() + REINDEX_RETRY_SECONDS
            except (Error, IndexUnavailable) as error:
                logger.error("reindex: tried again in a moment: %s", " ".join(str(error).split()))
                self._stop.wait(RETRY_SECONDS)
            except Exception:
                logger.exception("reindex failed; it is tried again later")
                due = time.monotonic() + REINDEX_RETRY_SECONDS
            finally:
                close_old_connections()
        connection.close()


class FolderMessenger(FolderFollower):
    """Follows the folder where workers read it (TASKS=celery): has them compare it, and reads the index they write."""

    def __init__(self, folder: Path, *, polling: bool = False) -> None:
        super().__init__(folder, polling=polling)
        self._reader = Reader()
        self._trouble = Trouble()
        self._sent: dict[Any, float] = {}
        self._asked: SyncRun | None = None  # for the last wake
        self._due: float | None = None
        self._threads = [
            threading.Thread(target=self._listen, name="folder-events", daemon=True),
            threading.Thread(target=self._work, name="folder-messages", daemon=True),
        ]

    def _work(self) -> None:
        trigger = "start"
        while not self._stop.is_set():
            woken = self._wake.wait(POLL_SECONDS)
            if self._stop.is_set():
                break
            try:
                if woken or (self._due is not None and time.monotonic() >= self._due):
                    self._wake.clear()
                    self._stop.wait(EVENT_PAUSE)
                    self._asked, self._due = services.request_sync(trigger), None
                    trigger = "watcher"
                self._send()
                self._look_at_the_end()
                self._reader.look()
                self._trouble.is_over()
            except (Error, IndexUnavailable) as error:
                self._trouble.is_there(error)
                self._stop.wait(RETRY_SECONDS)
            except Exception:
                logger.exception("messages to workers")
                self._stop.wait(RETRY_SECONDS)
            finally:
                close_old_connections()
        connection.close()

    def _send(self) -> None:
        """What was asked for and not begun; again after a while, because a broker may forget."""
        from tasks.worker import INGESTION, SEND_AGAIN_SECONDS, send

        now = time.monotonic()
        waiting = set(SyncRun.objects.filter(state=SyncState.REQUESTED).values_list("pk", flat=True))
        self._sent = {pk: at for pk, at in self._sent.items() if pk in waiting}
        for pk in waiting:
            if now - self._sent.get(pk, float("-inf")) >= SEND_AGAIN_SECONDS and send("sync", INGESTION, pk):
                self._sent[pk] = now

    def _look_at_the_end(self) -> None:
        if self._asked is None:
            return
        self._asked.refresh_from_db()
        if self._asked.state in (SyncState.DONE, SyncState.FAILED):
            if self._asked.report.get("waiting"):
                self._due = time.monotonic() + SETTLE_SECONDS / 3
            self._asked = None


def make_follower(*, may_own: bool) -> FolderFollower | SharedFollower:
    """The follower of the configured folder. may_own: whether this process may own an index that several can read."""
    env = settings.ENV
    if env.tasks == "celery":
        return FolderMessenger(env.knowledge_dir, polling=env.watch_polling)

    def make() -> FolderFollower:
        return FolderFollower(env.knowledge_dir, polling=env.watch_polling)

    return SharedFollower(make, may_own=may_own) if env.vectors_shared else make()
