"""The one way in: compare the folder with the catalogue and make the indexes follow, exactly and repairably.

The order of writes is the promise. First one commit that stops answers from removed files and marks what is to be read
(`pending`, `dirty`); then, batch by batch: vectors and words of new chunks, then one transaction that flips each source
to its new version, then the index entries that nothing uses any more, then `dirty` off. A crash at any point leaves
either the old version answering or the new one, and `dirty` rows that tell the next sync to compare the real index ids.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from django.conf import settings
from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q
from django.utils import timezone

from backend.knowledge.index import KnowledgeIndex
from backend.knowledge.models import Chunk, Source, SourceState, SourceVersion, SyncRun, SyncState
from loaders import registry
from loaders.errors import ChangedWhileReading, LoadError
from loaders.folder import FileEntry, Problem, Scan, hash_file, scan
from loaders.model import LoadedSource
from loaders.parser import Parser
from loaders.sidecar import Sidecar, resolve
from vectorstore import spans
from vectorstore.embeddings import Embedder, embed_passages
from vectorstore.lexical import LexicalEntry
from vectorstore.store import VectorStore

logger = logging.getLogger(__name__)

BATCH_CHUNKS = 512  # chunks embedded and written together: enough to sort by length, small enough to lose little
PIECE_CHUNKS = 128  # chunks embedded between two looks at whether to stop: well under a second
SETTLE_SECONDS = 1.5  # a file is taken when it has been still this long
SIGNED = 2**63 - 1  # what a database's big integer holds of an inode
STILL_WRITTEN = "it is still being written; it is read when it has been still for a moment"
PATH_LIMIT = 1024  # characters of a relative path that the catalogue can hold


class FolderLooksUnmounted(Exception):
    """The folder is empty and is not the folder of the last sync: more likely a missing mount than a deletion."""


class Stopped(Exception):
    """The process is asked to end; what is not written yet is left to the next start."""


@dataclass
class SyncReport:
    """What a sync did. Paths are relative to the folder; `waiting` files were still being written."""

    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    moved: list[tuple[str, str]] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    unchanged: int = 0
    outdated: int = 0  # of the unchanged: read by another release's parser; a reindex reads them anew
    chunks_embedded: int = 0
    chunks_reused: int = 0
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Counts first, then names; at most a hundred of each, so that a report stays readable."""
        lists = ("added", "changed", "moved", "removed", "failed", "waiting")
        counts = {name: len(getattr(self, name)) for name in lists}
        names = {name: getattr(self, name)[:100] for name in lists}
        return {
            **counts,
            "unchanged": self.unchanged,
            "outdated": self.outdated,
            "chunks_embedded": self.chunks_embedded,
            "chunks_reused": self.chunks_reused,
            "seconds": round(self.seconds, 3),
            "names": names,
        }


@dataclass(frozen=True)
class Plan:
    """What differs between the folder and the catalogue."""

    read: list[tuple[FileEntry, str, Source | None]]  # file, its sha256, its row if it has one
    touch: list[tuple[FileEntry, str, Source]]  # same content, other times: only the row's stat changes
    moved: list[tuple[Source, FileEntry]]
    gone: list[Source]
    problems: list[Problem]
    waiting: dict[str, Source | None]  # still being written, each with its row if it has one
    unchanged: int
    outdated: int
    sidecars: Mapping[str, Sidecar]


