"""Where counters are kept: Redis when REDIS_URL is set, otherwise the database; in this process while Redis is away."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

from django.conf import settings
from django.db import DatabaseError, connection, transaction
from limits.errors import StorageError
from limits.storage import MemoryStorage, RedisStorage
from limits.storage.base import Storage

from backend.throttling.models import Counter

logger = logging.getLogger(__name__)

REDIS_SECONDS = 0.5  # to connect and to answer; a throttle that waits is worse than one that forgets
AWAY_SECONDS = 5  # without asking Redis again after it did not answer

T = TypeVar("T")

_making = threading.Lock()


class DatabaseStorage(Storage):
    """`limits`' storage in a table: one statement counts and tells the count, whatever the number of processes."""

    STORAGE_SCHEME = ["footnote-database"]

    _COUNT = """
        INSERT INTO throttling_counter (key, count, expires_at) VALUES (%s, %s, %s)
        ON CONFLICT (key) DO UPDATE SET
            count = CASE WHEN throttling_counter.expires_at <= %s THEN excluded.count
                         ELSE throttling_counter.count + excluded.count END,
            expires_at = CASE WHEN throttling_counter.expires_at <= %s THEN excluded.expires_at
                              ELSE throttling_counter.expires_at END
        RETURNING count
    """

    @property
    def base_exceptions(self) -> type[Exception]:
        return DatabaseError

    def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        now = time.time()
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(self._COUNT, [digest(key), amount, now + expiry, now, now])
            return int(cursor.fetchone()[0])

    def get(self, key: str) -> int:
        counted = Counter.objects.filter(key=digest(key), expires_at__gt=time.time()).values_list("count", flat=True)
        return counted.first() or 0

    def get_expiry(self, key: str) -> float:
        expires = Counter.objects.filter(key=digest(key)).values_list("expires_at", flat=True).first()
        return time.time() if expires is None else expires

    def check(self) -> bool:
        Counter.objects.exists()
        return True

    def reset(self) -> int:
        return Counter.objects.all().delete()[0]

    def clear(self, key: str) -> None:
        Counter.objects.filter(key=digest(key)).delete()


class RedisOrHere:
    """Redis' counters; those of this process while Redis does not answer: it still counts, but alone."""

    def __init__(self, url: str) -> None:
        self.redis = RedisStorage(
            url,
            wrap_exceptions=True,
            key_prefix="footnote",
            socket_timeout=REDIS_SECONDS,
            socket_connect_timeout=REDIS_SECONDS,
        )
        self.here = MemoryStorage()
        self.away_until = 0.0

    def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        return self._ask(lambda storage: storage.incr(digest(key), max(1, round(expiry)), amount))

    def get(self, key: str) -> int:
        return self._ask(lambda storage: storage.get(digest(key)))

    def get_expiry(self, key: str) -> float:
        return self._ask(lambda storage: storage.get_expiry(digest(key)))

    def clear(self, key: str) -> None:
        self._ask(lambda storage: storage.clear(digest(key)))

    def _ask(self, question: Callable[[Storage], T]) -> T:
        if time.monotonic() >= self.away_until:
            try:
                return question(self.redis)
            except StorageError as error:
                self.away_until = time.monotonic() + AWAY_SECONDS
                logger.warning("Redis does not answer, so this process counts alone: %s", error.storage_error)
        return question(self.here)


def get_storage() -> DatabaseStorage | RedisOrHere:
    """Where this server counts."""
    with (
        _making
    ):  # the first requests of a process come together, and limits takes a half-imported redis for an old one
        return _storage(settings.ENV.redis_url)


@lru_cache(maxsize=4)
def _storage(redis_url: str) -> DatabaseStorage | RedisOrHere:
    return RedisOrHere(redis_url) if redis_url else DatabaseStorage()


def digest(key: str) -> str:
    """What is kept of a key: addresses and names are in it. With the server's secret, or one could try them all out."""
    return hashlib.blake2b(key.encode(), key=settings.SECRET_KEY.encode()[:64], digest_size=32).hexdigest()
