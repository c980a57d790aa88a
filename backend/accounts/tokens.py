"""Access and refresh tokens: simplejwt's, with keys that can be changed and families that can be ended."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from functools import lru_cache
from typing import Any
from uuid import UUID

import jwt
from django.conf import settings
from django.db import transaction
from django.utils import timezone
from rest_framework_simplejwt import tokens
from rest_framework_simplejwt.backends import TokenBackend
from rest_framework_simplejwt.exceptions import TokenBackendError, TokenError
from rest_framework_simplejwt.settings import api_settings
from rest_framework_simplejwt.utils import datetime_from_epoch, get_md5_hash_password

from backend.accounts.models import TokenFamily, User

FAMILY = "family"  # the claim
ALGORITHM = "HS256"


class Keys(TokenBackend):
    """Signs with a key made from SECRET_KEY, and takes what those of SECRET_KEY_FALLBACKS signed as well.

    A token names its key (`kid`), so one that names another is refused before anything is computed.
    """

    def __init__(self, secrets: tuple[str, ...]) -> None:
        super().__init__(ALGORITHM, audience=api_settings.AUDIENCE, issuer=api_settings.ISSUER)
        self.keys = {_name_of(key): key for key in map(_derive, secrets)}
        self.current = _name_of(_derive(secrets[0]))

    def encode(self, payload: dict[str, Any]) -> str:
        claims = {**payload, "aud": self.audience, "iss": self.issuer}
        return jwt.encode(claims, self.keys[self.current], self.algorithm, headers={"kid": self.current})

    def get_verifying_key(self, token: Any) -> bytes:
        try:
            name = jwt.get_unverified_header(token).get("kid")
        except jwt.InvalidTokenError as error:
            raise TokenBackendError("Token is invalid") from error
        if not isinstance(name, str) or name not in self.keys:
            raise TokenBackendError("Token is invalid")
        return self.keys[name]


class _Signed:
    """A token whose keys are those of the settings now."""

    def get_token_backend(self) -> TokenBackend:
        return _keys((settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS))

    @property
    def token_backend(self) -> TokenBackend:
        return self.get_token_backend()


class AccessToken(_Signed, tokens.AccessToken):
    pass


class RefreshToken(_Signed, tokens.Token):
    """One of a family. simplejwt's own blacklist, which keeps whole tokens in the database, is not used."""

    token_type = "refresh"  # noqa: S105
    lifetime = api_settings.REFRESH_TOKEN_LIFETIME

    @property
    def family(self) -> UUID:
        try:
            return UUID(self.payload[FAMILY])
        except (KeyError, ValueError, TypeError, AttributeError):
            raise TokenError("Token is invalid") from None

    @property
    def access_token(self) -> AccessToken:
        token = AccessToken()
        token.set_iat(at_time=self.current_time)
        token.set_exp(from_time=self.current_time)
        for claim in (FAMILY, api_settings.USER_ID_CLAIM, api_settings.REVOKE_TOKEN_CLAIM):
            token[claim] = self.payload[claim]
        return token


class Reused(Exception):
    """A refresh token was brought again after it was rotated, or after its family had ended."""

    def __init__(self, family: TokenFamily | None, *, newly: bool) -> None:
        super().__init__("refresh token used again")
        self.family = family
        self.newly = newly


def issue(user: User) -> RefreshToken:
    """The first tokens of a new family."""
    token = RefreshToken()
    _sign_for(token, user)
    family = TokenFamily.objects.create(user=user, current=token["jti"], expires_at=datetime_from_epoch(token["exp"]))
    token[FAMILY] = str(family.pk)
    return token


def rotate(text: str, *, permit: Callable[[User], None]) -> RefreshToken:
    """The next token of the family, once. TokenError: not a good token. Reused: ends the family.

    permit: raises for a user who may have none now; what she brought stays good, unless it was used before.
    Of two that bring one token at once, one update finds it current.
    """
    old, family = read(text)
    user = family.user
    if family.ended_at is not None:
        raise TokenError("Token is invalid")
    if family.current == old["jti"]:
        permit(user)
    new = RefreshToken()
    _sign_for(new, user)
    new[FAMILY] = old[FAMILY]
    taken = TokenFamily.objects.filter(pk=family.pk, current=old["jti"], ended_at=None).update(
        current=new["jti"], expires_at=datetime_from_epoch(new["exp"])
    )
    if not taken:
        ended = end_family(family.pk, "reuse")
        raise Reused(family, newly=ended)
    return new


def read(text: str) -> tuple[RefreshToken, TokenFamily]:
    """A refresh token that its user's password has not made void since, and its family, which may have ended.
    TokenError.
    """
    token = RefreshToken(text)  # type: ignore[arg-type]  # simplejwt's annotation is wrong
    family = TokenFamily.objects.select_related("user").filter(pk=token.family).first()
    if family is None or family.user.pk != _as_int(token.payload.get(api_settings.USER_ID_CLAIM)):
        raise TokenError("Token is invalid")
    user = family.user
    if not user.is_active or token.get(api_settings.REVOKE_TOKEN_CLAIM) != get_md5_hash_password(user.password):
        raise TokenError("Token is invalid")
    return token, family


def end_family(family_id: UUID, reason: str) -> bool:
    """End a login; whether it had not ended before."""
    alive = TokenFamily.objects.filter(pk=family_id, ended_at=None)
    return bool(alive.update(ended_at=timezone.now(), end_reason=reason))


def end_all(user: User, reason: str) -> int:
    """End every login of a user; how many there were."""
    with transaction.atomic():
        return TokenFamily.objects.filter(user=user, ended_at=None).update(ended_at=timezone.now(), end_reason=reason)


def _sign_for(token: RefreshToken, user: User) -> None:
    token[api_settings.USER_ID_CLAIM] = str(user.pk)
    token[api_settings.REVOKE_TOKEN_CLAIM] = get_md5_hash_password(user.password)


def _as_int(text: Any) -> int | None:
    try:
        return int(text)
    except (TypeError, ValueError):
        return None


@lru_cache(maxsize=4)
def _keys(secrets: tuple[str, ...]) -> Keys:
    return Keys(secrets)


def _derive(secret: str) -> bytes:
    """A key for tokens alone: what Django signs with the same secret is no token, and the other way round."""
    return hmac.digest(secret.encode(), b"footnote.access-and-refresh-tokens", "sha256")


def _name_of(key: bytes) -> str:
    return hashlib.sha256(b"kid" + key).hexdigest()[:12]
