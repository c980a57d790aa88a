"""What stands in the links of mails: signed, good for some time and for one use, without a row in the database.

A link holds a digest of what its use changes, so it is dead once it was used, and once somebody else was.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.core import signing
from django.utils.crypto import constant_time_compare

from backend.accounts.models import User


@dataclass(frozen=True, slots=True)
class Purpose:
    name: str
    path: str
    lifetime: timedelta

    def link(self, user: User) -> str:
        return f"{settings.ENV.site}{self.path}?token={self.token(user)}"

    def token(self, user: User) -> str:
        return signing.dumps([user.pk, self._state(user)], salt=self._salt)

    def read(self, token: str) -> User | None:
        """The user whom the link was for; None when it is not good, for whatever reason."""
        try:
            pk, state = signing.loads(token, salt=self._salt, max_age=self.lifetime)
        except (signing.BadSignature, ValueError, TypeError):
            return None
        user = User.objects.filter(pk=pk, is_active=True).first() if isinstance(pk, int) else None
        if user is None or not constant_time_compare(str(state), self._state(user)):
            return None
        return user

    def _state(self, user: User) -> str:
        parts = [self.name, user.pk, user.email.lower(), user.is_verified, user.password]
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]

    @property
    def _salt(self) -> str:
        return f"footnote.{self.name}"


VERIFY = Purpose("verify-email", "/verify-email", timedelta(days=3))
RESET = Purpose("reset-password", "/password/reset/confirm", timedelta(hours=1))
