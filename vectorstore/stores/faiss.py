"""FAISS, embedded: exact search in memory over what a log on disk holds, one log for each embedding fingerprint.

The log is the store; the FAISS index is made from it at opening. A write is appended, synced, and only then applied in
memory. What a kill leaves half written at the end is cut off at the next opening; the sync writes it again. A log that
is mostly of what was deleted is written anew beside itself and renamed.

The index is flat: it deletes exactly, it finds exactly, and it filters by ids. One process owns it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import struct
import threading
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from vectorstore.disk import sync_folder
from vectorstore.errors import IndexUnavailable
from vectorstore.store import Hit, VectorStore

MAGIC = b"footnote vectors 1\n"
HEADER = struct.Struct("<III")  # bytes of the JSON, bytes of the vectors, CRC-32 of both
REWRITTEN_AT_ONCE = 5_000  # vectors in a record of a log that is written anew
WASTE = 16_000_000  # bytes of what was deleted that a log may hold, and as much again as what it holds


class FaissStore(VectorStore):
    """Safe to use from many threads, which search one at a time."""

    def __init__(self, collections: _Collections, fingerprint: str, dimensions: int, *, owner: bool) -> None:
        self._collections = collections
        self._collection = collections.open(fingerprint, dimensions)
        self._owner = owner

    @classmethod
    def open(cls, folder: Path, fingerprint: str, dimensions: int) -> FaissStore:
        """Below this folder; what is missing is made."""
        import faiss  # noqa: F401 (said now, not at the first question, where it is not installed)

        return cls(_Collections(folder), fingerprint, dimensions, owner=True)

    def sibling(self, fingerprint: str, dimensions: int) -> FaissStore:
        return FaissStore(self._collections, fingerprint, dimensions, owner=False)

    def drop(self, fingerprint: str) -> None:
        self._collections.drop(fingerprint)

    def upsert(self, ids: Sequence[str], vectors: np.ndarray, source_ids: Sequence[str]) -> None:
        if ids:
            self._collection.upsert(list(ids), np.ascontiguousarray(vectors, np.float32), list(source_ids))

    def delete(self, ids: Sequence[str]) -> None:
        self._collection.delete(list(ids))

    def vectors(self, ids: Sequence[str]) -> dict[str, np.ndarray]:
        return self._collection.vectors(ids)

    def owners(self) -> dict[str, str]:
        return self._collection.owners()

    def ids(self, source_id: str | None = None) -> set[str]:
        owners = self._collection.owners()
        return {chunk_id for chunk_id, owner in owners.items() if source_id in (None, owner)}

    def _nearest(self, vector: np.ndarray, k: int, source_ids: Sequence[str] | None) -> list[Hit]:
        return self._collection.query(vector, k, source_ids)

    def count(self) -> int:
        return self._collection.count()

    def ping(self) -> None:
        """It is part of this process."""

    def warm_up(self) -> None:
        """It was read at opening."""

    def close(self) -> None:
        if self._owner:
            self._collections.close()


class _Collections:
    """Those of a folder that are open: two that ask for the same one share it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[str, _Collection] = {}
        self._lock = threading.Lock()

    def open(self, fingerprint: str, dimensions: int) -> _Collection:
        with self._lock, _writing():
            if fingerprint not in self._open:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._open[fingerprint] = _Collection(self._path(fingerprint), dimensions)
            return self._open[fingerprint]

    def drop(self, fingerprint: str) -> None:
        with self._lock, _writing():
            if collection := self._open.pop(fingerprint, None):
                collection.close()
            self._path(fingerprint).unlink(missing_ok=True)

    def close(self) -> None:
        with self._lock:
            for collection in self._open.values():
                collection.close()
            self._open.clear()

    def _path(self, fingerprint: str) -> Path:
        plain = fingerprint if re.fullmatch(r"[\w.-]{1,100}", fingerprint) else _digest(fingerprint)
        return self._folder / f"chunks-{plain}.log"


