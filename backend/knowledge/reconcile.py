"""Do disk, catalogue, word index and vector index agree? And if not, make them.

The disk is the truth about files, the catalogue about passages, both indexes are derived. Compared are contents, not
counts: every file is hashed, every passage row must be the piece of the stored text that its id was made from, the
indexes must hold exactly the ids of the rows, and each vector must belong to its source and be what the embedding model
says (a sample of them, or all).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from backend.knowledge.index import KnowledgeIndex
from backend.knowledge.models import Chunk, Source
from backend.knowledge.sync import (
    chunk_id,
    current_recipe,
    embed_rows,
    generation,
    in_batches,
    is_new,
    make_plan,
    refuse_if_unmounted,
)
from loaders.folder import scan

SAMPLE = 200  # vectors that are computed again unless all are
ALIKE = 0.99  # cosine of a stored vector with a new one; batches round differently
NAMED = 20  # paths and ids that a report names of each kind


@dataclass
class Differences:
    """What does not agree, by where it was found. Paths of files and sources; ids of passages."""

    not_indexed: list[str] = field(default_factory=list)  # on disk and not in the catalogue, or with other content
    not_on_disk: list[str] = field(default_factory=list)
    damaged_rows: list[str] = field(default_factory=list)  # sources whose passages are not what was read
    words_missing: list[str] = field(default_factory=list)
    words_extra: list[str] = field(default_factory=list)
    vectors_missing: list[str] = field(default_factory=list)
    vectors_extra: list[str] = field(default_factory=list)
    vectors_wrong: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return any(asdict(self).values())

    def as_dict(self) -> dict[str, Any]:
        """Counts first, then some names of each kind."""
        kinds = asdict(self)
        return {
            **{name: len(found) for name, found in kinds.items()},
            "names": {name: found[:NAMED] for name, found in kinds.items() if found},
        }


def compare(folder: Path, index: KnowledgeIndex, *, full: bool = False) -> Differences:
    """Nothing is written. full: compute every vector again, not a sample. FolderUnavailable, FolderLooksUnmounted."""
    found = scan(folder)
    refuse_if_unmounted(folder, found)
    plan = make_plan(folder, found, current_recipe(), full=True)
    differences = Differences(
        not_indexed=sorted(
            {entry.path for entry, _, _ in plan.read}
            | {entry.path for _, entry in plan.moved}
            | {problem.path for problem in plan.problems}
            | {path for path, known in plan.waiting.items() if is_new(known)}
        ),
        not_on_disk=sorted([source.path for source in plan.gone] + [source.path for source, _ in plan.moved]),
        damaged_rows=_damaged_sources(),
    )
    owners = {pk: str(source_id) for pk, source_id in Chunk.objects.values_list("id", "source_id")}
    word_ids, vector_owners = index.lexical.ids(), index.vectors.owners()
    differences.words_missing = sorted(owners.keys() - word_ids)
    differences.words_extra = sorted(word_ids - owners.keys())
    differences.vectors_missing = sorted(owners.keys() - vector_owners.keys())
    differences.vectors_extra = sorted(vector_owners.keys() - owners.keys())
    shared = sorted(owners.keys() & vector_owners.keys())
    misplaced = {pk for pk in shared if owners[pk] != vector_owners[pk]}
    if not full and len(shared) > SAMPLE:
        shared = sorted(random.Random(0).sample(shared, SAMPLE))  # noqa: S311 (a draw, not a secret)
    differences.vectors_wrong = sorted(misplaced | set(_wrong_vectors(index, shared)))
    return differences


def prepare_repair(index: KnowledgeIndex, differences: Differences) -> None:
    """Let go of what is wrong, so that a full sync and a repair of the indexes make it anew.

    A damaged source answers nothing until it is read again: which of its rows are right, nobody knows.
    """
    Source.objects.filter(path__in=differences.damaged_rows).update(digest="", dirty=True)
    rows = Chunk.objects.filter(source__path__in=differences.damaged_rows)
    damaged = set(rows.values_list("id", flat=True))
    rows.delete()
    index.vectors.delete(sorted(damaged | set(differences.vectors_wrong)))
    index.lexical.delete(sorted(damaged))
    index.lexical.commit()


def _damaged_sources() -> list[str]:
    """Paths of sources with a passage that is not the text between its offsets, or not the one its id was made from, or
    with another number of passages than were made.
    """
    damaged: set[str] = set()
    current = Source.objects.exclude(current_version=None)
    rows = current.values_list(
        "pk", "path", "current_version_id", "current_version__chunk_count", "current_version__recipe"
    )
    for source_id, path, version_id, count, recipe in rows.iterator():
        parser = generation(recipe)
        text = Source.objects.filter(pk=source_id).values_list("current_version__text", flat=True).get() or ""
        chunks = list(
            Chunk.objects.filter(source_id=source_id)
            .select_related("version")
            .defer("version__text")
            .order_by("position")
        )
        # A passage that a newer text no longer holds has no place here, only one that waits for a rebuild's switch.
        others = [chunk for chunk in chunks if chunk.version_id != version_id]
        chunks = [chunk for chunk in chunks if chunk.version_id == version_id]
        if len(chunks) != count or any(generation(other.version.recipe) == parser for other in others):
            damaged.add(path)
            continue
        seen: dict[str, int] = {}
        for chunk in chunks:
            if text[chunk.start : chunk.end] != chunk.text or chunk_id(chunk, seen, parser) != chunk.id:
                damaged.add(path)
                break
    orphans = Chunk.objects.filter(source__current_version=None)
    damaged |= set(orphans.values_list("source__path", flat=True).distinct())
    return sorted(damaged)


def _wrong_vectors(index: KnowledgeIndex, ids: list[str]) -> Iterator[str]:
    for rows in in_batches(ids):
        stored = index.vectors.vectors([row.id for row in rows])
        there = [row for row in rows if row.id in stored]
        if there:
            expected = embed_rows(index.embedder, there)
            found = np.stack([stored[row.id] for row in there])
            lengths = np.linalg.norm(found, axis=1)
            cosines = (expected * found).sum(axis=1) / np.maximum(lengths, 1e-12)
            yield from (row.id for row, cosine in zip(there, cosines, strict=True) if not cosine >= ALIKE)
