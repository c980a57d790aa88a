"""Whether questions can be answered from the index, for /readyz; and whether RERANKER can be, before anything starts.

Ready means that the folder was compared since this process started: files removed meanwhile no longer answer. On the
very first start (no sync was ever complete) it also means that everything found was indexed.
"""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error
from django.utils import timezone

from backend.api.checks import Check
from backend.knowledge.index import get_index, is_open
from backend.knowledge.models import SyncState
from backend.knowledge.selectors import current_owner, is_being_refilled, latest_sync
from vectorstore.errors import IndexUnavailable, RerankerUnavailable

TAKEN_AFTER = timedelta(seconds=30)  # an owner that lives looks at requests twice a second, unless a sync is under way

_compared = threading.Event()


def mark_compared() -> None:
    """Note that the folder was compared since the start, so that answers may be given from what is indexed."""
    _compared.set()


def was_compared() -> bool:
    """Whether the folder was compared since this process started."""
    return _compared.is_set()


def check_index() -> Check:
    if not (is_open() or settings.ENV.vectors_shared):
        return Check(ok=False, detail="the index is not open in this process")
    try:
        index = get_index()
        index.vectors.ping()
        passages = index.vectors.count()
    except IndexUnavailable as error:
        return Check(ok=False, detail=str(error))
    if not _compared.is_set():
        run = latest_sync()
        if run and run.state == SyncState.REQUESTED and timezone.now() - run.requested_at > TAKEN_AFTER:
            return Check(ok=False, detail="no process that owns the index compares the folder: start one")
        progress = run.progress if run else {}
        done, total = progress.get("done", 0), progress.get("total", 0)
        return Check(ok=False, detail=f"the first sync is under way: {done} of {total} files")
    if is_being_refilled():
        return Check(ok=False, detail=f"the vectors were lost and are made anew: {passages} so far")
    detail = f"{passages} passages"
    if settings.ENV.vectors_shared and settings.ENV.tasks == "inside" and current_owner() is None:
        detail += ", but no process follows the folder at the moment"
    return Check(ok=True, detail=detail)


def check_reranker(**_: Any) -> list[CheckMessage]:
    """Django's system check: a command that serves or syncs does not start with a RERANKER that is not there."""
    if not settings.ENV.reranker:
        return []
    from vectorstore.reranker import find_compressor

    try:
        find_compressor(settings.ENV.reranker)
    except RerankerUnavailable as error:
        return [Error(str(error), "Install its package, or correct RERANKER.", id="knowledge.E001")]
    return []
