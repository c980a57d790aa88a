"""Logins that fail: each costs the next one on that account some time, and too many those of that address.

Whoever guesses must wait, at most a minute at a time; the account's owner, at an address she logged in from lately, is
counted by herself and does not wait for others. Unknown names are counted as known ones are.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta

from django.utils import timezone

from backend.accounts.models import User
from backend.api.addresses import network_of
from backend.audit.models import Action, Event
from backend.throttling import throttles
from backend.throttling.storage import get_storage

FREE = 5  # wrong passwords that cost nothing: people mistype
LONGEST_WAIT = 60  # seconds, after FREE + 7 failures and each further one; before, it doubles from one second on
FORGOTTEN_AFTER = 900  # seconds after the first failure
FAMILIAR_FOR = timedelta(days=30)  # how long an address is known after a login from it


@dataclass(frozen=True, slots=True)
class Attempt:
    """A password that is about to be tried. From its beginning on it counts as a failure, until it has succeeded: of
    many at once no more are tried than of as many in turn.
    """

    account: str
    network: str

    @classmethod
    def at(cls, login: str, user: User | None, address: str) -> Attempt:
        """A login, by the name or address that leads to this user. The same queries, whether there is one or not."""
        # Not by the user: a name and an address that waited together would tell that they are one account's.
        return cls._from(f"login {login.lower()}", user, address)

    @classmethod
    def again(cls, user: User, address: str) -> Attempt:
        """Somebody who is signed in proves that she knows the password, whatever her name is at the moment."""
        return cls._from(f"user {user.pk}", user, address)

    @classmethod
    def _from(cls, account: str, user: User | None, address: str) -> Attempt:
        familiar = Event.objects.filter(
            user_id=user.pk if user else 0,
            action=Action.LOGIN,
            address=address or None,
            at__gt=timezone.now() - FAMILIAR_FOR,
        ).exists()
        network = network_of(address)
        return cls(f"from {network}: {account}" if familiar else account, network)

    def begin(self) -> None:
        """TooMany (429) while one must wait, whether the password is right or not. That counts for nothing, except
        beside others of the same moment: it makes the account's next wait longer.
        """
        storage = get_storage()
        if wait := throttles.is_spent("login_failures", "address", self.network):
            raise throttles.TooMany(wait)
        if storage.get(self._lock):
            raise throttles.TooMany(self._rest())
        if throttles.count("login_failures", "address", self.network):
            throttles.take_back("login_failures", "address", self.network)
            # Others of this moment may yet turn out to be right.
            raise throttles.TooMany(throttles.is_spent("login_failures", "address", self.network) or 1.0)
        failures = storage.incr(self._failures, FORGOTTEN_AFTER)
        pause = min(LONGEST_WAIT, 2 ** min(10, max(0, failures - FREE - 1)))
        if failures > FREE and storage.incr(self._lock, pause) > 1:  # another one of this moment has the turn
            throttles.take_back("login_failures", "address", self.network)
            raise throttles.TooMany(self._rest())

    def succeeded(self) -> None:
        throttles.take_back("login_failures", "address", self.network)
        self._forget()

    def _rest(self) -> float:
        return max(1.0, get_storage().get_expiry(self._lock) - time.time())

    def _forget(self) -> None:
        storage = get_storage()
        storage.clear(self._failures)
        storage.clear(self._lock)

    @property
    def _failures(self) -> str:
        return f"failed passwords of {self.account}"

    @property
    def _lock(self) -> str:
        return f"wait for {self.account}"


def forgive(user: User) -> None:
    """Forget the failures: the owner has proved in another way who she is."""
    for account in (f"login {user.username.lower()}", f"login {user.email.lower()}", f"user {user.pk}"):
        Attempt(account, "")._forget()