Work = list[tuple[FileEntry, str, Source]]  # files to read, each with its sha256 and its row


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: `done` of `total` files (or passages, where no file is read), and what they held so far."""

    phase: str
    done: int
    total: int
    chunks: int = 0
    pages: int = 0


OnProgress = Callable[[Progress], None]


def unheard(_: Progress) -> None:
    """For a run whose progress nobody follows."""


@dataclass(frozen=True)
class Read:
    """A file that was read, ready to be written."""

    source: Source
    entry: FileEntry
    digest: str
    loaded: LoadedSource
    rows: list[Chunk]


class Sync:
    """One sync of one folder: `compare`, then `apply`. `on_progress` is called often."""

    def __init__(
        self,
        folder: Path,
        index: KnowledgeIndex,
        parser: Parser,
        run: SyncRun,
        on_progress: OnProgress = unheard,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self.folder = folder
        self.index = index
        self.parser = parser
        self.run = run
        self.on_progress = on_progress
        self.stopping = stopping
        self.report = SyncReport()
        self.began = time.monotonic()
        self.recipe = current_recipe()
        self.sidecars: Mapping[str, Sidecar] = {}

    @spans.traced("compare")
    def compare(self) -> Work:
        """The first half: mend what a crash left, compare, and commit that removed files stop answering.

        FolderUnavailable or FolderLooksUnmounted when the folder cannot be trusted; nothing is changed then.
        """
        found = scan(self.folder)
        refuse_if_unmounted(self.folder, found)
        self.run.folder = folder_identity(self.folder)
        SyncRun.objects.filter(pk=self.run.pk).update(folder=self.run.folder)
        repair_indexes(self.index)
        forget_removed(self.index)
        plan = make_plan(self.folder, found, self.recipe, full=self.run.full)
        self.sidecars = plan.sidecars
        sources = self._announce(plan)
        return [(entry, digest, sources[entry.path]) for entry, digest, _ in plan.read]

    @spans.traced("apply")
    def apply(self, work: Work) -> SyncReport:
        """The second half: read, embed and write what is new, then forget what is gone."""
        self.on_progress(Progress("reading", 0, len(work)))
        with contextlib.suppress(Stopped):
            self._read_and_write(work)
        forget_removed(self.index)
        drop_unused_versions()
        self.report.seconds = time.monotonic() - self.began
        return self.report

    def _announce(self, plan: Plan) -> dict[str, Source]:
        """The first commit: removed files stop answering, moved ones follow, new and changed ones show as pending."""
        report = self.report
        report.unchanged = plan.unchanged + len(plan.touch)
        report.outdated = plan.outdated
        report.waiting = list(plan.waiting)
        with transaction.atomic():
            mark_removed(plan.gone)
            report.removed = [source.path for source in plan.gone]
            for source, entry in plan.moved:
                report.moved.append((source.path, entry.path))
                old = Source.objects.filter(path=entry.path)  # of a file removed from there
                SourceVersion.objects.filter(source__in=old).update(source=source)  # what is cited of it is kept
                old.delete()
                source.path = entry.path
                _save_stat(source, entry)
            for entry, _, source in plan.touch:
                _save_stat(source, entry)
            report.failed += [self._record_problem(problem) for problem in plan.problems]
            for path, known in plan.waiting.items():
                if is_new(known):
                    self._show_as_waiting(path, known)
            sources: dict[str, Source] = {}
            for entry, _, known in plan.read:
                (report.added if is_new(known) else report.changed).append(entry.path)
                source = known or Source(path=entry.path)
                source.state, source.dirty, source.error = SourceState.PENDING, True, ""
                source.save()
                sources[entry.path] = source
        return sources

    def _show_as_waiting(self, path: str, known: Source | None) -> None:
        source = known or Source(path=path)
        if (source.state, source.error) != (SourceState.PENDING, STILL_WRITTEN):
            source.state, source.error = SourceState.PENDING, STILL_WRITTEN
            source.save()

    def _record_problem(self, problem: Problem) -> tuple[str, str]:
        source = Source.objects.filter(path=problem.path).first() or Source(path=problem.path)
        if not problem.keep_previous and source.current_version is not None:
            source.current_version, source.dirty = None, True
        source.state, source.error, source.digest = SourceState.FAILED, problem.reason, ""
        source.save()
        return problem.path, problem.reason

    def _read_and_write(self, files: Work) -> None:
        batch: list[Read] = []
        waiting_chunks = written = pages = 0
        for done, (entry, digest, source) in enumerate(files, start=1):
            if self.stopping():
                raise Stopped
            if read := self._read(entry, digest, source):
                batch.append(read)
                waiting_chunks += len(read.rows)
                pages += read.loaded.pages or 0
            if waiting_chunks >= BATCH_CHUNKS:
                self._write(batch)
                written += waiting_chunks
                batch, waiting_chunks = [], 0
            self.on_progress(Progress("reading", done, len(files), written, pages))
        if batch:
            self._write(batch)
        self.on_progress(Progress("reading", len(files), len(files), written + waiting_chunks, pages))

    @spans.traced("read", many=True)
    def _read(self, entry: FileEntry, digest: str, source: Source) -> Read | None:
        """Parse one file. A file that cannot be read is recorded and never stops the rest."""
        path = self.folder / entry.path
        try:
            loaded = self.parser.parse(path, entry.path, resolve(self.sidecars, entry.path))
        except LoadError as error:
            if _is_still(path, entry):
                self._refuse(source, entry, digest, str(error))
            else:
                self._wait(entry, source)
            return None
        if not _is_still(path, entry):
            self._wait(entry, source)
            return None
        return Read(source, entry, digest, loaded, make_rows(source, loaded, generation(self.recipe)))

    def _wait(self, entry: FileEntry, source: Source) -> None:
        """It changed while it was read: leave it pending, the next sync takes it."""
        Source.objects.filter(pk=source.pk).update(error=STILL_WRITTEN)
        self.report.waiting.append(entry.path)
        for names in (self.report.added, self.report.changed):
            if entry.path in names:
                names.remove(entry.path)

    def _refuse(self, source: Source, entry: FileEntry, digest: str, reason: str) -> None:
        self._fail(source, entry, digest, reason)

    def _fail(self, source: Source, entry: FileEntry, digest: str, reason: str) -> None:
        """Nothing of it can be read; what it said before was replaced, and stops answering with this write."""
        source.state, source.error = SourceState.FAILED, reason
        source.digest, source.recipe = digest, self._recipe_at(entry.path)
        source.dirty = source.current_version_id is not None  # its index entries are left to forget_removed
        source.current_version = None
        _save_stat(source, entry)
        self.report.failed.append((entry.path, reason))
        logger.warning("%s: %s", entry.path, reason)

    @spans.traced("write", many=True)
    def _write(self, batch: list[Read]) -> None:
        self._index_new_chunks([row for read in batch for row in read.rows])
        stale: list[str] = []
        with transaction.atomic():
            for read in batch:
                stale += self._flip(read)
        self.index.vectors.delete(stale)
        self.index.lexical.delete(stale)
        self.index.lexical.commit()
        Source.objects.filter(pk__in=[read.source.pk for read in batch]).update(dirty=False)

    def _index_new_chunks(self, rows: list[Chunk]) -> None:
        """Vectors and words of chunks that the indexes do not hold yet; equal texts share one embedding."""
        by_key: dict[str, str] = dict(
            Chunk.objects.filter(embed_key__in={row.embed_key for row in rows}).values_list("embed_key", "id")
        )
        own = set(Chunk.objects.filter(id__in=[row.id for row in rows]).values_list("id", flat=True))
        stored = self.index.vectors.vectors(sorted({*by_key.values(), *own}))
        vectors = {key: stored[chunk_id] for key, chunk_id in by_key.items() if chunk_id in stored}
        missing = {row.embed_key: row for row in rows if row.embed_key not in vectors}
        if missing:
            vectors.update(self._embed_by_pieces(list(missing.values())))
        absent = [row for row in rows if row.id not in stored]
        if absent:
            self.index.vectors.upsert(
                [row.id for row in absent],
                np.stack([vectors[row.embed_key] for row in absent]),
                [str(row.source_id) for row in absent],
            )
        self.index.lexical.add([_lexical_entry(row) for row in rows if row.id not in own])
        self.index.lexical.commit()
        self.report.chunks_embedded += len(missing)
        self.report.chunks_reused += len(rows) - len(missing)

    def _embed_by_pieces(self, rows: list[Chunk]) -> Iterator[tuple[str, np.ndarray]]:
        """(embed_key, vector) of each row; texts of like length together, which the model reads fastest."""
        by_length = sorted(rows, key=lambda row: len(row.embed_text))
        for start in range(0, len(by_length), PIECE_CHUNKS):
            if self.stopping():
                raise Stopped
            piece = by_length[start : start + PIECE_CHUNKS]
            yield from zip((row.embed_key for row in piece), embed_rows(self.index.embedder, piece), strict=True)

    def _flip(self, read: Read) -> list[str]:
        """Make what was read the current version; returns ids that the indexes must forget."""
        source = read.source
        new_ids = {row.id for row in read.rows}
        old_ids = set(Chunk.objects.filter(source=source).values_list("id", flat=True))
        stale = sorted(old_ids - new_ids)
        Chunk.objects.filter(id__in=stale).delete()
        version = self._save_version(read)
        source.answer_from(version)
        source.state, source.error = SourceState.INDEXED, ""
        source.digest, source.indexed_at = read.digest, timezone.now()
        source.recipe = version.recipe
        _save_stat(source, read.entry)
        drop_unused_versions([source.pk])
        return stale

    def _save_version(self, read: Read) -> SourceVersion:
        """The rows of what was read; nothing answers from them yet."""
        loaded = read.loaded
        version = SourceVersion.objects.create(
            source=read.source,
            digest=read.digest,
            recipe=self._recipe_at(read.entry.path),
            format=loaded.format,
            title=loaded.title[:300],
            text=loaded.text,
            pages=loaded.pages,
            warnings=list(loaded.warnings[:100]),
            tags=list(loaded.tags),
            language=loaded.language,
            chunk_count=len(read.rows),
        )
        for row in read.rows:
            row.version = version
        Chunk.objects.bulk_create(
            read.rows,
            batch_size=500,
            update_conflicts=True,
            unique_fields=["id"],
            update_fields=[
                "version",
                "position",
                "text",
                "embed_text",
                "embed_key",
                "start",
                "end",
                "page",
                "heading",
                "kind",
                "answer_start",
            ],
        )
        return version

    def _recipe_at(self, path: str) -> str:
        return recipe_of(self.recipe, self.sidecars, path)


def recipe_of(recipe: str, sidecars: Mapping[str, Sidecar], path: str) -> str:
    """The recipe for one file: also what its sidecar tells of it."""
    told = resolve(sidecars, path).digest
    return f"{recipe}/{told}" if told else recipe


def current_recipe() -> str:
    """What a source must have been read with to count as up to date."""
    env = settings.ENV
    return f"parser-{registry.PARSER_VERSION}" + (f"/ocr-{env.ocr_languages[:20]}" if env.ocr else "")


def generation(recipe: str) -> str:
    """The part of a recipe that names the release's parser: files of another one are read anew beside what answers."""
    return recipe.partition("/")[0]


