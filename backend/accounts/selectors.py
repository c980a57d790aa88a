"""Reads of users."""

from django.db.models import Q

from backend.accounts.models import User


def find_by_login(login: str) -> User | None:
    """The user whose name or address this is, in any case; None when there is none."""
    by_email = "@" in login
    return User.objects.filter(Q(email__iexact=login) if by_email else Q(username__iexact=login)).first()


def is_taken(*, username: str | None = None, email: str | None = None) -> bool:
    """Whether somebody has this name or this address already, in any case."""
    if username is not None:
        return User.objects.filter(username__iexact=username).exists()
    return User.objects.filter(email__iexact=email).exists()
