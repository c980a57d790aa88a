from django.contrib import admin

from backend.knowledge.models import Source, SyncRun


@admin.register(Source)
class SourceAdmin(admin.ModelAdmin):
    list_display = ["path", "state", "error", "indexed_at"]
    list_filter = ["state"]
    search_fields = ["path"]
    readonly_fields = ["path", "state", "error", "size", "digest", "indexed_at", "seen_at"]
    fields = tuple(readonly_fields)


@admin.register(SyncRun)
class SyncRunAdmin(admin.ModelAdmin):
    list_display = ["requested_at", "trigger", "state", "error"]
    list_filter = ["state", "trigger"]
    readonly_fields = ["trigger", "full", "state", "requested_at", "started_at", "finished_at", "report", "error"]
    fields = tuple(readonly_fields)
