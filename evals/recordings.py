"""What came back for each question, kept on disk as it comes: an interrupted run goes on, a second one costs nothing.

A recording is stored under a key that is a digest of everything that it depends on: the question, the files, the
settings, the prompt's text, the model, the product's own code, the versions of its packages, the processor. Scores are
not stored; they are computed anew.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from evals.samples import ROOT

CODE = ("backend", "chains", "loaders", "vectorstore")  # what an answer is made by
OWN = ("evals/instance.py", "evals/product.py", "evals/recordings.py", "evals/runner.py")
FILE = "recordings.sqlite3"


@dataclass(frozen=True, slots=True)
class Passage:
    """What a search gave; `page` counts from 1, `heading` is outermost first, `score` is in [0, 1]."""

    source: str
    text: str
    score: float
    page: int | None = None
    heading: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Recording:
    """The product's reaction to one question.

    passages: best first. reply: the answer object of the HTTP API without its ids; None when only a search was made.
    stored: for each citation the source's text between its offsets, None where there is no such source or place.
    seconds: the duration of the calls, by what was called ("search", "ask").
    """

    passages: tuple[Passage, ...]
    reply: Mapping[str, Any] | None = None
    stored: tuple[str | None, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def answer(self) -> str:
        return self.reply["answer"] if self.reply else ""

    @property
    def outcome(self) -> str | None:
        return self.reply["outcome"] if self.reply else None

    @property
    def citations(self) -> tuple[Mapping[str, Any], ...]:
        return tuple(self.reply["citations"]) if self.reply else ()

    @property
    def confidence(self) -> float | None:
        """The product's own, before it answered; after a search alone, the best passage's score."""
        if self.reply is not None:
            value: float | None = self.reply.get("confidence")
            return value
        return self.passages[0].score if self.passages else 0.0

    def as_json(self) -> str:
        return json.dumps(
            {
                "passages": [[p.source, p.text, p.score, p.page, list(p.heading)] for p in self.passages],
                "reply": self.reply,
                "stored": self.stored,
                "seconds": self.seconds,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Recording:
        row = json.loads(text)
        passages = tuple(
            Passage(source, body, score, page, tuple(heading)) for source, body, score, page, heading in row["passages"]
        )
        return cls(passages, row["reply"], tuple(row["stored"]), row["seconds"])


class Recordings:
    """Recordings by key in one SQLite file, or in memory. Safe for several threads; a kill loses at most one."""

    def __init__(self, folder: Path | None = None) -> None:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(
            ":memory:" if folder is None else folder / FILE, check_same_thread=False, isolation_level=None, timeout=30
        )
        self._lock = threading.Lock()
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("CREATE TABLE IF NOT EXISTS recording (key TEXT PRIMARY KEY, value TEXT NOT NULL)")

    def get(self, key: str) -> Recording | None:
        with self._lock:
            row = self._database.execute("SELECT value FROM recording WHERE key = ?", (key,)).fetchone()
        return Recording.from_json(row[0]) if row else None

    def put(self, key: str, recording: Recording) -> None:
        with self._lock:
            self._database.execute("INSERT OR REPLACE INTO recording VALUES (?, ?)", (key, recording.as_json()))

    def forget(self, keys: Iterable[str]) -> None:
        with self._lock:
            self._database.executemany("DELETE FROM recording WHERE key = ?", [(key,) for key in keys])

    def close(self) -> None:
        self._database.close()


def digest(value: Any) -> str:
    """SHA-256 of a value as JSON, the same however its keys are ordered."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def product_digest() -> str:
    """Of everything but the settings that decides what the product answers: code, packages, processor."""
    paths = [path for name in CODE for path in (ROOT / name).rglob("*") if path.suffix in (".py", ".md")]
    paths += [ROOT / name for name in OWN]
    code = {path.relative_to(ROOT).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    packages = sorted(f"{package.name}=={package.version}" for package in distributions())
    return digest([code, packages, processor()])


@cache
def processor() -> str:
    """The processor's name and abilities: its arithmetic decides the last digits of embeddings."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        import platform

        return f"{platform.machine()} {platform.processor()}"
    told = dict(line.split(":", 1) for line in reversed(lines) if ":" in line)
    values = {name.strip(): value.strip() for name, value in told.items()}
    abilities = hashlib.sha256(" ".join(sorted(values.get("flags", "").split())).encode()).hexdigest()[:8]
    return f"{values.get('model name', 'unknown processor')} ({abilities})"
