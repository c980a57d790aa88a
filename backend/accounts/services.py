"""Changes of users and their API keys."""

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.contrib.auth import authenticate
from django.db import IntegrityError, transaction
from django.utils import timezone
from rest_framework.exceptions import AuthenticationFailed, ValidationError
from rest_framework_simplejwt.tokens import RefreshToken

from backend.accounts.models import ApiKey, Scope, User
from backend.accounts.selectors import digest_of
from backend.api.errors import Conflict

KEY_START = "fn_"
KEY_BYTES = 32
SHOWN = len(KEY_START) + 8  # characters of a key that lists show; of its 256 bits they tell 48
MOST_KEYS = 50  # of one user
USE_IS_NOTED_EVERY = timedelta(minutes=1)


def sign_up(username: str, email: str, password: str) -> User:
    """Create a user; ValidationError when another request took the name or the address a moment earlier."""
    try:
        with transaction.atomic():
            return User.objects.create_user(username=username, email=email, password=password)
    except IntegrityError:
        raise ValidationError({"username": ["This name or this address is taken."]}) from None


def log_in(login: str, password: str) -> tuple[User, RefreshToken]:
    """The user and a fresh refresh token; AuthenticationFailed (401) with one text for every reason."""
    user = authenticate(username=login, password=password)
    if not isinstance(user, User):
        raise AuthenticationFailed("No active account fits these credentials.", "invalid_credentials")
    token = RefreshToken.for_user(user)
    return user, token


def make_api_key(
    user: User, name: str, scopes: Sequence[Scope], expires_at: datetime | None = None
) -> tuple[ApiKey, str]:
    """A new key and its secret, which is not kept. Conflict (409) when the user has as many as one may have."""
    secret = KEY_START + secrets.token_urlsafe(KEY_BYTES)
    with transaction.atomic():
        User.objects.select_for_update().get(pk=user.pk)  # two at once must not both be the last one
        if ApiKey.objects.filter(user=user).count() >= MOST_KEYS:
            raise Conflict(f"You have {MOST_KEYS} API keys. Delete one first.", "too_many_keys")
        key = ApiKey.objects.create(
            user=user,
            name=name,
            prefix=secret[:SHOWN],
            digest=digest_of(secret),
            scopes=[scope.value for scope in Scope if scope in scopes],
            expires_at=expires_at,
        )
    return key, secret


def note_use(key: ApiKey) -> None:
    """Write down when a key was last used, at most once a minute: a request that reads shall not write."""
    now = timezone.now()
    if key.last_used_at is None or now - key.last_used_at >= USE_IS_NOTED_EVERY:
        ApiKey.objects.filter(pk=key.pk, last_used_at=key.last_used_at).update(last_used_at=now)
