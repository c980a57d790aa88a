"""Reads of users and their API keys."""

import hashlib
from datetime import datetime

from django.db.models import Q, QuerySet
from django.db.models.functions import Lower
from django.utils import timezone

from backend.accounts.models import ApiKey, User


def find_by_login(login: str) -> User | None:
    """The user whose name or address this is, in any case; None when there is none. One query."""
    return (by_email(login) if "@" in login else by_username(login)).first()


def by_username(name: str) -> QuerySet[User]:
    """Nobody, or the user of this name in any case."""
    return User.objects.annotate(lower=Lower("username")).filter(lower=name.lower())


def by_email(address: str) -> QuerySet[User]:
    """Who says this address is hers, in any case: first who has proved it, then who said so first."""
    return User.objects.annotate(lower=Lower("email")).filter(lower=address.lower()).order_by("-is_verified", "pk")


def is_taken(username: str) -> bool:
    """Whether somebody has this name already, in any case."""
    return by_username(username).exists()


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


def count_users(joined_from: datetime, joined_before: datetime) -> tuple[int, int]:
    """All who had an account before the second moment, and of them those who joined at the first or later."""
    there = User.objects.filter(date_joined__lt=joined_before)
    return there.count(), there.filter(date_joined__gte=joined_from).count()
