"""What runs beside the requests in the serving process: the index, the folder's follower, the scheduler."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from django.conf import settings

from backend.api.checks import Check
from backend.chat.turns import forget_turns
from backend.knowledge import services, uploads
from backend.knowledge.index import KnowledgeIndex, close_index, get_index
from tasks.follower import FolderFollower, make_follower
from vectorstore.embeddings import known_words

if TYPE_CHECKING:
    from apscheduler.schedulers.background import BackgroundScheduler

logger = logging.getLogger(__name__)


class Runtime:
    """Owns the index of this process while it lives."""

    def __init__(self) -> None:
        self.follower: FolderFollower | None = None
        self.scheduler: BackgroundScheduler | None = None
        self.warm_up: threading.Thread | None = None

    def start(self) -> None:
        """Take the index (IndexBusy when another process has it), compare the folder, follow it, start the clock."""
        from tasks.scheduler import make_scheduler

        index = get_index()
        if not settings.ENV.chroma_url:  # then this is the only process that answers
            forget_turns()
        uploads.remove_drafts()
        self.follower = make_follower()
        self.follower.start()
        self.scheduler = make_scheduler(self.follower.wake)
        self.scheduler.start()
        # The first question should not pay for loading the model and opening the index.
        self.warm_up = threading.Thread(target=_warm_up, args=[index], name="warm-up", daemon=True)
        self.warm_up.start()

    def stop(self) -> None:
        """End everything, within about four seconds."""
        if self.scheduler and self.scheduler.running:
            self.scheduler.shutdown(wait=False)
        if self.follower:
            self.follower.stop()
        if self.warm_up:
            self.warm_up.join(2)  # to end in the middle of loading a model would abort the process
        services.end_idle_parser(0)
        close_index()


def _warm_up(index: KnowledgeIndex) -> None:
    index.embedder.embed_query("warm up")
    index.vectors.warm_up()
    known_words()


runtime = Runtime()


def check_scheduler() -> Check:
    scheduler, follower = runtime.scheduler, runtime.follower
    if scheduler is None or not scheduler.running:
        return Check(ok=False, detail="the scheduler is not running in this process")
    if follower is None or not follower.is_alive:
        return Check(ok=False, detail="the folder is not followed any more")
    return Check(ok=True, detail=f"{len(scheduler.get_jobs())} jobs")
