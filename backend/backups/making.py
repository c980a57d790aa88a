"""Make a backup while the server serves: the database as of one moment first, the documents after it.

In this order a document is never older than what the catalogue says of it: the sync after a restore follows what
changed in between, as it does every day. The other way round, a deleted file would come back (docs/adr/0013).
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.db import connection
from django.utils import timezone
from filelock import FileLock, Timeout

from backend.backups.archive import CALIBRATION, Manifest, Writer, open_private
from backend.backups.databases import Database
from backend.backups.documents import add_documents
from backend.backups.erasures import Entries
from backend.backups.errors import BackupError, NotMade
from backend.backups.postgresql import PostgreSQL
from backend.backups.sqlite import SQLite
from backend.environment import Environment
from vectorstore.disk import sync_folder

NAME = re.compile(r"footnote-\d{8}T\d{6}Z\.tar\.gz")
DRAFT = ".footnote-backup-"


@dataclass(frozen=True)
class Made:
    """A complete backup. left_out: documents that could not be read, each with its reason."""

    path: Path
    size: int
    documents: int
    left_out: dict[str, str]


def make_backup(output: Path | None = None) -> Made:
    """Write `output`, or a file named by the time in DATA_DIR/backups. NotMade."""
    env = settings.ENV
    refuse_one_folder(env, NotMade)
    folder = backups_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        with _alone(folder):
            target = output or folder / f"footnote-{timezone.now():%Y%m%dT%H%M%SZ}.tar.gz"
            if target.exists():
                raise NotMade(f"{target} is there already.")
            with _work_in(target.parent) as work:
                made = _write(work, target)
            sync_folder(target.parent)
            return made
    except OSError as error:
        raise NotMade(f"The backup cannot be written: {error.strerror or error}.") from None


def prune(kept: int) -> list[Path]:
    """Delete all but the newest so many in DATA_DIR/backups; returns those that went."""
    made = sorted(path for path in backups_folder().iterdir() if NAME.fullmatch(path.name))
    for path in made[:-kept]:
        path.unlink()
    return made[:-kept]


def backups_folder() -> Path:
    return Path(settings.ENV.data_dir / "backups")


def this_database(erased: Entries | None = None) -> Database:
    """The configured one. erased: who must not come back by it."""
    if connection.vendor == "sqlite":
        return SQLite(erased or [])
    if connection.vendor == "postgresql":
        return PostgreSQL(erased or [])
    raise BackupError(f"A database of the kind {connection.vendor} cannot be backed up.")


def refuse_one_folder(env: Environment, refusal: type[BackupError]) -> None:
    if env.data_dir == env.knowledge_dir:
        raise refusal("DATA_DIR and KNOWLEDGE_DIR are the same folder; give each its own.")


def _write(work: Path, target: Path) -> Made:
    env = settings.ENV
    database = this_database()
    copy = work / database.member
    made_at = timezone.now()
    snapshot = database.snapshot(copy)
    with open_private(work / "archive") as file:
        writer = Writer(file)
        with copy.open("rb") as content:
            writer.add(database.member, content)
        copy.unlink()
        calibration = env.data_dir / CALIBRATION
        if calibration.is_file():
            with calibration.open("rb") as content:
                writer.add(CALIBRATION, content)
        left_out = add_documents(writer, env.knowledge_dir, env.data_dir, work)
        manifest = Manifest(
            version=str(settings.SPECTACULAR_SETTINGS["VERSION"]),
            made_at=made_at.isoformat(),
            vendor=database.vendor,
            server=snapshot.server,
            schema_name=snapshot.schema,
            migrations=snapshot.migrations,
            counts=snapshot.counts,
            members=writer.members,
            left_out=left_out,
        )
        writer.close(manifest)
        file.flush()
        os.fsync(file.fileno())
        size = file.tell()
    (work / "archive").rename(target)
    return Made(target, size, len(manifest.documents), left_out)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One backup of an instance at a time."""
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise NotMade("Another backup of this instance is being made.") from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _work_in(folder: Path) -> Iterator[Path]:
    """A folder of its own, gone afterwards; those that killed backups of this instance left go first."""
    prefix = f"{DRAFT}{zlib.crc32(str(settings.ENV.data_dir).encode()):08x}-"
    for left in folder.glob(f"{prefix}*"):
        shutil.rmtree(left, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix=prefix, dir=folder))
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)
