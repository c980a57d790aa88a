"""Login by name or by address, in the same time whether the user exists or not; and by access token."""

from typing import Any, cast

from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.hashers import make_password
from django.db import DEFAULT_DB_ALIAS
from django.http import HttpRequest
from drf_spectacular.contrib.rest_framework_simplejwt import SimpleJWTScheme
from rest_framework_simplejwt.authentication import JWTAuthentication

from backend.accounts.models import User
from backend.accounts.selectors import find_by_login
from backend.api.compiled import Compiled


class NameOrEmail(ModelBackend):
    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **kwargs: Any
    ) -> User | None:
        if username is None or password is None:
            return None
        user = find_by_login(username)
        if user is None:
            make_password(password)  # the same work as a check, so that time does not tell who exists
            return None
        correct = user.check_password(password)
        return user if correct and self.user_can_authenticate(user) else None


class AccessToken(JWTAuthentication):
    """simplejwt's, with the one query that every request makes written once."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user_model = cast(type[User], _Users)  # it asks for `objects.get(id=...)` and `DoesNotExist`


class _Users:
    DoesNotExist = User.DoesNotExist

    class objects:  # noqa: N801 (the name is Django's)
        @staticmethod
        def get(id: str) -> User:  # noqa: A002 (the field's name)
            try:
                rows = _by_id.rows(int(id))
            except ValueError:
                rows = []
            if not rows:
                raise User.DoesNotExist
            return User.from_db(DEFAULT_DB_ALIAS, FIELDS, rows[0])


FIELDS = [field.attname for field in User._meta.concrete_fields]
_by_id = Compiled(lambda pk: User.objects.filter(pk=pk).order_by().values_list(*FIELDS), int)


class _InTheSchema(SimpleJWTScheme):  # type: ignore[no-untyped-call]
    target_class = AccessToken  # type: ignore[assignment]
