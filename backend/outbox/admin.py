from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from backend.api.listing import QuickAdmin
from backend.outbox import services
from backend.outbox.models import Mail


@admin.register(Mail)
class MailAdmin(QuickAdmin):
    """What is sent to whom, and why not. What it says is not shown: it holds links that open accounts."""

    list_display = ("created_at", "state", "error", "kind", "to", "attempts", "not_before")
    list_filter = ("state", "created_at")
    search_fields = ("id", "user", "to", "kind")
    fields = (
        "id",
        "kind",
        "user",
        "to",
        "subject",
        "state",
        "attempts",
        "error",
        "not_before",
        "trouble_since",
        "claimed_until",
        "created_at",
        "sent_at",
    )
    readonly_fields = fields
    actions = ("requeue",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def delete_model(self, request: HttpRequest, obj: Mail) -> None:
        services.erase(Q(pk=obj.pk))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Mail]) -> None:
        services.erase(Q(pk__in=list(queryset.values_list("pk", flat=True))))

    @admin.action(description="Requeue: try the selected mails again, at once", permissions=["change"])
    def requeue(self, request: HttpRequest, queryset: QuerySet[Mail]) -> None:
        ids = list(queryset.values_list("pk", flat=True))
        number = services.requeue(ids)
        self.message_user(
            request, f"{number} of {len(ids)} mails are tried again. What was sent is not.", messages.INFO
        )
