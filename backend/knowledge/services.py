"""Start a sync, or ask the process that owns the index for one; follow it through its row."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from backend.knowledge import reconcile, reindex
from backend.knowledge.index import IndexBusy, get_index, is_open
from backend.knowledge.models import Chunk, IndexOwner, Source, SourceState, SyncRun, SyncState, Task
from backend.knowledge.readiness import mark_compared
from backend.knowledge.rebuild import Rebuild, needs_rebuild
from backend.knowledge.selectors import LOSS, is_being_refilled, was_ever_complete
from backend.knowledge.sync import (
    FolderLooksUnmounted,
    OnProgress,
    Progress,
    Sync,
    SyncReport,
    current_recipe,
    is_new,
    make_plan,
    repair_indexes,
)
from loaders.errors import FolderUnavailable
from loaders.folder import scan
from loaders.ocr import Reading
from loaders.parser import Limits, Parser
from vectorstore import spans
from vectorstore.embeddings import load_embeddings, tokenizer_path
from vectorstore.errors import EmbeddingsUnavailable, IndexUnavailable

logger = logging.getLogger(__name__)

PARSER_IDLE_SECONDS = 60.0  # then its memory is given back
KEPT_RUNS = 200  # rows of old syncs that are kept for the record
STOPPED = "stopped before it was complete; the next start goes on"
ENDED = "the process ended before it was complete"
INTERRUPTED = (STOPPED, ENDED)  # nothing is wrong with what was asked for
TOUCHING = ("added", "changed", "moved", "removed", "failed")  # counts of a report that are worth a line in the log

_one_at_a_time = threading.Lock()
_parser: Parser | None = None


def sync(
    trigger: str,
    *,
    full: bool = False,
    on_progress: OnProgress | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> SyncRun:
    """One exact sync of the watched folder in this process, which must be able to own the index (else IndexBusy).

    Returns the finished row: `done` with its report, or `failed` with its error; only a bug raises.
    """
    get_index()
    return carry_out(SyncRun.objects.create(trigger=trigger, full=full), on_progress, stopping)


@spans.traced("sync")
def carry_out(
    run: SyncRun, on_progress: OnProgress | None = None, stopping: Callable[[], bool] = lambda: False
) -> SyncRun:
    """Do what this row asks for. Two at once in a process wait for each other; but a reindex, which only does so at its
    end, lets the folder be followed meanwhile.
    """
    if run.task == Task.REINDEX:
        return _reindex(run, on_progress, stopping)
    with _one_at_a_time:
        run.state, run.started_at = SyncState.RUNNING, timezone.now()
        run.save()
        try:
            if run.task == Task.SYNC:
                report = _sync(run, on_progress, stopping).as_dict()
            else:
                report = _reconcile(run, on_progress, stopping)
        except (FolderUnavailable, FolderLooksUnmounted) as error:
            _note_compared(run)
            return _finish(run, SyncState.FAILED, error=str(error))
        except BaseException as error:
            _finish(run, SyncState.FAILED, error=f"{type(error).__name__}: {error}")
            raise
        if stopping():
            return _finish(run, SyncState.FAILED, report, STOPPED)
        return _finish(run, SyncState.DONE, report)


def needs_reindex() -> bool:
    """Whether another embedding model is configured than the one that answers, or another parser has read the files."""
    configured = load_embeddings(settings.ENV.embedding_model, settings.ENV.data_dir)
    return is_open() and (get_index().embedder.fingerprint != configured.fingerprint or needs_rebuild())


def _reindex(run: SyncRun, on_progress: OnProgress | None, stopping: Callable[[], bool]) -> SyncRun:
    run.state, run.started_at = SyncState.RUNNING, timezone.now()
    run.save()
    recorder = _Recorder(run, on_progress)
    report: dict[str, Any] = {"read": 0, "embedded": 0}
    try:
        if needs_rebuild():
            _rebuild(run, recorder, stopping, report)
        configured = load_embeddings(settings.ENV.embedding_model, settings.ENV.data_dir)
        made = reindex.build(get_index(), configured, settings.ENV.embedding_model, recorder, stopping)
        report["embedded"] += made
        if not stopping():
            with _one_at_a_time:
                report["embedded"] += reindex.switch(get_index(), configured, settings.ENV.embedding_model)
    except (EmbeddingsUnavailable, IndexUnavailable, FolderUnavailable) as error:
        return _finish(run, SyncState.FAILED, report, str(error))
    except BaseException as error:
        _finish(run, SyncState.FAILED, report, f"{type(error).__name__}: {error}")
        raise
    if stopping():
        return _finish(run, SyncState.FAILED, report, STOPPED)
    return _finish(run, SyncState.DONE, {**report, "model": settings.ENV.embedding_model})


def _rebuild(run: SyncRun, recorder: OnProgress, stopping: Callable[[], bool], report: dict[str, Any]) -> None:
    """Read anew what another parser has read; the folder is followed between the steps."""
    work = Rebuild(settings.ENV.knowledge_dir, get_index(), _get_parser(), run, recorder, stopping)
    more = True
    while more and not stopping():
        with _one_at_a_time:
            work.index, work.parser = get_index(), _get_parser()
            more = work.step()
            if not more and not stopping():
                report["read"] = work.switch()
    report["embedded"] += work.report.chunks_embedded


def _sync(run: SyncRun, on_progress: OnProgress | None, stopping: Callable[[], bool]) -> SyncReport:
    recorder = _Recorder(run, on_progress)
    first_ever = not was_ever_complete()
    work = Sync(settings.ENV.knowledge_dir, get_index(), _get_parser(), run, recorder, stopping)
    plan = work.compare()
    if not first_ever:
        _note_compared(run)
    report = work.apply(plan)
    if first_ever and not stopping():
        _note_compared(run)
    return report


def _note_compared(run: SyncRun) -> None:
    """Answers may be given from what is indexed, by this process and by those that read along."""
    run.compared_at = timezone.now()
    run.save(update_fields=["compared_at"])
    mark_compared()


def _reconcile(run: SyncRun, on_progress: OnProgress | None, stopping: Callable[[], bool]) -> dict[str, Any]:
    """Differences, and for a repair whether any is left after it."""
    index, folder = get_index(), settings.ENV.knowledge_dir
    found = reconcile.compare(folder, index, full=run.full)
    report = {"differences": found.as_dict(), "repaired": False}
    if found and run.task == Task.REPAIR:
        reconcile.prepare_repair(index, found)
        run.full = True  # every file is hashed
        report["sync"] = _sync(run, on_progress, stopping).as_dict()
        repair_indexes(index, always=True)
        left = reconcile.compare(folder, index)
        report["left"] = left.as_dict()
        report["repaired"] = not left
    return report


def end_idle_parser(idle_seconds: float = PARSER_IDLE_SECONDS) -> None:
    """End the parsing process when it had nothing to do for this long; one that works is left alone."""
    if _parser and time.monotonic() - _parser.last_used > idle_seconds and _one_at_a_time.acquire(blocking=False):
        try:
            _parser.close()
        finally:
            _one_at_a_time.release()


def _get_parser() -> Parser:
    """The parser of this process; kept between syncs, because files are often dropped one after the other."""
    global _parser
    limits = parse_limits()
    if _parser is None or _parser.limits != limits:
        if _parser:
            _parser.close()
        _parser = Parser(tokenizer_path(), limits)
    return _parser


def request_sync(trigger: str, *, full: bool = False, task: Task = Task.SYNC) -> SyncRun:
    """Leave a request for the process that owns the index; an equal one that still waits is shared."""
    waiting = SyncRun.objects.filter(state=SyncState.REQUESTED, full=full, task=task).first()
    return waiting or SyncRun.objects.create(trigger=trigger, full=full, task=task)


def read_again(source_ids: Iterable[UUID], trigger: str) -> int:
    """Have the process that owns the index read these files again, whether or not they changed; how many there are.
    What answers from them goes on answering until then.
    """
    there = Source.objects.filter(pk__in=list(source_ids)).exclude(state=SourceState.REMOVED)
    number = there.update(digest="", mtime_ns=0)
    if number:
        request_sync(trigger)
    return number


def sync_or_request(
    trigger: str, *, full: bool = False, task: Task = Task.SYNC, on_progress: OnProgress | None = None
) -> SyncRun:
    """Do it here when this process can own the index; otherwise have the owner do it, and wait for the result."""
    try:
        get_index()
    except IndexBusy:
        run = request_sync(trigger, full=full, task=task)
        while run.state in (SyncState.REQUESTED, SyncState.RUNNING):
            time.sleep(0.2)
            run.refresh_from_db()
            if on_progress and run.progress:
                on_progress(Progress(**run.progress))
        return run
    return carry_out(SyncRun.objects.create(trigger=trigger, full=full, task=task), on_progress)


def preview() -> dict[str, list[str]]:
    """What a sync would do, without doing it: paths by what would happen to them. Nothing is read but hashes."""
    folder = settings.ENV.knowledge_dir
    plan = make_plan(folder, scan(folder), current_recipe(), full=False)
    return {
        "added": [entry.path for entry, _, source in plan.read if is_new(source)],
        "changed": [entry.path for entry, _, source in plan.read if not is_new(source)],
        "moved": [f"{source.path} -> {entry.path}" for source, entry in plan.moved],
        "removed": [source.path for source in plan.gone],
        "failed": [f"{problem.path}: {problem.reason}" for problem in plan.problems],
        "waiting": list(plan.waiting),
    }


def note_owner(name: str, since: datetime) -> None:
    """Say that this process owns the index, and lives."""
    IndexOwner.objects.update_or_create(id=1, defaults={"name": name, "since": since, "seen_at": timezone.now()})


def forget_owner(name: str) -> None:
    """Say that this process does not own the index any more."""
    IndexOwner.objects.filter(name=name).delete()


def mend_lost_vectors() -> None:
    """Have all vectors made again when the server that keeps them has come back without any. IndexUnavailable."""
    if not get_index().vectors.count() and Chunk.objects.exists() and not is_being_refilled():
        logger.error("the vector store has lost everything; it is filled again")
        SyncRun.objects.create(trigger=LOSS, task=Task.REPAIR)


def close_interrupted_runs() -> None:
    """Rows that a killed process left as running did not finish; called by the owner of the index at its start."""
    SyncRun.objects.filter(state=SyncState.RUNNING).update(
        state=SyncState.FAILED, error=ENDED, finished_at=timezone.now()
    )


def parse_limits() -> Limits:
    """The limits of one file, from the settings."""
    env = settings.ENV
    return Limits(
        seconds=env.parse_seconds,
        max_pages=env.max_pdf_pages,
        max_chars=env.max_source_chars,
        max_file_bytes=env.max_file_bytes,
        reading=Reading(env.ocr_languages if env.ocr else "", env.ocr_seconds),
    )


def _finish(run: SyncRun, state: SyncState, report: dict[str, Any] | None = None, error: str = "") -> SyncRun:
    run.state, run.error, run.finished_at = state, error, timezone.now()
    run.report = report or {}
    run.save()
    spans.note({"footnote.task": run.task, "footnote.trigger": run.trigger, "footnote.state": run.state})
    old = SyncRun.objects.values_list("pk", flat=True)[KEPT_RUNS:]
    SyncRun.objects.filter(pk__in=list(old)).delete()
    if error:
        spans.fail("stopped" if error == STOPPED else "failed")
        logger.log(logging.INFO if error == STOPPED else logging.ERROR, "%s (%s): %s", run.task, run.trigger, error)
    elif any(run.report.get(name) for name in TOUCHING):
        counts = {name: value for name, value in run.report.items() if name != "names" and value}
        logger.info("sync (%s): %s", run.trigger, ", ".join(f"{name} {value}" for name, value in counts.items()))
    return run


class _Recorder:
    """Writes progress into the row at most twice a second, so that any process can show it."""

    def __init__(self, run: SyncRun, forward: OnProgress | None) -> None:
        self.run = run
        self.forward = forward
        self.last: Any = None

    def __call__(self, progress: Progress) -> None:
        if self.forward:
            self.forward(progress)
        now = time.monotonic()
        if self.last is None or now - self.last > 0.5:
            self.last = now
            self.run.progress = asdict(progress)
            SyncRun.objects.filter(pk=self.run.pk).update(progress=self.run.progress)
