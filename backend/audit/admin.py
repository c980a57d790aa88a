from django.contrib import admin

from backend.api.listing import ToBeRead
from backend.audit.models import Event


@admin.register(Event)
class EventAdmin(ToBeRead):
    """To be read; retention takes the old lines out."""

    list_display = ("at", "action", "user", "address", "detail")
    list_filter = ("action", "at")
    search_fields = ("user", "address")
    list_select_related = ("user",)
    fields = list_display
