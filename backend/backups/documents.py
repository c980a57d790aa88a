"""The watched folder's files: as a backup takes them, and as a restore replaces them."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from backend.backups.archive import DOCUMENTS, Manifest, Writer
from backend.backups.errors import NotMade
from backend.knowledge.sync import FolderLooksUnmounted, refuse_if_unmounted
from loaders.errors import ChangedWhileReading, FolderUnavailable
from loaders.folder import FileEntry, Scan, hash_file, is_ignored, read_blocks, scan
from loaders.sidecar import NAME as SIDECAR

ROUNDS = 5  # that a file which is being written is waited for
PAUSE = 1.0  # seconds between them
IN_MEMORY = 16_000_000  # bytes of a file that need no second file while it is read


def add_documents(writer: Writer, folder: Path, data_dir: Path, work: Path) -> dict[str, str]:
    """Put every file that a scan finds, and every sidecar, into the archive, each as it was at one moment.

    Returns those that could not be read, each with its reason; a file that vanished meanwhile is not one. NotMade when
    the folder cannot be trusted.
    """
    wanted: set[str] | None = None  # all
    left_out: dict[str, str] = {}
    for number in range(ROUNDS):
        if number:
            time.sleep(PAUSE)
        try:
            found = scan(folder)
            refuse_if_unmounted(folder, found)
        except (FolderUnavailable, FolderLooksUnmounted) as error:
            raise NotMade(str(error)) from None
        if wanted is None:
            left_out = {problem.path: problem.reason for problem in found.problems if not _is_sidecar(problem.path)}
        changing = set()
        for entry in _entries(folder, found):
            if (wanted is not None and entry.path not in wanted) or _is_data(folder / entry.path, folder, data_dir):
                continue
            try:
                with _read(folder, entry, work) as content:
                    writer.add(DOCUMENTS + entry.path, content, mtime_ns=entry.mtime_ns)
            except ChangedWhileReading:
                changing.add(entry.path)
            except FileNotFoundError:
                continue
            except OSError as error:
                if error.filename is None:  # of writing, not of opening the file
                    raise
                left_out[entry.path] = f"it cannot be read: {error.strerror}"
        wanted = changing
        if not wanted:
            break
    return left_out | dict.fromkeys(sorted(wanted or ()), "it was being written to all the time")


def in_the_way(folder: Path, data_dir: Path, manifest: Manifest) -> list[str]:
    """The documents in the folder that the backup does not hold as they are."""
    found = []
    for path in present(folder, data_dir):
        member = manifest.documents.get(path)
        try:
            stat = (folder / path).stat()
            entry = FileEntry(path, stat.st_size, stat.st_mtime_ns, stat.st_ino)
            same = member is not None and member.size == entry.size and hash_file(folder, entry) == member.sha256
        except (OSError, ChangedWhileReading):
            same = False
        if not same:
            found.append(path)
    return found


def present(folder: Path, data_dir: Path) -> Iterator[str]:
    """The files, links and sidecars in the folder that a scan would look at, by their paths in it."""
    for at, folders, names in os.walk(folder):
        links = [name for name in folders if (Path(at) / name).is_symlink()]
        folders[:] = [name for name in folders if not is_ignored(name) and name not in links]
        folders[:] = [name for name in folders if not _is_data(Path(at) / name, folder, data_dir)]
        for name in sorted(names + links):
            path = Path(at) / name
            if (not is_ignored(name) or name == SIDECAR) and (path.is_symlink() or path.is_file()):
                yield path.relative_to(folder).as_posix()


def move_documents(folder: Path, data_dir: Path, to: Path, *, over: bool = False) -> None:
    """Move what is present to another folder on the same disk, and delete folders that are empty then. What is there
    already stays, unless it is moved `over`.
    """
    for path in list(present(folder, data_dir)):
        target = to / path
        if over or not os.path.lexists(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            (folder / path).replace(target)
    _remove_empty_folders(folder, data_dir)


def remove_documents(folder: Path, data_dir: Path) -> None:
    """Delete what is present, and folders that are empty then."""
    for path in list(present(folder, data_dir)):
        (folder / path).unlink()
    _remove_empty_folders(folder, data_dir)


def _remove_empty_folders(folder: Path, data_dir: Path) -> None:
    for at, _, _ in os.walk(folder, topdown=False):
        parts = Path(at).relative_to(folder).parts
        if parts and not any(is_ignored(part) for part in parts) and not _is_data(Path(at), folder, data_dir):
            with contextlib.suppress(OSError):  # it is not empty
                Path(at).rmdir()


def _entries(folder: Path, found: Scan) -> Iterator[FileEntry]:
    """The scanned files, and the sidecars, bad ones too."""
    yield from found.files
    paths = [f"{place}/{SIDECAR}".lstrip("/") for place in found.sidecars]
    paths += [problem.path for problem in found.problems if _is_sidecar(problem.path)]
    for path in sorted(paths):
        try:
            stat = (folder / path).lstat()
        except OSError:
            continue
        if (folder / path).is_file():
            yield FileEntry(path, stat.st_size, stat.st_mtime_ns, stat.st_ino)


def _read(folder: Path, entry: FileEntry, work: Path) -> IO[bytes]:
    """A copy of the whole file, so that no half of another version gets into the archive."""
    copy: IO[bytes] = tempfile.SpooledTemporaryFile(IN_MEMORY, dir=str(work))  # noqa: SIM115 (the caller's)
    try:
        for block in read_blocks(folder, entry):
            copy.write(block)
    except BaseException:
        copy.close()
        raise
    return copy


def _is_sidecar(path: str) -> bool:
    return path.rpartition("/")[2] == SIDECAR


def _is_data(path: Path, folder: Path, data_dir: Path) -> bool:
    """Whether it belongs to a DATA_DIR that lies in the watched folder."""
    return data_dir.is_relative_to(folder) and path.is_relative_to(data_dir)
