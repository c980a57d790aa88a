"""How passwords are hashed."""

from __future__ import annotations

import os
import threading

from django.contrib.auth.hashers import Argon2PasswordHasher

# Each takes 19 MiB and a core: more at once would take longer each, and the memory of a server that is being attacked.
_seats = threading.BoundedSemaphore(2 * (os.cpu_count() or 1))


class Argon2(Argon2PasswordHasher):
    """Argon2id with 19 MiB, two passes and one lane: the least that OWASP's Password Storage Cheat Sheet recommends.

    Django's own 100 MiB in eight lanes are for a machine that does little else; hashes that were made with them are
    still checked. So many are computed at once as this machine has use for; the others wait.
    """

    time_cost = 2
    memory_cost = 19 * 1024
    parallelism = 1

    def encode(self, password: str, salt: str) -> str:
        with _seats:
            return str(super().encode(password, salt))

    def verify(self, password: str, encoded: str) -> bool:
        with _seats:
            return bool(super().verify(password, encoded))