class _Collection:
    """A log, and what it says. Every number is a row's own and never used again."""

    def __init__(self, path: Path, dimensions: int) -> None:
        import faiss

        # Questions come in many threads, each a search of its own; and a fork would leave FAISS's threads behind.
        faiss.omp_set_num_threads(1)
        self._faiss: Any = faiss
        self._path = path
        self._dimensions = dimensions
        self._lock = threading.RLock()
        self._log: BinaryIO = path.open("a+b")
        self._load()
        if self._is_wasteful():
            self._rewrite()

    def upsert(self, ids: list[str], vectors: np.ndarray, source_ids: list[str]) -> None:
        with self._lock:
            self._append({"put": ids, "of": source_ids}, vectors)
            self._put(ids, vectors, source_ids)
            if self._is_wasteful():
                self._rewrite()

    def delete(self, ids: list[str]) -> None:
        with self._lock:
            there = [chunk_id for chunk_id in ids if chunk_id in self._numbers]
            if there:
                self._append({"delete": there})
                self._remove(there)
                if self._is_wasteful():
                    self._rewrite()

    def vectors(self, ids: Sequence[str]) -> dict[str, np.ndarray]:
        with self._lock:
            there = [chunk_id for chunk_id in dict.fromkeys(ids) if chunk_id in self._numbers]
            if not there:
                return {}
            numbers = np.array([self._numbers[chunk_id] for chunk_id in there], np.int64)
            return dict(zip(there, self._index.reconstruct_batch(numbers), strict=True))

    def owners(self) -> dict[str, str]:
        with self._lock:
            return {chunk_id: self._rows[number][1] for chunk_id, number in self._numbers.items()}

    def query(self, vector: np.ndarray, k: int, source_ids: Sequence[str] | None) -> list[Hit]:
        with self._lock:
            parameters = None
            if source_ids is not None:
                numbers = [number for source_id in source_ids for number in self._of_source.get(source_id, ())]
                k = min(k, len(numbers))
                selector = self._faiss.IDSelectorBatch(np.array(numbers, np.int64))
                parameters = self._faiss.SearchParameters(sel=selector)
            k = min(k, len(self._rows))
            if not k:
                return []
            question = np.ascontiguousarray(vector, np.float32)[None]
            scores, found = self._index.search(question, k, params=parameters)
            return [
                Hit(self._rows[number][0], float(score))
                for score, number in zip(scores[0], found[0].tolist(), strict=True)
                if number >= 0
            ]

    def count(self) -> int:
        with self._lock:
            return len(self._rows)

    def close(self) -> None:
        with self._lock:
            self._log.close()

    def _empty(self) -> None:
        self._index: Any = self._faiss.IndexIDMap2(self._faiss.IndexFlatIP(self._dimensions))
        self._rows: dict[int, tuple[str, str]] = {}  # (chunk's id, source's id) by number
        self._numbers: dict[str, int] = {}
        self._of_source: dict[str, set[int]] = defaultdict(set)
        self._next = 0

    def _put(self, ids: list[str], vectors: np.ndarray, source_ids: list[str]) -> None:
        last = {chunk_id: place for place, chunk_id in enumerate(ids)}  # the later one of two that share an id
        self._remove([chunk_id for chunk_id in last if chunk_id in self._numbers])
        numbers = np.arange(self._next, self._next + len(last), dtype=np.int64)
        self._next += len(last)
        self._index.add_with_ids(vectors[list(last.values())], numbers)
        for number, (chunk_id, place) in zip(numbers.tolist(), last.items(), strict=True):
            self._rows[number] = chunk_id, source_ids[place]
            self._numbers[chunk_id] = number
            self._of_source[source_ids[place]].add(number)

    def _remove(self, ids: list[str]) -> None:
        numbers = [self._numbers.pop(chunk_id) for chunk_id in ids]
        if not numbers:
            return
        self._index.remove_ids(np.array(numbers, np.int64))
        for number in numbers:
            _, source_id = self._rows.pop(number)
            of_source = self._of_source[source_id]
            of_source.discard(number)
            if not of_source:
                del self._of_source[source_id]

    def _load(self) -> None:
        """Read the log as far as it is whole, and cut off the rest."""
        self._empty()
        size = self._path.stat().st_size
        end = 0
        with self._path.open("rb") as log:
            if log.read(len(MAGIC)) == MAGIC:
                end = len(MAGIC)
                for entry, vectors, end in _records(log, self._dimensions):  # noqa: B007 (where the last one ends)
                    if "put" in entry:
                        self._put(entry["put"], vectors, entry["of"])
                    else:
                        self._remove([chunk_id for chunk_id in entry["delete"] if chunk_id in self._numbers])
        if end < size:
            self._log.truncate(end)
        if not end:
            self._log.write(MAGIC)
            _sync(self._log)
            sync_folder(self._path.parent)

    def _append(self, entry: dict[str, Any], vectors: np.ndarray | None = None) -> None:
        before = os.fstat(self._log.fileno()).st_size
        with _writing():
            try:
                self._log.write(_record(entry, vectors))
                _sync(self._log)
            except OSError:
                with contextlib.suppress(OSError):  # the disk is full: give back what was begun
                    os.ftruncate(self._log.fileno(), before)
                self._log = self._path.open("a+b")  # the old one still holds what could not be written
                raise

    def _is_wasteful(self) -> bool:
        used = len(self._rows) * (self._dimensions * 4 + 100)  # and about as much for an id and a source's
        return os.fstat(self._log.fileno()).st_size > 2 * used + WASTE

    def _rewrite(self) -> None:
        draft = self._path.with_suffix(".draft")
        with _writing():
            with draft.open("wb") as log:
                log.write(MAGIC)
                ids = list(self._numbers)
                for start in range(0, len(ids), REWRITTEN_AT_ONCE):
                    part = ids[start : start + REWRITTEN_AT_ONCE]
                    stored, owners = self.vectors(part), [self._rows[self._numbers[one]][1] for one in part]
                    log.write(_record({"put": part, "of": owners}, np.stack([stored[one] for one in part])))
                _sync(log)
            draft.replace(self._path)
            sync_folder(self._path.parent)
            self._log.close()
            self._log = self._path.open("a+b")


def _record(entry: dict[str, Any], vectors: np.ndarray | None) -> bytes:
    words = json.dumps(entry, separators=(",", ":")).encode()
    numbers = b"" if vectors is None else vectors.astype("<f4", copy=False).tobytes()
    return HEADER.pack(len(words), len(numbers), zlib.crc32(numbers, zlib.crc32(words))) + words + numbers


def _records(log: BinaryIO, dimensions: int) -> Iterator[tuple[dict[str, Any], np.ndarray, int]]:
    """Entry, vectors, and where in the file they end; stops before the first that is not whole."""
    while len(header := log.read(HEADER.size)) == HEADER.size:
        words_length, numbers_length, checksum = HEADER.unpack(header)
        words, numbers = log.read(words_length), log.read(numbers_length)
        if len(words) + len(numbers) < words_length + numbers_length:
            return
        if zlib.crc32(numbers, zlib.crc32(words)) != checksum:
            return
        yield json.loads(words), np.frombuffer(numbers, "<f4").reshape(-1, dimensions), log.tell()


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise IndexUnavailable(f"The vectors cannot be written: {error.strerror or error}.") from error


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]
