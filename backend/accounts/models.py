"""The user: a name, unique whatever its case, and an address. Logins, the API keys of a user's programs, erasures."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, ClassVar

from django.conf import settings
from django.contrib.auth.models import AbstractUser
from django.contrib.auth.validators import ASCIIUsernameValidator
from django.core.exceptions import ValidationError
from django.core.validators import EmailValidator, RegexValidator
from django.db import models
from django.db.models.functions import Lower
from uuid_utils.compat import uuid7

from backend.accounts.mailboxes import normalise

# Only ASCII, so no two names look alike; no "@", so a name is never taken for somebody's address at login.
USERNAME_RULES = [
    ASCIIUsernameValidator(message="Use letters, digits and . + - _ only."),
    RegexValidator(r"@", "Use letters, digits and . + - _ only.", inverse_match=True),
]


class User(AbstractUser):
    username = models.CharField(max_length=150, unique=True, validators=USERNAME_RULES)
    email = models.EmailField(max_length=254)
    is_verified = models.BooleanField(default=False, help_text="The address was confirmed by its owner.")

    class Meta(AbstractUser.Meta):
        indexes = [models.Index(Lower("email"), name="users_by_email")]
        constraints = [
            models.UniqueConstraint(Lower("username"), name="username_unique_in_any_case"),
            # Of several accounts with one address, its owner's is the one that was verified (docs/adr/0011).
            models.UniqueConstraint(
                Lower("email"), condition=models.Q(is_verified=True), name="one_verified_account_an_address"
            ),
        ]

    def __str__(self) -> str:
        return self.username

    def save(self, *args: Any, **kwargs: Any) -> None:
        with suppress(ValueError):
            self.email = normalise(self.email)
        super().save(*args, **kwargs)

    def clean(self) -> None:
        """For forms. ValidationError."""
        super().clean()
        try:
            self.email = normalise(self.email)
        except ValueError:
            raise ValidationError({"email": EmailValidator.message}) from None


class TokenFamily(models.Model):
    """One login and every token that comes of it, by rotation. Its end is theirs, access tokens included.

    Of the refresh tokens only the last one is good; its id is kept, never the token itself. Whoever brings an earlier
    one has it from somebody else, or somebody else has it: the family ends.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="token_families")
    current = models.CharField(max_length=32, help_text="`jti` of the refresh token that is good.")
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(db_index=True, help_text="When the last refresh token does.")
    ended_at = models.DateTimeField(null=True)
    end_reason = models.CharField(max_length=20, blank=True)

    class Meta:
        verbose_name_plural = "token families"

    def __str__(self) -> str:
        return f"login of {self.user_id} at {self.created_at:%Y-%m-%d %H:%M}"


class Erasure(models.Model):
    """That an account was erased. It names nobody, and lets a restored backup erase the account again."""

    user_id = models.BigIntegerField()
    joined = models.DateTimeField()
    erased_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"user {self.user_id}"


class Scope(models.TextChoices):
    """What a key may do; never more than its user."""

    CHAT = "chat"  # ask, keep conversations, and everything below /v1
    READ = "read"  # search, sources, statistics
    WRITE = "write"  # upload and delete sources, start a sync (staff)


class ApiKey(models.Model):
    """A secret by which a program acts for its user.

    Kept as its sha256: it is 32 random bytes, which nobody can try out, so a slow hash would only cost every request;
    and a hash without salt can be looked up. Revoking deletes it.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=11, help_text="How the key begins; all that is shown of it.")
    digest = models.CharField(max_length=64, unique=True)
    scopes: ClassVar[models.JSONField[list[str], list[str]]] = models.JSONField(default=list)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, help_text="To the minute.")

    class Meta:
        ordering = ["-id"]
        verbose_name = "API key"

    def __str__(self) -> str:
        return f"{self.prefix}…"  # not the name, which its user gave it: the admin's log outlives both
