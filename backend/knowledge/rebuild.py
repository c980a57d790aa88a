"""Another release's parser or chunking: every file is read anew beside what answers, then one switch for all.

Until the switch, the new passages are rows of versions that are not current, so nothing answers from them; files that
come, change or go meanwhile are the sync's affair as always. The switch is one transaction. The way back is the earlier
release, which does the same; vectors of passages that both have in common are not made again.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.db.models import QuerySet

from backend.knowledge.models import Chunk, Source, SourceState, SourceVersion
from backend.knowledge.sync import (
    BATCH_CHUNKS,
    Progress,
    Read,
    Stopped,
    Sync,
    current_recipe,
    drop_replaced,
    forget_removed,
    generation,
    same_stat,
)
from loaders.errors import ChangedWhileReading
from loaders.folder import FileEntry, hash_file, scan

logger = logging.getLogger(__name__)


def needs_rebuild() -> bool:
    """Whether files answer as another release's parser read them, or passages wait for a switch that never came."""
    recipes = _answering().values_list("recipe", flat=True).distinct()
    if any(generation(recipe) != generation(current_recipe()) for recipe in recipes):
        return True
    return Chunk.objects.exclude(source__current_version=None).exclude(pk__in=Chunk.objects.current()).exists()


def _answering() -> QuerySet[Source]:
    """The files that answer as they were read; of one whose content changed, the sync reads the new one."""
    return Source.objects.filter(state=SourceState.INDEXED).exclude(current_version=None).order_by()


class Rebuild(Sync):
    """Call `step` until it says that nothing is left, then `switch`; nothing else may write to the index during each,
    and anything may between them. FolderUnavailable. What an interrupted rebuild made is used by the next one.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.done = self.chunks = self.pages = 0
        self.refused: dict[str, str] = {}  # paths that this release's parser cannot read, each with its reason
        self.skipped: set[Any] = set()  # keys of files that changed or cannot be opened now

    def step(self) -> bool:
        """Read and index some of the files; whether any are left. What is removed or changed meanwhile is not read."""
        found = scan(self.folder)
        self.sidecars = found.sidecars
        left = self._left({entry.path: entry for entry in found.files})
        total = self.done + len(left)
        batch: list[Read] = []
        size = 0
        for source, entry in left:
            if self.stopping() or size >= BATCH_CHUNKS:
                break
            if read := self._read(entry, source.digest, source):
                batch.append(read)
                size += len(read.rows)
                self.pages += read.loaded.pages or 0
            self.done += 1
            self.on_progress(Progress("reading", self.done, total, self.chunks + size, self.pages))
        self.chunks += size
        if batch:
            try:
                self._write(batch)
            except Stopped:
                return True
        return self.done < total and not self.stopping()

    def switch(self) -> int:
        """In one transaction, what was read anew answers from now on; returns from how many files."""
        found = scan(self.folder)
        self.sidecars = found.sidecars
        entries = {entry.path: entry for entry in found.files}
        ready = self._ready()
        with transaction.atomic():
            switched = [source for source in self._outdated() if source.pk in ready]
            for source in switched:
                version = ready[source.pk]
                source.answer_from(version)
                source.recipe, source.dirty = version.recipe, True
            told = ["current_version", "format", "folded_tags", "folded_language"]
            Source.objects.bulk_update(switched, [*told, "recipe", "dirty"], batch_size=500)
            for source in self._outdated():
                entry = entries.get(source.path)
                if source.path in self.refused and entry and same_stat(source, entry):
                    self._fail(source, entry, source.digest, self.refused[source.path])
        drop_replaced(self.index)
        forget_removed(self.index)
        Source.objects.filter(pk__in=[source.pk for source in switched]).update(dirty=False)
        if switched:
            logger.info("%d files answer as this release reads them", len(switched))
        return len(switched)

    def _outdated(self) -> list[Source]:
        return [
            source for source in _answering().order_by("path") if generation(source.recipe) != generation(self.recipe)
        ]

    def _ready(self) -> Mapping[Any, SourceVersion]:
        """By source, the version that waits for the switch: read with today's recipe from the content that answers."""
        waiting = SourceVersion.objects.filter(recipe__startswith=generation(self.recipe))
        with_passages = waiting.filter(pk__in=Chunk.objects.values("version")).exclude(
            pk__in=Source.objects.exclude(current_version=None).values("current_version")
        )
        return {
            version.source_id: version
            for version in with_passages.defer("text").select_related("source")
            if version.digest == version.source.digest and version.recipe == self._recipe_at(version.source.path)
        }

    def _left(self, entries: Mapping[str, FileEntry]) -> list[tuple[Source, FileEntry]]:
        ready = self._ready()
        left = []
        for source in self._outdated():
            entry = entries.get(source.path)
            if source.pk in ready or source.path in self.refused or source.pk in self.skipped:
                continue
            if entry and same_stat(source, entry):
                left.append((source, entry))
        return left

    def _read(self, entry: FileEntry, digest: str, source: Source) -> Read | None:
        try:
            same = hash_file(self.folder, entry) == digest
        except (OSError, ChangedWhileReading):
            same = False
        if not same:
            self.skipped.add(source.pk)
            return None
        return super()._read(entry, digest, source)

    def _refuse(self, source: Source, entry: FileEntry, digest: str, reason: str) -> None:
        self.refused[entry.path] = reason

    def _wait(self, entry: FileEntry, source: Source) -> None:
        self.skipped.add(source.pk)

    def _write(self, batch: list[Read]) -> None:
        """Vectors and words first, then the rows; a crash between them leaves `dirty` sources, as in a sync."""
        keys = [read.source.pk for read in batch]
        Source.objects.filter(pk__in=keys).update(dirty=True)
        self._index_new_chunks([row for read in batch for row in read.rows])
        with transaction.atomic():
            for read in batch:
                self._save_version(read)
            Source.objects.filter(pk__in=keys).update(dirty=False)
