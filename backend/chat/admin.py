from django.contrib import admin

from backend.chat.models import Conversation


@admin.register(Conversation)
class ConversationAdmin(admin.ModelAdmin):
    """Who talked when; what was said is not shown here."""

    list_display = ["id", "user", "created_at", "updated_at"]
    readonly_fields = ["id", "user", "created_at", "updated_at"]
    fields = tuple(readonly_fields)
    list_select_related = ["user"]
