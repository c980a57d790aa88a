from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.contrib.auth.admin import UserAdmin
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from backend.accounts import erasure, services
from backend.accounts.models import ApiKey, TokenFamily, User
from backend.api.listing import QuickPaginator, ToBeRead


@admin.register(User)
class AccountAdmin(UserAdmin):
    """Deleting a user here erases the account, as its owner does by DELETE /me: no backup brings it back."""

    paginator = QuickPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 50
    list_display = ("username", "email", "is_verified", "is_active", "is_staff", "date_joined", "last_login")
    list_filter = ("is_active", "is_verified", "is_staff", "is_superuser", "date_joined")
    search_fields = ("username", "email")
    actions = ("end_logins",)

    def get_fieldsets(self, request: HttpRequest, obj: User | None = None) -> Any:
        fieldsets = super().get_fieldsets(request, obj)
        if obj is None:
            return (*fieldsets, (None, {"classes": ("wide",), "fields": ("email",)}))
        return (*fieldsets, ("E-mail", {"fields": ("is_verified",)}))

    def has_operate_permission(self, request: HttpRequest) -> bool:
        return self.has_change_permission(request)

    @admin.action(description="End every login of the selected users", permissions=["operate"])
    def end_logins(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        for user in queryset:
            services.end_logins_of(request, user)
            self.log_change(request, user, "Ended every login.")
        self.message_user(request, "The selected users have to sign in again.", messages.INFO)

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        before = form.initial.get("email", "") if change else obj.email
        moved = before.lower() != obj.email.lower()
        if moved and "is_verified" not in form.changed_data:
            obj.is_verified = False  # it was the other address that was
        super().save_model(request, obj, form, change)
        if moved:
            services.note_new_address(request, obj, before)

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:  # noqa: A002
        with transaction.atomic():
            user = self.get_object(request, unquote(id))
            answer = super().user_change_password(request, id, form_url)
            after = User.objects.filter(pk=user.pk).first() if user else None
            if user and after and user.password != after.password:
                services.note_new_password(request, after)
        return answer

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Names the accounts; what hangs on them is not gathered one by one."""
        names = [str(user) for user in objs]
        needed = set() if self.has_delete_permission(request) else {"user"}
        return [f"{name}, with all conversations, keys, logins and mails" for name in names], {}, needed, []

    def delete_model(self, request: HttpRequest, obj: User) -> None:
        erasure.erase(obj, request)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        for user in queryset:
            erasure.erase(user, request)


@admin.register(ApiKey)
class ApiKeyAdmin(ToBeRead):
    """Whose programs come in; here they can be locked out."""

    list_display = ("prefix", "user", "name", "scopes", "created_at", "expires_at", "last_used_at")
    list_select_related = ("user",)
    search_fields = ("id", "user", "prefix")
    fields = list_display
    actions = ("revoke",)

    @admin.action(description="Revoke: lock out the programs that have the selected keys", permissions=["operate"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        keys = list(queryset.select_related("user"))
        for key in keys:
            self.log_change(request, key, "Revoked.")
            services.revoke_api_key(request, key)
        self.message_user(request, f"{len(keys)} API keys are not valid any more.", messages.INFO)


@admin.register(TokenFamily)
class TokenFamilyAdmin(ToBeRead):
    """Logins: one row is one sign-in and all tokens that came of it."""

    ordering = ("-id",)
    list_display = ("created_at", "user", "expires_at", "ended_at", "end_reason")
    list_filter = ("expires_at", ("ended_at", admin.EmptyFieldListFilter))
    list_select_related = ("user",)
    search_fields = ("id", "user")
    fields = ("id", *list_display)
    actions = ("end",)

    @admin.action(description="End the selected logins, with all their tokens", permissions=["operate"])
    def end(self, request: HttpRequest, queryset: QuerySet[TokenFamily]) -> None:
        rows = list(queryset.select_related("user"))
        ended = sum(services.end_family_of(request, row) for row in rows)
        self.message_user(request, f"{ended} logins have ended; {len(rows) - ended} had before.", messages.INFO)
