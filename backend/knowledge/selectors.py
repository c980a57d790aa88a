"""Reads of the catalogue. Whatever is answered passes through `read_chunks`, which knows only current chunks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.conf import settings
from django.db.models import Count, Q, QuerySet, Sum
from django.db.models.functions import Left, Substr
from django.utils import timezone
from langchain_core.documents import Document

from backend.api.compiled import Compiled
from backend.knowledge.index import KnowledgeIndex, configured_reranker
from backend.knowledge.models import (
    Chunk,
    IndexOwner,
    Source,
    SourceState,
    SourceVersion,
    SyncRun,
    SyncState,
    Task,
    fold,
    fold_language,
)
from backend.knowledge.sync import folder_identity

if TYPE_CHECKING:
    from vectorstore.retriever import HybridRetriever

LOSS = "loss"  # the trigger of a repair after the vector store has lost everything
FRESH = timedelta(seconds=60)  # the owner of the index tells every ten seconds that it lives

# What a passage's Document carries in its metadata, and the column it comes from.
PASSAGE_FIELDS = {
    "chunk_id": "id",
    "source_id": "source_id",
    "version_id": "version_id",
    "source": "source__path",
    "source_version": "version__digest",
    "title": "version__title",
    "format": "version__format",
    "page": "page",
    "heading": "heading",
    "start": "start",
    "end": "end",
    "kind": "kind",
    "embed_text": "embed_text",
    "answer_start": "answer_start",
}


def read_chunks(ids: Sequence[str]) -> Mapping[str, Document]:
    """The chunks of these ids that may be answered from, as LangChain Documents by id.

    Left out: chunks of removed or replaced versions, and chunks of files that are gone from the folder although no
    sync has seen it yet; so a deleted file stops answering at once, not when the watcher wakes.
    """
    # Plain values: to make three model instances of each row would take twice as long as to read it.
    parts = [ids[start : start + READ_AT_ONCE] for start in range(0, len(ids), READ_AT_ONCE)]
    rows = (row for part in parts for row in _read_current(part))
    found = {
        row[1]: Document(page_content=row[0], metadata=dict(zip(PASSAGE_FIELDS, row[1:], strict=True))) for row in rows
    }
    vanished = _vanished_paths({document.metadata["source"] for document in found.values()})
    for document in found.values():
        document.metadata |= {name: str(document.metadata[name]) for name in ("source_id", "version_id")}
    return {chunk_id: document for chunk_id, document in found.items() if document.metadata["source"] not in vanished}


READ_AT_ONCE = 24  # rows of one query of `read_chunks`; mostly one is enough
_current = Compiled(
    lambda *ids: Chunk.objects.current().filter(id__in=ids).order_by().values_list("text", *PASSAGE_FIELDS.values()),
    *[str] * READ_AT_ONCE,
)


def _read_current(ids: Sequence[str]) -> list[Sequence[Any]]:
    return _current.rows(*ids, *[ids[-1]] * (READ_AT_ONCE - len(ids)))


def sources_of(ids: Sequence[str]) -> dict[str, str]:
    """The source's id of each of these chunks that the catalogue knows."""
    rows = Chunk.objects.filter(id__in=ids).order_by().values_list("id", "source_id")
    return {chunk_id: str(source_id) for chunk_id, source_id in rows}


def make_retriever(index: KnowledgeIndex, k: int) -> HybridRetriever:
    """The product's retriever over the current chunks."""
    from vectorstore.retriever import HybridRetriever

    return HybridRetriever(
        embedder=index.embedder,
        vectors=index.vectors,
        lexical=index.lexical,
        read_chunks=read_chunks,
        sources_of=sources_of,
        k=k,
        reranker=configured_reranker(),
        rerank_depth=settings.ENV.rerank_depth,
    )


def search(index: KnowledgeIndex, query: str, k: int, source_ids: tuple[str, ...] | None) -> list[dict[str, Any]]:
    """The `k` best passages as search results: source, page, heading, text, score, chunk_id."""
    passages = make_retriever(index, k).invoke(query, source_ids=source_ids)
    return [
        {
            **{name: passage.metadata[name] for name in ("source", "page", "heading", "chunk_id")},
            "text": passage.page_content,
            "score": round(passage.metadata["score"], 4),
        }
        for passage in passages
    ]


def list_sources(state: str | None = None) -> QuerySet[Source]:
    """Sources by path, each with its current version at hand."""
    sources = Source.objects.select_related("current_version").defer("current_version__text")
    return sources.filter(state=state) if state else sources


def count_catalogue() -> dict[str, Any]:
    """Sources by state, those that answer by format, and the passages and pages that may be answered from."""
    states = Source.objects.order_by().values_list("state").annotate(Count("pk"))
    answering = Source.objects.exclude(current_version=None).order_by()
    return {
        "by_state": dict.fromkeys(SourceState.values, 0) | dict(states),
        "by_format": dict(answering.values_list("format").annotate(Count("pk"))),
        "chunks": Chunk.objects.filter(version__in=answering.values("current_version")).count(),
        "pages": answering.aggregate(pages=Sum("current_version__pages", default=0))["pages"],
    }


