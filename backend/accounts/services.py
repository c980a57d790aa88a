"""Changes of users."""

from django.contrib.auth import authenticate
from django.db import IntegrityError, transaction
from rest_framework.exceptions import AuthenticationFailed, ValidationError
from rest_framework_simplejwt.tokens import RefreshToken

from backend.accounts.models import User


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