def is_up_to_date(source: Source, wanted: str) -> bool:
    """Whether the content with the digest of its row need not be read again by a sync. What another release's parser
    could read goes on answering until a reindex; what it could not is tried again.
    """
    if not source.digest:
        return False
    if source.state == SourceState.INDEXED:
        return source.recipe.partition("/")[2] == wanted.partition("/")[2]
    return source.state == SourceState.FAILED and source.recipe == wanted


def folder_identity(folder: Path) -> str:
    """Device and inode: another value means another folder, or a mount that came or went."""
    stat = folder.stat()
    return f"{stat.st_dev}:{stat.st_ino}"


def refuse_if_unmounted(folder: Path, found: Scan) -> None:
    """An empty folder that is not the one of the last sync deletes nothing; FolderLooksUnmounted says what to do."""
    if found.files or found.problems or not Source.objects.exclude(state=SourceState.REMOVED).exists():
        return
    last = SyncRun.objects.filter(state=SyncState.DONE).exclude(folder="").first()
    if last and last.folder != folder_identity(folder):
        raise FolderLooksUnmounted(
            f"{folder} is empty and is not the folder of the last sync. Nothing was removed. If it is a mount, mount "
            "it again; if it is right, put any file into it."
        )


def make_plan(folder: Path, found: Scan, recipe: str, *, full: bool) -> Plan:
    """Compare the scan with the rows: one stat for an unchanged file, one hash for one whose stat changed."""
    known = {source.path: source for source in Source.objects.all()}
    now_ns = time.time_ns()
    read: list[tuple[FileEntry, str, Source | None]] = []
    touch: list[tuple[FileEntry, str, Source]] = []
    too_long = [
        Problem(entry.path[:PATH_LIMIT], f"the path is over {PATH_LIMIT} characters")
        for entry in found.files
        if len(entry.path) > PATH_LIMIT
    ]
    refused = [*found.problems, *too_long]
    problems = [problem for problem in refused if _is_news(known.get(problem.path), problem)]
    waiting: dict[str, Source | None] = {}
    unchanged, outdated = len(refused) - len(problems), 0
    present = {problem.path for problem in refused}
    for entry in found.files:
        if len(entry.path) > PATH_LIMIT:
            continue
        present.add(entry.path)
        source = known.get(entry.path)
        wanted = recipe_of(recipe, found.sidecars, entry.path)
        up_to_date = source is not None and is_up_to_date(source, wanted)
        if source and up_to_date and not full and same_stat(source, entry):
            unchanged += 1
            outdated += source.recipe != wanted
        elif 0 <= now_ns - entry.mtime_ns < SETTLE_SECONDS * 1e9:
            waiting[entry.path] = source
        else:
            try:
                digest = hash_file(folder, entry)
            except ChangedWhileReading:
                waiting[entry.path] = source
            except OSError as error:
                problems.append(Problem(entry.path, error.strerror or "it cannot be read", keep_previous=True))
            else:
                if source and up_to_date and source.digest == digest:
                    touch.append((entry, digest, source))
                    outdated += source.recipe != wanted
                else:
                    read.append((entry, digest, source))
    gone = [s for path, s in sorted(known.items()) if s.state != SourceState.REMOVED and path not in present]
    moved, gone, read = _match_moves(gone, read, lambda path: recipe_of(recipe, found.sidecars, path))
    return Plan(read, touch, moved, gone, problems, waiting, unchanged, outdated, found.sidecars)


