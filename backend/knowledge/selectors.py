"""Reads of the catalogue. Whatever is answered passes through `read_chunks`, which knows only current chunks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db.models import QuerySet
from django.db.models.functions import Substr
from langchain_core.documents import Document

from backend.knowledge.index import KnowledgeIndex, configured_reranker
from backend.knowledge.models import Chunk, Source, SourceVersion, SyncRun, SyncState, Task
from backend.knowledge.sync import folder_identity

if TYPE_CHECKING:
    from vectorstore.retriever import HybridRetriever


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
    rows = Chunk.objects.current().filter(id__in=ids).order_by().values_list("text", *PASSAGE_FIELDS.values())
    found = {
        row[1]: Document(page_content=row[0], metadata=dict(zip(PASSAGE_FIELDS, row[1:], strict=True))) for row in rows
    }
    vanished = _vanished_paths({document.metadata["source"] for document in found.values()})
    for document in found.values():
        document.metadata |= {name: str(document.metadata[name]) for name in ("source_id", "version_id")}
    return {chunk_id: document for chunk_id, document in found.items() if document.metadata["source"] not in vanished}


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


def matching_source_ids(source: str | None = None, tag: str | None = None, language: str | None = None) -> list[str]:
    """Ids of the sources that meet every condition given: the path is `source` or lies in that folder, one of the tags
    is `tag`, the language is `language` or a variety of it ("de" takes "de-AT"). Case does not matter for the last two.
    """
    rows = Source.objects.exclude(current_version=None).values_list(
        "pk", "path", "current_version__tags", "current_version__language"
    )
    folder = (source or "").rstrip("/") + "/"
    wanted, spoken = (tag or "").casefold(), (language or "").casefold().replace("_", "-")
    return [
        str(pk)
        for pk, path, tags, told in rows
        if (source is None or path == source or path.startswith(folder))
        and (tag is None or wanted in {one.casefold() for one in tags})
        and (language is None or f"{told.casefold().replace('_', '-')}-".startswith(f"{spoken}-"))
    ]


def latest_sync() -> SyncRun | None:
    """The sync that runs or waits, otherwise the last one."""
    syncs = SyncRun.objects.filter(task=Task.SYNC)
    return syncs.filter(state__in=[SyncState.RUNNING, SyncState.REQUESTED]).last() or syncs.first()


def was_ever_complete() -> bool:
    """Whether the folder was compared completely at least once in the life of this database."""
    return SyncRun.objects.filter(state=SyncState.DONE, task=Task.SYNC).exists()


def read_span(version_id: str, start: int, end: int) -> str | None:
    """The source text of a version at [start, end); None when that version's text is not kept any more."""
    piece = SourceVersion.objects.filter(pk=version_id).values_list(Substr("text", start + 1, end - start))
    found = piece.first()
    return found[0] if found else None


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
