"""What a restored database still needs, before its first reader."""

from __future__ import annotations

from django.core.management import call_command

from backend.accounts import erasure
from backend.backups.erasures import Entries
from backend.knowledge.models import Source


def finish(entries: Entries) -> int:
    """Bring the database that answers now up to this release, erase again who was erased since the backup, and have the
    next sync compare the real ids in the indexes with the passages. Returns how many were erased.
    """
    call_command("migrate", interactive=False, verbosity=0)
    erased = erasure.apply(entries)
    Source.objects.exclude(current_version=None).update(dirty=True)
    return erased