def make_rows(source: Source, loaded: LoadedSource, parser: str) -> list[Chunk]:
    """Unsaved rows with ids from (parser, source, heading, embedded text, occurrence): unchanged text keeps its id."""
    seen: dict[str, int] = {}
    rows = []
    for position, chunk in enumerate(loaded.chunks):
        row = Chunk(
            source=source,
            position=position,
            text=chunk.text,
            embed_text=chunk.embed_text,
            start=chunk.start,
            end=chunk.end,
            page=chunk.page,
            heading=list(chunk.heading),
            kind=chunk.kind,
            answer_start=chunk.answer_start,
        )
        row.embed_key = _embed_key(row)
        row.id = chunk_id(row, seen, parser)
        rows.append(row)
    return rows


def chunk_id(row: Chunk, seen: dict[str, int], parser: str) -> str:
    """The id that a passage's content gives it. seen: how often each content came before in its source; counted up.
    parser: the generation of its recipe, so that the passages of two can lie side by side.
    """
    content = json.dumps([parser, str(row.source_id), row.heading, _embed_key(row), row.text], ensure_ascii=True)
    occurrence = seen.get(content, 0)
    seen[content] = occurrence + 1
    return _hash(f"{content}#{occurrence}")


def repair_indexes(index: KnowledgeIndex, *, always: bool = False) -> dict[str, int]:
    """Make both indexes hold exactly the ids of the chunk rows; returns how many entries were missing and extra.

    The full list of ids is read only when a crash left `dirty` rows or when the counts differ, or when `always`.
    """
    rows = Chunk.objects.count()
    is_dirty = Source.objects.filter(dirty=True).exists()
    if not (always or is_dirty or rows != index.vectors.count() or rows != index.lexical.count()):
        return {"missing": 0, "extra": 0}
    drop_replaced(index)
    ids = set(Chunk.objects.values_list("id", flat=True))
    vector_ids, lexical_ids = index.vectors.ids(), index.lexical.ids()
    index.vectors.delete(sorted(vector_ids - ids))
    index.lexical.delete(sorted(lexical_ids - ids))
    for rows_without_vector in in_batches(sorted(ids - vector_ids)):
        write_vectors(index.vectors, index.embedder, rows_without_vector)
    for rows_without_words in in_batches(sorted(ids - lexical_ids)):
        index.lexical.add([_lexical_entry(row) for row in rows_without_words])
    index.lexical.commit()
    whole = Source.objects.filter(dirty=True).exclude(state__in=[SourceState.PENDING, SourceState.REMOVED])
    whole.exclude(current_version=None).update(dirty=False)
    found = {
        "missing": len(ids - vector_ids) + len(ids - lexical_ids),
        "extra": len(vector_ids - ids) + len(lexical_ids - ids),
    }
    if any(found.values()):
        logger.warning("indexes repaired: %(missing)d entries were missing, %(extra)d were left over", found)
    return found


