"""Let an instance be what a backup says, or leave it untouched.

Everything is verified and made ready beside what is there; then what is there is moved aside and the new takes its
place. A restore that fails puts back what was there; one that was killed is repeated, or undone (backend/backups/
journal.py). The indexes are not in a backup: the next sync makes them from the passages in the database.
"""

from __future__ import annotations

import contextlib
import shutil
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.db import Error, connection
from django.db.migrations.loader import MigrationLoader

from backend.accounts import erasure
from backend.accounts.models import User
from backend.backups import documents, erasures, journal
from backend.backups.archive import CALIBRATION, DOCUMENTS, Manifest, extract, verify
from backend.backups.databases import Database, own_tables
from backend.backups.errors import PutBack, Refused
from backend.backups.journal import State, staging
from backend.backups.making import backups_folder, refuse_one_folder, this_database
from backend.knowledge.index import IndexBusy, alone

# The indexes belong to the database; with the same key, tokens that were ended since the backup would be good again.
REPLACED = ("chroma", "faiss", "lexical", CALIBRATION, "secret_key")
SPARE = 20_000_000  # bytes that are left free on a disk
NAMES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}


@dataclass(frozen=True)
class Restored:
    """What the instance is now. erased: accounts that were erased after the backup, and were erased again."""

    manifest: Manifest
    erased: int


def check_backup(file: Path) -> Manifest:
    """Read all of it: whether this release could restore it into the configured database. Refused, Damaged."""
    manifest = verify(file, room=sum(free for _, free in _disks(_roots(this_database())).values()))
    if manifest.vendor != (vendor := this_database().vendor):
        raise Refused(
            f"The backup is of a {NAMES[manifest.vendor]} database and DATABASE_URL names a {NAMES[vendor]} one; "
            "it can only be restored into its own kind."
        )
    known = _known_migrations()
    if unknown := [name for name in manifest.migrations if name not in known]:
        raise Refused(f"The backup is of a later release ({manifest.version}): this one does not know {unknown[0]}.")
    return manifest


def restore(file: Path, *, force: bool = False) -> Restored:
    """Restore it into this instance. Refused and Damaged when nothing was changed: also for an instance that holds
    something, unless it is to be replaced by `force`. PutBack when it was changed and is as before.
    """
    refuse_one_folder(settings.ENV, Refused)
    with _alone():
        manifest = check_backup(file)
        if journal.state() == State.DONE:
            _forget_before(this_database())
        if not (half_done := journal.is_under_way()):
            journal.forget(_roots(this_database()))
        if not (force or half_done):
            _refuse_to_replace(manifest)
        erased_since = erasures.in_ledgers(file.parent, backups_folder())
        with contextlib.suppress(Error):  # of a database that is replaced because it is damaged
            erased_since += erasures.in_database()
        connection.close()  # its files are about to be moved
        database = this_database(erased_since)
        database.check(manifest)
        try:
            _unpack(file, manifest, database)
            erased = database.prepare(_new(database.root, database.member), manifest)
        except BaseException as error:
            _forget_new(database)
            if isinstance(error, OSError):
                raise Refused(f"The backup cannot be unpacked: {error.strerror or error}.") from None
            raise
        # In this instance's ledger they are found when this restore is killed and repeated, with the database that knew
        # them set aside, and by one of an older backup.
        erasure.note_missing(erased_since)
        return Restored(manifest, erased + _replace(database, manifest))


def undo() -> None:
    """Have what was there before a restore that did not come to its end. Refused when there is none."""
    with _alone():
        if not journal.is_under_way():
            raise Refused("There is no restore that did not come to its end.")
        _put_back(this_database(), None)


def _replace(database: Database, manifest: Manifest) -> int:
    """From here on something is changed. Returns as Database.place does."""
    try:
        if journal.state() != State.PLACING:
            journal.record(State.ASIDE)
            _set_aside(database, manifest)
            journal.record(State.PLACING)
        _remove_new(database, manifest)  # of an attempt that was killed
        erased = _place(database, manifest)
        journal.record(State.DONE)
    except BaseException as error:
        _put_back(database, manifest)
        if isinstance(error, Exception):
            raise PutBack(f"The restore failed: {error} What was there before is there again.") from error
        raise
    _forget_before(database)
    return erased


def _set_aside(database: Database, manifest: Manifest) -> None:
    env = settings.ENV
    database.set_aside(manifest)
    for path in _replaced(database):
        kept = _kept(path)
        if path.exists() and kept.exists():  # made by somebody else after a restore was killed here
            _remove(path)
        elif path.exists():
            kept.parent.mkdir(parents=True, exist_ok=True)
            path.rename(kept)
    documents.move_documents(env.knowledge_dir, env.data_dir, _kept_documents())


def _remove_new(database: Database, manifest: Manifest | None) -> None:
    env = settings.ENV
    database.remove_new(manifest)
    for path in _replaced(database):
        _remove(path)
    documents.remove_documents(env.knowledge_dir, env.data_dir)


