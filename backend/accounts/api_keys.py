"""`Authorization: Bearer fn_...`: programs act for their user by an API key, where its scopes allow it.

A part of the API that is not listed here takes no keys: a new one stays closed until somebody decides. Account and keys
are for people: whoever finds a key can neither lock its owner out nor make himself another.
"""

from __future__ import annotations

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request

from backend.accounts import services
from backend.accounts.models import ApiKey, Scope, User
from backend.accounts.selectors import find_api_key

CHALLENGE = 'Bearer realm="api"'  # what a 401 says in WWW-Authenticate

# The first part of a path: the scope for reading there, and the one for anything else.
OPEN_TO_KEYS: dict[str, tuple[Scope, Scope] | None] = {
    "chat": (Scope.CHAT, Scope.CHAT),
    "chat-history": (Scope.CHAT, Scope.CHAT),
    "conversations": (Scope.CHAT, Scope.CHAT),
    "messages": (Scope.CHAT, Scope.CHAT),
    "v1": (Scope.CHAT, Scope.CHAT),
    "search": (Scope.READ, Scope.READ),
    "sources": (Scope.READ, Scope.WRITE),
    "stats": (Scope.READ, Scope.WRITE),
    "schema": None,  # any key: these tell nothing of anybody
    "docs": None,
    "redoc": None,
}


class ApiKeyAuthentication(BaseAuthentication):
    """Leaves whatever does not begin like a key to the next class. One query, and a write once a minute."""

    def authenticate(self, request: Request) -> tuple[User, ApiKey] | None:
        secret = _presented(request)
        if secret is None:
            return None
        key = find_api_key(secret)
        if key is None:
            raise AuthenticationFailed("This API key is not valid, or not any more.", "invalid_api_key")
        _require_scope(key, request)
        services.note_use(key)
        return key.user, key

    def authenticate_header(self, request: Request) -> str:
        return CHALLENGE


def _presented(request: Request) -> str | None:
    match get_authorization_header(request).split():
        case [kind, token] if kind.lower() == b"bearer" and token.startswith(services.KEY_START.encode()):
            return str(token.decode("latin-1"))
    return None


def _require_scope(key: ApiKey, request: Request) -> None:
    part = request.path_info.removeprefix("/").partition("/")[0]
    if part not in OPEN_TO_KEYS:
        raise PermissionDenied("API keys are not accepted here. Sign in.", "not_for_api_keys")
    scopes = OPEN_TO_KEYS[part]
    if scopes is None:
        return
    needed = scopes[0] if request.method in SAFE_METHODS else scopes[1]
    if needed not in key.scopes:
        raise PermissionDenied(f"This API key does not have the scope {needed.value!r}.", "insufficient_scope")


class _InTheSchema(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = ApiKeyAuthentication
    name = "apiKey"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "bearerFormat": f"{services.KEY_START}…"}