def drop_replaced(index: KnowledgeIndex) -> int:
    """Drop the passages that neither answer nor wait for the switch of a rebuild; returns how many."""
    parser = generation(current_recipe())
    waits = Q(version__recipe=parser) | Q(version__recipe__startswith=f"{parser}/")
    replaced = Chunk.objects.exclude(version_id=F("source__current_version_id")).exclude(waits)
    rows = list(replaced.values_list("id", "source_id"))
    if rows:
        ids = [pk for pk, _ in rows]
        index.vectors.delete(ids)
        index.lexical.delete(ids)
        index.lexical.commit()
        with transaction.atomic():
            Chunk.objects.filter(id__in=ids).delete()
            drop_unused_versions(list({source_id for _, source_id in rows}))
    return len(rows)


def forget_removed(index: KnowledgeIndex) -> None:
    """Drop the index entries, rows and unused texts of chunks that nothing answers from any more."""
    removed = Source.objects.filter(dirty=True, current_version=None).exclude(state=SourceState.PENDING)
    source_ids = list(removed.values_list("pk", flat=True))
    if not source_ids:
        return
    chunks = Chunk.objects.filter(source_id__in=source_ids)
    ids = list(chunks.values_list("id", flat=True))
    index.vectors.delete(ids)
    index.lexical.delete(ids)
    index.lexical.commit()
    with transaction.atomic():
        chunks.delete()
        drop_unused_versions(source_ids)
        Source.objects.filter(pk__in=source_ids).update(dirty=False)


