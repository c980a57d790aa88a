"""Whether questions can be answered from the index, for /readyz; and whether RERANKER can be, before anything starts.

Ready means that the folder was compared since this process started: files removed meanwhile no longer answer. On the
very first start (no sync was ever complete) it also means that everything found was indexed.
"""

from __future__ import annotations

import threading
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error

from backend.api.checks import Check
from backend.knowledge.index import get_index, is_open
from backend.knowledge.selectors import latest_sync
from vectorstore.errors import IndexUnavailable, RerankerUnavailable

_compared = threading.Event()


def mark_compared(enough: bool = True) -> None:
    """Note that the folder was compared since the start, if that is `enough` to answer from what is indexed."""
    if enough:
        _compared.set()


def was_compared() -> bool:
    """Whether the folder was compared since this process started."""
    return _compared.is_set()


def check_index() -> Check:
    if not is_open():
        return Check(ok=False, detail="the index is not open in this process")
    index = get_index()
    try:
        index.vectors.ping()
    except IndexUnavailable as error:
        return Check(ok=False, detail=str(error))
    if not _compared.is_set():
        run = latest_sync()
        progress = run.progress if run else {}
        done, total = progress.get("done", 0), progress.get("total", 0)
        return Check(ok=False, detail=f"the first sync is under way: {done} of {total} files")
    return Check(ok=True, detail=f"{index.vectors.count()} passages")


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
