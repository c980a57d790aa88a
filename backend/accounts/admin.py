from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.http import HttpRequest

from backend.accounts.models import ApiKey, User

admin.site.register(User, UserAdmin)


@admin.register(ApiKey)
class ApiKeyAdmin(admin.ModelAdmin):
    """Whose programs come in; here they can be locked out."""

    readonly_fields = ["prefix", "user", "name", "scopes", "created_at", "expires_at", "last_used_at"]
    list_display = tuple(readonly_fields)
    list_select_related = ["user"]
    fields = tuple(readonly_fields)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False
