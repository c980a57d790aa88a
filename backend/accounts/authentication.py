"""Login by name or by address, in the same time whether the user exists or not."""

from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.hashers import make_password
from django.http import HttpRequest

from backend.accounts.models import User
from backend.accounts.selectors import find_by_login


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
