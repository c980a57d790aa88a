"""The audit log."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models
from uuid_utils.compat import uuid7


class Action(models.TextChoices):
    SIGNUP = "signup"
    LOGIN = "login"
    LOGIN_FAILED = "login_failed"
    LOGOUT = "logout"
    TOKEN_REUSED = "token_reused", "refresh token used twice"
    EMAIL_VERIFIED = "email_verified"
    RESET_REQUESTED = "reset_requested", "password reset requested"
    PASSWORD_RESET = "password_reset"  # noqa: S105 (an action)
    PASSWORD_CHANGED = "password_changed"  # noqa: S105
    PROFILE_CHANGED = "profile_changed"
    ACCOUNT_ERASED = "account_erased"
    KEY_MADE = "key_made", "API key made"
    KEY_REVOKED = "key_revoked", "API key revoked"
    SOURCE_UPLOADED = "source_uploaded"
    SOURCE_DELETED = "source_deleted"
    SYNC_REQUESTED = "sync_requested"
    JOB_REQUESTED = "job_requested"
    CONTENT_READ = "content_read", "content read in the admin"


class Event(models.Model):
    """One line of the log. It outlives the user, then without anything that names a person."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    at = models.DateTimeField(auto_now_add=True)
    action = models.CharField(max_length=24, choices=Action.choices)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        on_delete=models.SET_NULL,
        related_name="+",
        help_text="Who did it, or whose account was tried.",
    )
    address = models.GenericIPAddressField(null=True, help_text="From where.")
    detail: models.JSONField[dict[str, Any], dict[str, Any]] = models.JSONField(default=dict)

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["at"], name="audit_by_time"),
            models.Index(fields=["user", "action", "address"], name="audit_of_a_user"),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.at:%Y-%m-%d %H:%M:%S}"
