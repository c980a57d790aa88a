"""By access token for the API; by name or address and password for the admin's pages."""

from typing import Any
from uuid import UUID

from django.contrib.auth.backends import ModelBackend
from django.core.exceptions import PermissionDenied
from django.db import DEFAULT_DB_ALIAS
from django.http import HttpRequest
from drf_spectacular.contrib.rest_framework_simplejwt import SimpleJWTScheme
from rest_framework.exceptions import APIException
from rest_framework_simplejwt.authentication import JWTAuthentication
from rest_framework_simplejwt.exceptions import InvalidToken
from rest_framework_simplejwt.settings import api_settings
from rest_framework_simplejwt.utils import get_md5_hash_password

from backend.accounts import services
from backend.accounts.models import User
from backend.accounts.tokens import FAMILY, AccessToken
from backend.api.compiled import Compiled
from backend.audit.models import Action
from backend.audit.services import record


class NameOrEmail(ModelBackend):
    """The admin's login; it waits, counts and writes down as the API's does."""

    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **kwargs: Any
    ) -> User | None:
        if request is None or username is None or password is None:
            return None
        try:
            user = services.check_credentials(request, username, password)
        except APIException:
            raise PermissionDenied from None  # Django's way to say: ask no other backend
        record(Action.LOGIN, request, user, admin=True)
        return user


class BearerToken(JWTAuthentication):
    """simplejwt's; a token is good as long as its family is. One query, whose SQL is written once."""

    def get_user(self, validated_token: Any) -> User:  # type: ignore[override]  # simplejwt's type has no name for it
        try:
            rows = _of_family.rows(int(validated_token[api_settings.USER_ID_CLAIM]), UUID(validated_token[FAMILY]))
        except (KeyError, ValueError, TypeError, AttributeError, OverflowError):
            rows = []
        if rows:
            user = User.from_db(DEFAULT_DB_ALIAS, FIELDS, rows[0])
            made_with = validated_token.get(api_settings.REVOKE_TOKEN_CLAIM)
            if user.is_active and made_with == get_md5_hash_password(user.password):
                return user
        raise InvalidToken("This token is not valid any more. Sign in again.")


FIELDS = [field.attname for field in User._meta.concrete_fields]
_of_family = Compiled(
    lambda pk, family: (
        User.objects.filter(pk=pk, token_families__pk=family, token_families__ended_at=None)
        .order_by()
        .values_list(*FIELDS)
    ),
    int,
    UUID,
)


def family_of(token: AccessToken) -> UUID:
    """The login that an access token belongs to."""
    return UUID(token[FAMILY])


class _InTheSchema(SimpleJWTScheme):  # type: ignore[no-untyped-call]
    target_class = BearerToken  # type: ignore[assignment]
