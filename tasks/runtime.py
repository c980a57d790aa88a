"""What runs beside the requests in a serving process, or without them in the scheduler's: index, follower, sender of
mail, candidate for the clock.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import Error

from backend.chat.turns import forget_turns
from backend.knowledge import services, uploads
from backend.knowledge.index import close_index, get_index, hold_data_dir, write_elsewhere
from tasks.follower import FolderFollower, make_follower
from tasks.sender import MailSender
from tasks.sharing import SharedFollower
from vectorstore.embeddings import known_words
from vectorstore.errors import IndexUnavailable

if TYPE_CHECKING:
    from tasks.leader import Candidate

logger = logging.getLogger(__name__)

OTHERS_UPLOAD = 3600.0  # seconds; what was not written to for so long is no upload of another process


class Runtime:
    """Owns the index of this process while it lives."""

    def __init__(self) -> None:
        self.follower: FolderFollower | SharedFollower | None = None
        self.sender: MailSender | None = None
        self.candidate: Candidate | None = None
        self.warm_up: threading.Thread | None = None

    def start(self) -> None:
        """Take the index (IndexBusy when another process has one that is not shared), compare the folder, follow it,
        run the jobs if no other process does.
        """
        shared = settings.ENV.vectors_shared
        if shared:
            write_elsewhere()
        else:
            get_index()
            forget_turns()  # this is the only process that answers
        uploads.remove_drafts(OTHERS_UPLOAD if shared else 0.0)
        self._start(settings.ENV.run_scheduler)
        # The first question should not pay for loading the model and opening the index.
        self.warm_up = threading.Thread(target=_warm_up, name="warm-up", daemon=True)
        self.warm_up.start()

    def start_scheduler(self) -> None:
        """Without a server: the jobs; and what else the serving processes leave to this one where they share the index
        (RUN_SCHEDULER=off there), which is to own it, and mail.
        """
        if settings.ENV.vectors_shared and settings.ENV.tasks == "inside":
            write_elsewhere()
            self._start(jobs=True)
        else:
            hold_data_dir()
            self._start_jobs()

    def _start(self, jobs: bool) -> None:
        self.follower = make_follower(may_own=jobs)
        self.follower.start()
        self.sender = MailSender()
        self.sender.start()
        if jobs:
            self._start_jobs()

    def _start_jobs(self) -> None:
        from tasks.leader import make_candidate

        self.candidate = make_candidate()
        self.candidate.start()

    @property
    def is_alive(self) -> bool:
        """Whether everything that was started goes on."""
        parts = (self.follower, self.sender, self.candidate)
        return all(part is None or part.is_alive for part in parts)

    def stop(self) -> None:
        """End everything, within about four seconds."""
        if self.candidate:
            self.candidate.tell_to_stop()
        if self.sender:
            self.sender.stop(0)  # the mail under way has until all else has ended
        if self.follower:
            self.follower.stop()
        if self.candidate:
            self.candidate.stop(0.5)
        if self.warm_up:
            self.warm_up.join(2)  # to end in the middle of loading a model would abort the process
        if self.sender:
            self.sender.stop(0.5)
        services.end_idle_parser(0)
        close_index()


def _warm_up() -> None:
    known_words()
    with contextlib.suppress(IndexUnavailable, Error):  # what it would have loaded is loaded when they answer again
        index = get_index()
        index.embedder.embed_query("warm up")
        index.vectors.warm_up()


runtime = Runtime()
