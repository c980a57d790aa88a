"""The parsing process: reads requests from stdin, writes replies to stdout, ends when its parent does."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import struct
import sys
import traceback
from pathlib import Path
from typing import Any, BinaryIO

from loaders.chunking import Tokens
from loaders.errors import LoadError, ParserDied
from loaders.model import LoadedSource
from loaders.ocr import Reading
from loaders.registry import Limits, read_source
from loaders.sidecar import Metadata

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    tokenizer_file, max_pages, max_chars, max_file_bytes, memory_bytes, reading = json.loads(sys.argv[1])
    limits = Limits(0, max_pages, max_chars, max_file_bytes, memory_bytes, Reading(*reading))
    replies = _own_stdout()
    _be_a_good_child(memory_bytes)
    tokens = Tokens(Path(tokenizer_file))
    _write(replies, {"ready": True})
    while (request := _read(sys.stdin.buffer)) is not None:
        _write(replies, _answer(request, limits, tokens))


def _answer(request: dict[str, Any], limits: Limits, tokens: Tokens) -> dict[str, Any]:
    try:
        title, tags, language = request["beside"]
        beside = Metadata(title, tuple(tags), language)
        return _pack(read_source(Path(request["path"]), request["name"], limits, tokens, beside))
    except LoadError as error:
        return {"error": type(error).__name__, "message": str(error)}
    except MemoryError:
        return {"error": ParserDied.__name__, "message": "reading it asks for too much memory"}
    except OSError as error:
        return {"error": LoadError.__name__, "message": f"it cannot be read: {error.strerror or error}"}
    except Exception as error:  # noqa: BLE001 (the boundary: whatever a file does to a loader is that file's error)
        return {"error": type(error).__name__, "message": traceback.format_exc(limit=-5)}


def _pack(loaded: LoadedSource) -> dict[str, Any]:
    """As JSON; the text of a chunk is a piece of the whole text and is not sent twice."""
    names = ("start", "end", "embed_text", "page", "heading", "kind", "answer_start")
    return {
        "text": loaded.text,
        "format": loaded.format,
        "title": loaded.title,
        "pages": loaded.pages,
        "warnings": loaded.warnings,
        "tags": loaded.tags,
        "language": loaded.language,
        "chunks": [{name: getattr(chunk, name) for name in names} for chunk in loaded.chunks],
    }


def _own_stdout() -> BinaryIO:
    """The reply channel under a descriptor of its own; whatever prints goes to stderr."""
    channel = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return channel


def _be_a_good_child(memory_bytes: int) -> None:
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(ValueError, OSError):  # a system that knows no such limit goes without
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    os.nice(5)


def _read(channel: BinaryIO) -> dict[str, Any] | None:
    size = channel.read(4)
    if len(size) < 4:
        return None
    request: dict[str, Any] = json.loads(channel.read(struct.unpack(">I", size)[0]))
    return request


def _write(channel: BinaryIO, message: dict[str, Any]) -> None:
    body = json.dumps(message, ensure_ascii=False).encode("utf-8", "surrogatepass")
    channel.write(struct.pack(">I", len(body)) + body)
    channel.flush()


if __name__ == "__main__":
    main()