def drop_unused_versions(source_ids: Sequence[Any] | None = None) -> None:
    """Texts that neither answer nor stand behind a citation are not kept; of all sources when none are named."""
    answers = Exists(Source.objects.filter(current_version=OuterRef("pk")))
    old = SourceVersion.objects.filter(~answers, citations=None, chunks=None)
    if source_ids is not None:
        old = old.filter(source_id__in=source_ids)
    if old.exists():  # without this an idle sync would take the write lock
        old.only("pk").delete()


def mark_removed(sources: Iterable[Source]) -> None:
    """In one write, nothing answers from them any more; the next sync takes them out of the indexes."""
    ids = [source.pk for source in sources]
    Source.objects.filter(pk__in=ids).update(
        state=SourceState.REMOVED, current_version=None, dirty=True, error="", digest=""
    )


def _match_moves(
    gone: list[Source], read: list[tuple[FileEntry, str, Source | None]], recipe_at: Callable[[str], str]
) -> tuple[list[tuple[Source, FileEntry]], list[Source], list[tuple[FileEntry, str, Source | None]]]:
    """Files that left one path and appeared at another with the same content and name keep their row and vectors."""
    by_content: dict[tuple[str, str], list[Source]] = defaultdict(list)
    for source in gone:
        if source.state == SourceState.INDEXED:
            by_content[source.digest, PurePosixPath(source.path).name].append(source)
    moved: list[tuple[Source, FileEntry]] = []
    left = []
    for entry, digest, known in read:
        candidates = by_content.get((digest, PurePosixPath(entry.path).name), [])
        same = next((source for source in candidates if is_up_to_date(source, recipe_at(entry.path))), None)
        if same and is_new(known):
            candidates.remove(same)
            moved.append((same, entry))
        else:
            left.append((entry, digest, known))
    moved_ids = {source.pk for source, _ in moved}
    return moved, [source for source in gone if source.pk not in moved_ids], left


def is_new(source: Source | None) -> bool:
    """Whether nothing at this path was ever read since it appeared."""
    return (
        source is None or source.state == SourceState.REMOVED or (not source.digest and not source.current_version_id)
    )


def _is_news(source: Source | None, problem: Problem) -> bool:
    return source is None or source.state != SourceState.FAILED or source.error != problem.reason


def same_stat(source: Source, entry: FileEntry) -> bool:
    return (source.size, source.mtime_ns, source.inode) == (entry.size, entry.mtime_ns, entry.inode & SIGNED)


def _save_stat(source: Source, entry: FileEntry) -> None:
    source.size, source.mtime_ns, source.inode = entry.size, entry.mtime_ns, entry.inode & SIGNED
    source.save()


def _is_still(path: Path, entry: FileEntry) -> bool:
    """Whether the file is the one that was scanned."""
    try:
        stat = os.stat(path)  # noqa: PTH116 (follows the link, as the scan does)
    except OSError:
        return False
    return (stat.st_size, stat.st_mtime_ns, stat.st_ino) == (entry.size, entry.mtime_ns, entry.inode)


def in_batches(ids: Sequence[str], size: int = BATCH_CHUNKS) -> Iterator[list[Chunk]]:
    """The rows of these ids, as far as they are still there, `size` ids at a time."""
    for start in range(0, len(ids), size):
        yield list(Chunk.objects.filter(id__in=ids[start : start + size]).order_by("id"))


def write_vectors(vectors: VectorStore, embedder: Embedder, rows: Sequence[Chunk]) -> None:
    """Embed these passages and write their vectors."""
    if rows:
        vectors.upsert([row.id for row in rows], embed_rows(embedder, rows), [str(row.source_id) for row in rows])


def embed_rows(embedder: Embedder, rows: Sequence[Chunk]) -> np.ndarray:
    """The vectors that the model gives these passages, of unit length."""
    return embed_passages(embedder, [row.embed_text for row in rows], [_question(row) for row in rows])


def _embed_key(row: Chunk) -> str:
    return _hash(f"{row.kind == 'faq'}\n{row.embed_text}")


def _question(row: Chunk) -> str | None:
    """The question of a FAQ pair."""
    return row.heading[-1] if row.kind == "faq" and row.heading else None


def _lexical_entry(row: Chunk) -> LexicalEntry:
    return LexicalEntry(id=row.id, source_id=str(row.source_id), title=" ".join(row.heading), text=row.embed_text)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
