"""What /readyz asks: each app registers its own check by its dotted path, so this package imports none of them and
`manage.py` does not load what only a server needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from django.db import Error, connection
from django.utils.module_loading import import_string


@dataclass(frozen=True, slots=True)
class Check:
    """Whether a part can do its work, and what it is or what it lacks, in a few words."""

    ok: bool
    detail: str


_registered: dict[str, str] = {}


def register(name: str, path: str) -> None:
    """Have /readyz call the function at this dotted path, which returns a Check, under `name`."""
    _registered[name] = path


def run_checks() -> dict[str, Check]:
    """Every registered check, by name."""
    return {name: _run(import_string(_registered[name])) for name in sorted(_registered)}


def _run(check: Callable[[], Check]) -> Check:
    try:
        return check()
    except Error:
        return Check(ok=False, detail="the database does not answer")


def check_database() -> Check:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return Check(ok=True, detail=connection.vendor)


register("database", "backend.api.checks.check_database")