def _place(database: Database, manifest: Manifest) -> int:
    env = settings.ENV
    erased = database.place(_new(database.root, database.member), manifest)
    if CALIBRATION in manifest.members:
        _new(env.data_dir, CALIBRATION).rename(env.data_dir / CALIBRATION)
    for path in manifest.documents:
        target = env.knowledge_dir / path
        target.parent.mkdir(parents=True, exist_ok=True)
        _new(env.knowledge_dir, DOCUMENTS + path).rename(target)
    return erased


def _put_back(database: Database, manifest: Manifest | None) -> None:
    env = settings.ENV
    if journal.state() == State.PLACING:
        _remove_new(database, manifest)
        journal.record(State.ASIDE)
    database.put_back()
    for path in _replaced(database):
        if (kept := _kept(path)).exists():
            _remove(path)
            kept.rename(path)
    documents.move_documents(_kept_documents(), env.data_dir, env.knowledge_dir, over=True)
    journal.forget(_roots(database))


def _forget_before(database: Database) -> None:
    database.forget_aside()
    journal.forget(_roots(database))


def _forget_new(database: Database) -> None:
    """Delete what this attempt unpacked; what an earlier one has set aside stays."""
    if not journal.is_under_way():
        journal.forget(_roots(database))
    for root in _roots(database):
        shutil.rmtree(staging(root) / "new", ignore_errors=True)


def _unpack(file: Path, manifest: Manifest, database: Database) -> None:
    """Everything to where a rename can put it in its place, all of it on the disk. Refused, OSError."""
    for root in _roots(database):
        root.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(staging(root) / "new", ignore_errors=True)
        staging(root).mkdir(mode=0o700, exist_ok=True)
    needed: dict[int, int] = defaultdict(int)
    for name, member in manifest.members.items():
        needed[_root_of(name, database).stat().st_dev] += member.size
    for device, (root, free) in _disks(_roots(database)).items():
        if needed[device] + SPARE > free:
            raise Refused(
                f"There is no room: {(needed[device] + SPARE) / 1e6:,.0f} MB are needed on the disk of {root}, "
                f"{free / 1e6:,.0f} MB are free."
            )
    extract(file, manifest, lambda name: _new(_root_of(name, database), name))


def _refuse_to_replace(manifest: Manifest) -> None:
    """Refused when a restore would take something away."""
    env = settings.ENV
    if accounts := _count_accounts():
        raise Refused(f"This instance is not empty, it has {accounts} accounts. `--force` replaces it.")
    if found := documents.in_the_way(env.knowledge_dir, env.data_dir, manifest):
        raise Refused(
            f"{env.knowledge_dir} holds {len(found)} files that are not in the backup as they are, for instance "
            f"{found[0]!a}. `--force` replaces them."
        )


def _count_accounts() -> int:
    if not this_database().exists():
        return 0
    try:
        return User.objects.count() if User._meta.db_table in own_tables() else 0
    except Error as error:
        raise Refused(f"The database cannot be read: {error}. `--force` replaces it.") from None


def _known_migrations() -> set[str]:
    """What this release and its packages bring, and what they once were squashed from."""
    on_disk = MigrationLoader(None, ignore_no_migrations=True).disk_migrations
    replaced = {key for migration in on_disk.values() for key in migration.replaces}
    return {f"{app}.{name}" for app, name in {*on_disk, *replaced}}


def _replaced(database: Database) -> list[Path]:
    """What is exchanged beside the documents, as far as it is files."""
    return [*database.live, *(settings.ENV.data_dir / name for name in REPLACED)]


def _roots(database: Database) -> list[Path]:
    """The folders whose content is exchanged; what is staged for each lies in it."""
    return list(dict.fromkeys([settings.ENV.data_dir, database.root, settings.ENV.knowledge_dir]))


def _root_of(name: str, database: Database) -> Path:
    if name == database.member:
        return database.root
    return Path(settings.ENV.knowledge_dir if name.startswith(DOCUMENTS) else settings.ENV.data_dir)


def _disks(roots: list[Path]) -> dict[int, tuple[Path, int]]:
    """By device: one of the folders on it, and the bytes that are free."""
    disks = {}
    for root in roots:
        there = next(path for path in (root, *root.parents) if path.exists())
        disks[there.stat().st_dev] = root, shutil.disk_usage(there).free
    return disks


def _new(root: Path, name: str) -> Path:
    """Where a member is unpacked that goes into this folder."""
    return staging(root) / "new" / name


def _kept(path: Path) -> Path:
    """Where it is kept aside."""
    return staging(path.parent) / "before" / "data" / path.name


def _kept_documents() -> Path:
    return staging(settings.ENV.knowledge_dir) / "before" / "files"


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """No server has this DATA_DIR meanwhile."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(alone())
        except IndexBusy as error:
            raise Refused(f"{error} Stop it first.") from None
        yield
