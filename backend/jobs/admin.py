from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from backend.api.listing import ToBeRead
from backend.jobs.models import JobRecord, JobRun
from backend.jobs.table import all_jobs


class OfJob(admin.SimpleListFilter):
    """By the table of jobs: to ask the rows for their names would read them all."""

    title = "job"
    parameter_name = "job"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, str]]:
        return [(name, name) for name in sorted(all_jobs())]

    def queryset(self, request: HttpRequest, queryset: QuerySet[JobRun]) -> QuerySet[JobRun]:
        return queryset.filter(job=self.value()) if self.value() else queryset


@admin.register(JobRun)
class JobRunAdmin(ToBeRead):
    list_display = ("job", "state", "error", "started_at", "ended_at", "trigger", "attempt", "counts")
    list_filter = (OfJob, "state", "trigger", "requested_at")
    list_select_related = ("requested_by",)
    search_fields = ("id", "job")


@admin.register(JobRecord)
class JobRecordAdmin(ToBeRead):
    list_display = ("job", "done", "failed", "timed_out", "missed", "last_success_at", "last_seconds", "failing_since")
