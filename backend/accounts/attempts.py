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
    """A login that is about to be tried."""

    account: str
    network: str

    @classmethod
    def at(cls, login: str, user: User | None, address: str) -> Attempt:
        """One at the account that this name or address leads to. The same queries, whether there is one or not."""
        familiar = Event.objects.filter(
            user_id=user.pk if user else 0,
            action=Action.LOGIN,
            address=address or None,
            at__gt=timezone.now() - FAMILIAR_FOR,
        ).exists()
        network = network_of(address)
        account = login.lower()  # a name and an address that waited together would tell that they are one account's
        return cls(f"{account} from {network}" if familiar else account, network)

    def require_patience(self) -> None:
        """TooMany (429) while one must wait, whether the password is right or not."""
        if wait := throttles.is_spent("login_failures", "address", self.network):
            raise throttles.TooMany(wait)
        storage = get_storage()
        if storage.get(self._lock):
            raise throttles.TooMany(max(1.0, storage.get_expiry(self._lock) - time.time()))

    def failed(self) -> None:
        throttles.count("login_failures", "address", self.network)
        storage = get_storage()
        failures = storage.incr(self._failures, FORGOTTEN_AFTER)
        if failures > FREE:
            storage.incr(self._lock, min(LONGEST_WAIT, 2 ** min(10, failures - FREE - 1)))

    def succeeded(self) -> None:
        get_storage().clear(self._failures)

    @property
    def _failures(self) -> str:
        return f"failed logins of {self.account}"

    @property
    def _lock(self) -> str:
        return f"wait for {self.account}"


def forgive(user: User) -> None:
    """Forget the failures: the owner has proved in another way who she is."""
    storage = get_storage()
    for login in (user.username, user.email):
        attempt = Attempt(login.lower(), "")
        storage.clear(attempt._failures)
        storage.clear(attempt._lock)