@dataclass(frozen=True, slots=True)
class SourceFilter:
    """Conditions on sources; each that is given must be met.

    source: the path, or a folder above it. tag: one of its tags. language: its language or the wider one ("de" takes
    "de-AT"). type: its format, or the extension of its name. after, before: modified at this moment or later, and
    earlier than this moment. Case matters for the path only.
    """

    source: str | None = None
    tag: str | None = None
    language: str | None = None
    type: str | None = None
    after: datetime | None = None
    before: datetime | None = None


def matching_source_ids(wanted: SourceFilter) -> tuple[str, ...]:
    """Ids of the sources that something answers from and that meet every condition."""
    rows = Source.objects.exclude(current_version=None)
    if wanted.source is not None:
        # Not `startswith`: for SQLite's LIKE, "hr" and "HR" are one folder.
        folder = wanted.source.rstrip("/") + "/"
        rows = rows.alias(above=Left("path", len(folder))).filter(Q(path=wanted.source) | Q(above=folder))
    if wanted.tag is not None:
        rows = rows.filter(folded_tags__contains=f"\n{fold(wanted.tag)}\n")
    if wanted.language is not None:
        spoken = fold_language(wanted.language)
        rows = rows.filter(Q(folded_language=spoken) | Q(folded_language__startswith=f"{spoken}-"))
    if wanted.type is not None:
        name = wanted.type.removeprefix(".").lower()
        rows = rows.filter(Q(format=name) | Q(path__iendswith=f".{name}"))
    if wanted.after is not None:
        rows = rows.filter(mtime_ns__gte=_nanoseconds(wanted.after))
    if wanted.before is not None:
        rows = rows.filter(mtime_ns__lt=_nanoseconds(wanted.before))
    return tuple(str(pk) for pk in rows.order_by().values_list("pk", flat=True))


def latest_sync() -> SyncRun | None:
    """The sync that runs or waits, otherwise the last one."""
    syncs = SyncRun.objects.filter(task=Task.SYNC)
    return syncs.filter(state__in=[SyncState.RUNNING, SyncState.REQUESTED]).last() or syncs.first()


def was_ever_complete() -> bool:
    """Whether the folder was compared completely at least once in the life of this database."""
    return SyncRun.objects.filter(state=SyncState.DONE, task=Task.SYNC).exists()


def was_compared_since(moment: datetime) -> bool:
    """Whether the owner of the index has compared the folder since then."""
    return SyncRun.objects.filter(compared_at__gte=moment).exists()


def is_being_refilled() -> bool:
    """Whether the vectors are made anew because their server lost them."""
    return SyncRun.objects.filter(trigger=LOSS, state__in=(SyncState.REQUESTED, SyncState.RUNNING)).exists()


def current_owner() -> IndexOwner | None:
    """The process that follows the folder for all, if one has said so lately."""
    return IndexOwner.objects.filter(seen_at__gte=timezone.now() - FRESH).first()


def read_span(version_id: str, start: int, end: int) -> str | None:
    """The source text of a version at [start, end); None when that version's text is not kept any more."""
    found = _span.rows(UUID(version_id), start + 1, end - start)
    return found[0][0] if found else None


_span = Compiled(
    lambda version_id, start, length: (
        SourceVersion.objects.filter(pk=version_id).order_by().values_list(Substr("text", start, length))
    ),
    UUID,
    int,
    int,
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a text stands in a version's source text, with page and heading of the passage that it begins in."""

    start: int
    end: int
    page: int | None
    heading: list[str]


def find_quote(version: SourceVersion, quote: str, near: int) -> Place | None:
    """Where the quote stands in the version's text, verbatim, as near as can be to the offset `near`."""
    text = SourceVersion.objects.filter(pk=version.pk).values_list("text", flat=True).first() or ""
    earlier, later = text.rfind(quote, 0, near + len(quote)), text.find(quote, near)
    found = [start for start in (earlier, later) if start >= 0]
    if not found:
        return None
    start = min(found, key=lambda start: abs(start - near))
    passage = Chunk.objects.filter(version=version, start__lte=start, end__gt=start).order_by("position").first()
    page, heading = (passage.page, passage.heading) if passage else (None, [])
    return Place(start, start + len(quote), page, heading)


def has_vanished(path: str) -> bool:
    """Whether the file of a source is gone from the folder, although a sync may not have seen it yet."""
    return bool(_vanished_paths({path}))


def _nanoseconds(moment: datetime) -> int:
    """Since 1970, as files tell their modification time."""
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000


def _vanished_paths(paths: set[str]) -> set[str]:
    root = settings.ENV.knowledge_dir
    vanished = {path for path in paths if not (root / path).exists()}
    if vanished and not _is_the_synced_folder():
        return set()  # the folder itself is gone or unmounted: that deletes nothing
    return vanished


def _is_the_synced_folder() -> bool:
    last = SyncRun.objects.exclude(folder="").values_list("folder", flat=True).first()
    try:
        return last == folder_identity(settings.ENV.knowledge_dir)
    except OSError:
        return False
