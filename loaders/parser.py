"""Parse files in a process of their own: what hangs, crashes or eats memory there dies alone.

The process takes half a second to start, at the first file, and serves many; see loaders/worker.py for its side. Each
message is its length (4 bytes, big endian), then JSON.
"""

from __future__ import annotations

import json
import logging
import os
import selectors
import struct
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from loaders import errors
from loaders.errors import Damaged, LoadError, ParserDied
from loaders.model import Chunk, LoadedSource
from loaders.registry import Limits
from loaders.sidecar import NOTHING, Metadata

logger = logging.getLogger(__name__)

START_SECONDS = 30.0  # for the process itself to start, on a slow disk

__all__ = ["Limits", "Parser"]


class Parser:
    """A context manager; `parse` may be called from one thread at a time."""

    def __init__(self, tokenizer_file: Path, limits: Limits) -> None:
        self.tokenizer_file = tokenizer_file
        self.limits = limits
        self.last_used = time.monotonic()
        self._process: subprocess.Popen[bytes] | None = None

    def parse(self, path: Path, name: str, beside: Metadata = NOTHING) -> LoadedSource:
        """The parsed and chunked file; `name` is its path relative to the folder, `beside` what its sidecar tells of
        it. LoadError says why it cannot be read.
        """
        if self._process is None or self._process.poll() is not None:
            self._start()
        try:
            told = [beside.title, beside.tags, beside.language]
            reading = self.limits.reading
            seconds = self.limits.seconds + (reading.seconds if reading.languages else 0)
            reply = self._ask({"path": os.fspath(path), "name": name, "beside": told}, seconds)
        except TimeoutError:
            self.close()
            raise ParserDied(f"reading it took longer than {self.limits.seconds:g} seconds (PARSE_SECONDS)") from None
        except (EOFError, OSError):
            self.close()
            raise ParserDied("reading it crashed the parser: the file is damaged or asks for too much memory") from None
        except BaseException:
            self.close()  # an answer that nobody waited for must not be taken for the next one's
            raise
        self.last_used = time.monotonic()
        if "error" in reply:
            raise self._error(name, reply)
        return _unpack(reply)

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _start(self) -> None:
        self.close()
        limits = self.limits
        setup = [
            str(self.tokenizer_file),
            limits.max_pages,
            limits.max_chars,
            limits.max_file_bytes,
            limits.memory_bytes,
            [limits.reading.languages, limits.reading.seconds],
        ]
        environment = {**os.environ, "MALLOC_ARENA_MAX": "2", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        self._process = subprocess.Popen(  # noqa: S603 (our own module, by this interpreter)
            [sys.executable, "-m", "loaders.worker", json.dumps(setup)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=Path(__file__).resolve().parent.parent,
            env=environment,
            process_group=0,  # Ctrl-C in the terminal is its parent's affair; see worker.py for how it ends
        )
        try:
            self._read(time.monotonic() + START_SECONDS)
        except (EOFError, OSError) as error:
            self.close()
            raise RuntimeError("the parsing process does not start") from error

    def _ask(self, message: dict[str, Any], seconds: float) -> dict[str, Any]:
        assert self._process is not None  # noqa: S101 (for the type checker)
        assert self._process.stdin is not None  # noqa: S101
        body = json.dumps(message).encode()
        self._process.stdin.write(struct.pack(">I", len(body)) + body)
        self._process.stdin.flush()
        return self._read(time.monotonic() + seconds)

    def _read(self, deadline: float) -> dict[str, Any]:
        (length,) = struct.unpack(">I", self._read_bytes(4, deadline))
        message: dict[str, Any] = json.loads(self._read_bytes(length, deadline))
        return message

    def _read_bytes(self, count: int, deadline: float) -> bytes:
        """Exactly `count` bytes; TimeoutError, or EOFError when the process has ended."""
        assert self._process is not None  # noqa: S101
        assert self._process.stdout is not None  # noqa: S101
        descriptor = self._process.stdout.fileno()
        parts = bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_READ)
            while len(parts) < count:
                remaining = deadline - time.monotonic()
                if remaining <= 0 or not selector.select(remaining):
                    raise TimeoutError
                block = os.read(descriptor, min(1 << 20, count - len(parts)))
                if not block:
                    raise EOFError
                parts += block
        return bytes(parts)

    def _error(self, name: str, reply: dict[str, Any]) -> LoadError:
        kind = getattr(errors, reply["error"], None)
        if isinstance(kind, type) and issubclass(kind, LoadError):
            return kind(reply["message"])
        logger.error("%s: a loader failed: %s", name, reply["message"])
        return Damaged(f"it cannot be read ({reply['error']})")


def _unpack(reply: dict[str, Any]) -> LoadedSource:
    text = reply["text"]
    chunks = tuple(
        Chunk(**{**fields, "text": text[fields["start"] : fields["end"]], "heading": tuple(fields["heading"])})
        for fields in reply["chunks"]
    )
    return LoadedSource(
        text,
        reply["format"],
        reply["title"],
        chunks,
        reply["pages"],
        tuple(reply["warnings"]),
        tuple(reply["tags"]),
        reply["language"],
    )
