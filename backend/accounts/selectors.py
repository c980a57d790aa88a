"""Reads of users and their API keys."""

import hashlib

from django.db.models import Q, QuerySet
from django.utils import timezone

from backend.accounts.models import ApiKey, User


def find_by_login(login: str) -> User | None:
    """The user whose name or address this is, in any case; None when there is none."""
    by_email = "@" in login
    return User.objects.filter(Q(email__iexact=login) if by_email else Q(username__iexact=login)).first()


def is_taken(*, username: str | None = None, email: str | None = None) -> bool:
    """Whether somebody has this name or this address already, in any case."""
    if username is not None:
        return User.objects.filter(username__iexact=username).exists()
    return User.objects.filter(email__iexact=email).exists()


def list_api_keys(user: User) -> QuerySet[ApiKey]:
    """The user's keys, the newest first."""
    return ApiKey.objects.filter(user=user)


def find_api_key(secret: str) -> ApiKey | None:
    """The key, with its user, unless it is unknown or expired or its user was deactivated. One query."""
    alive = Q(expires_at=None) | Q(expires_at__gt=timezone.now())
    keys = ApiKey.objects.select_related("user").filter(alive, digest=digest_of(secret), user__is_active=True)
    return keys.order_by().first()


def digest_of(secret: str) -> str:
    """What is kept of a key."""
    return hashlib.sha256(secret.encode()).hexdigest()
