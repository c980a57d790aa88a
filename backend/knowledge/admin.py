from __future__ import annotations

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html

from backend.api.listing import ToBeRead
from backend.audit.models import Action
from backend.audit.services import record
from backend.knowledge import services
from backend.knowledge.models import Chunk, Embedding, Source, SyncRun, Task

TRIGGER = "admin"


@admin.register(Source)
class SourceAdmin(ToBeRead):
    """What is known of each file. A file is changed and removed in the folder, or by the API."""

    list_display = ("path", "state", "error", "size", "passages", "indexed_at")
    list_filter = ("state", "indexed_at")
    list_select_related = ("current_version",)
    search_fields = ("id", "path")
    fields = (*list_display[:-1], "format", "digest", "recipe", "dirty", "seen_at", "indexed_at")
    actions = ("read_again", "reindex")
    sortable_by = ("path", "state", "size", "indexed_at")  # type: ignore[assignment]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Source]:
        return super().get_queryset(request).defer("current_version__text")

    @admin.display(description="passages")
    def passages(self, source: Source) -> str:
        if source.current_version is None:
            return "-"
        where = f"{reverse('admin:knowledge_chunk_changelist')}?source__id__exact={source.pk}"
        return format_html('<a href="{}">{}</a>', where, source.current_version.chunk_count)

    @admin.action(description="Retry: read the selected files again, changed or not", permissions=["operate"])
    def read_again(self, request: HttpRequest, queryset: QuerySet[Source]) -> None:
        number = services.read_again(queryset.values_list("pk", flat=True), TRIGGER)
        record(Action.SYNC_REQUESTED, request, request.user, sources=number)  # type: ignore[arg-type]
        self.message_user(request, f"{number} files are read again by the next sync, which is asked for.")

    @admin.action(description="Reindex all files: what another parser or model has made", permissions=["operate"])
    def reindex(self, request: HttpRequest, queryset: QuerySet[Source]) -> None:
        services.request_sync(TRIGGER, task=Task.REINDEX)
        record(Action.SYNC_REQUESTED, request, request.user, task=Task.REINDEX)  # type: ignore[arg-type]
        self.message_user(request, "A reindex is asked for; it is among the sync runs.", messages.INFO)


@admin.register(Chunk)
class ChunkAdmin(ToBeRead):
    """Passages: those of one file by their place in it."""

    list_display = ("id", "source", "position", "page", "heading", "kind", "current")
    list_select_related = ("source",)
    search_fields = ("source__id", "source__path")
    fields = ("id", "source", "position", "page", "heading", "kind", "start", "end", "text")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Chunk]:
        return super().get_queryset(request).defer("embed_text")

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        return ("position", "pk") if "source__id__exact" in request.GET else ("pk",)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        return lookup == "source__id__exact" or super().lookup_allowed(lookup, value, request)

    @admin.display(boolean=True)
    def current(self, chunk: Chunk) -> bool:
        return chunk.version_id == chunk.source.current_version_id


@admin.register(SyncRun)
class SyncRunAdmin(ToBeRead):
    list_display = ("requested_at", "task", "state", "error", "started_at", "finished_at", "trigger")
    list_filter = ("state", "task")
    fields = ("id", *list_display, "full", "progress", "report")


@admin.register(Embedding)
class EmbeddingAdmin(ToBeRead):
    list_display = ("name", "state", "fingerprint", "created_at", "active_since")
