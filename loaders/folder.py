"""What lies in the watched folder, from one walk: files to read, and names that cannot be taken, each with its reason.

Ignored without a word: dotfiles, and the temporary names of editors, browsers and office programs. Links are followed
while they stay inside the folder; nothing outside it is ever opened.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from loaders.errors import ChangedWhileReading, FolderUnavailable
from loaders.sidecar import NAME as SIDECAR
from loaders.sidecar import BadSidecar, Sidecar, read_sidecar

TEMPORARY = (
    "*.tmp",
    "*.temp",
    "*.part",
    "*.partial",
    "*.crdownload",
    "*.swp",
    "*.swx",
    "*~",
    "~$*",
    "#*#",
    "Thumbs.db",
)
READ_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A regular file. path: relative to the folder, with "/". size: bytes. mtime_ns: nanoseconds since 1970."""

    path: str
    size: int
    mtime_ns: int
    inode: int


@dataclass(frozen=True, slots=True)
class Problem:
    """A name that cannot be taken. keep_previous: what was read from it before may go on answering."""

    path: str
    reason: str
    keep_previous: bool = False


@dataclass(frozen=True, slots=True)
class Scan:
    """Files and problems sorted by path; the sidecars by their folder, "" for the watched one."""

    files: tuple[FileEntry, ...]
    problems: tuple[Problem, ...]
    sidecars: Mapping[str, Sidecar] = field(default_factory=dict)


def scan(root: Path) -> Scan:
    """Walk the folder. FolderUnavailable when it is missing or cannot be listed."""
    files: list[FileEntry] = []
    problems: list[Problem] = []
    sidecars: dict[str, Sidecar] = {}
    try:
        real_root = os.path.realpath(root, strict=True)
        with os.scandir(real_root):
            pass
    except OSError as error:
        raise FolderUnavailable(f"The folder {root} cannot be read: {error.strerror}.") from None
    for found in _walk(real_root, real_root, "", frozenset([real_root])):
        if isinstance(found, FileEntry):
            files.append(found)
        elif isinstance(found, Problem):
            problems.append(found)
        else:
            sidecars.update([found])
    return Scan(
        tuple(sorted(files, key=lambda entry: entry.path)),
        tuple(sorted(problems, key=lambda problem: problem.path)),
        sidecars,
    )


def is_ignored(name: str) -> bool:
    """Whether files and folders of this name are passed over without a word; sidecars are, as documents."""
    return name.startswith(".") or any(fnmatch(name, pattern) for pattern in TEMPORARY)


def hash_file(root: Path, entry: FileEntry) -> str:
    """sha256 of the content, in hex. ChangedWhileReading when it is not the file that was scanned; OSError."""
    digest = hashlib.sha256()
    for block in read_blocks(root, entry):
        digest.update(block)
    return digest.hexdigest()


def read_blocks(root: Path, entry: FileEntry) -> Iterator[bytes]:
    """The content. ChangedWhileReading, at its end too, when it is not that of the file that was scanned; OSError."""
    descriptor = os.open(root / entry.path, os.O_RDONLY | os.O_NONBLOCK)
    with open(descriptor, "rb", buffering=0) as file:  # noqa: PTH123 (opened by descriptor)
        _refuse_other(os.fstat(descriptor), entry)
        while block := file.read(READ_BLOCK):
            yield block
        _refuse_other(os.fstat(descriptor), entry)


def _refuse_other(found: os.stat_result, entry: FileEntry) -> None:
    if (found.st_size, found.st_mtime_ns, found.st_ino) != (entry.size, entry.mtime_ns, entry.inode):
        raise ChangedWhileReading(entry.path)


Found = FileEntry | Problem | tuple[str, Sidecar]


def _walk(folder: str, root: str, prefix: str, above: frozenset[str]) -> Iterator[Found]:
    try:
        names = sorted(os.scandir(folder), key=lambda item: item.name)
    except OSError as error:
        yield Problem(
            _printable(prefix.rstrip("/")), f"the folder cannot be read: {error.strerror}", keep_previous=True
        )
        return
    for item in names:
        if item.name == SIDECAR:
            yield _read_sidecar(item, prefix)
            continue
        if is_ignored(item.name):
            continue
        path = prefix + item.name
        if not _is_storable(path):
            yield Problem(_printable(path), "the name holds characters that cannot be stored")
            continue
        try:
            yield from _take(item, path, root, above)
        except FileNotFoundError:
            if item.is_symlink():
                yield Problem(path, "the link leads nowhere")
            # otherwise it was deleted a moment ago
        except OSError as error:
            yield Problem(path, f"it cannot be read: {error.strerror}", keep_previous=True)


def _read_sidecar(item: os.DirEntry[str], prefix: str) -> Found:
    """What it tells; a bad one is a problem to be seen, and tells nothing."""
    try:
        if not item.is_file(follow_symlinks=False):
            return Problem(f"{prefix}{SIDECAR}", "it is not a regular file")
        return prefix.rstrip("/"), read_sidecar(Path(item.path))
    except BadSidecar as error:
        return Problem(f"{prefix}{SIDECAR}", str(error))
    except OSError as error:
        return Problem(f"{prefix}{SIDECAR}", f"it cannot be read: {error.strerror}")


def _take(item: os.DirEntry[str], path: str, root: str, above: frozenset[str]) -> Iterator[Found]:
    if item.is_symlink():
        real = os.path.realpath(item.path, strict=True)
        if real != root and not real.startswith(root + os.sep):
            yield Problem(path, "it links to a place outside the folder, which is never read")
            return
        if real in above:
            return  # a link to a folder it lies in: walking it would not end
    else:
        real = item.path
    found = item.stat()
    if stat.S_ISDIR(found.st_mode):
        yield from _walk(real, root, f"{path}/", above | {real})
    elif not stat.S_ISREG(found.st_mode):
        yield Problem(path, "it is not a regular file")
    elif not os.access(item.path, os.R_OK):
        yield Problem(path, "it cannot be read: permission denied", keep_previous=True)
    else:
        yield FileEntry(path, found.st_size, found.st_mtime_ns, found.st_ino)


def _is_storable(path: str) -> bool:
    return path.isprintable() and not any("\ud800" <= char <= "\udfff" for char in path)


def _printable(path: str) -> str:
    """The path with what cannot be stored written as escapes."""
    return "".join(
        char if char.isprintable() and not "\ud800" <= char <= "\udfff" else ascii(char)[1:-1] for char in path
    )
