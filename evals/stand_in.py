"""python -m evals.stand_in: a model's server for load, in a process of its own; hundreds of streams cost it little.

It answers in OpenAI's protocol, at its own pace, with sentences that the passages it is shown support: the first words
of a passage and its marker. A follow-up that is to be condensed comes back as it is.

`POST /pace` changes the pace, `GET /counts` tells what it did. evals/model_server.py is the one for tests, which says
what it is told to.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from html import unescape
from pathlib import Path
from typing import Any

from evals.openai_wire import Messages, chunk, completion, embeddings, last_chunks, pieces

PASSAGE = re.compile(r"<passage number=(\d+)[^>]*>\n(.*?)\n</passage>", re.DOTALL)
LAST_TURN = re.compile(r"^User: (.*)\Z", re.MULTILINE)
SENTENCE_WORDS = 16  # and its marker
BACKLOG = 1024  # connections that may come at once
ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Pace:
    """tokens: words and markers of an answer. first: seconds until it begins. each: seconds between two tokens."""

    tokens: int = 20
    first: float = 0.0
    each: float = 0.0

    @property
    def seconds(self) -> float:
        """How long an answer takes."""
        return self.first + self.each * (self.tokens - 1)


class StandIn:
    """A running one, seen from the process that started it."""

    def __init__(self, pid: int, url: str) -> None:
        self.pid = pid
        self.url = f"{url}/v1"
        self.port = int(url.rpartition(":")[2])
        self._root = url

    def pace(self, pace: Pace) -> None:
        """From the next request on."""
        _http(f"{self._root}/pace", json.dumps(asdict(pace)).encode())

    def counts(self) -> dict[str, int]:
        """requests, open, most_open, finished, hung_up, tokens: since it began."""
        counts: dict[str, int] = _http(f"{self._root}/counts")
        return counts


@contextmanager
def running_stand_in(pace: Pace | None = None) -> Iterator[StandIn]:
    """Its process; ends with the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "evals.stand_in"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None  # noqa: S101 (for the type checker)
        url = process.stdout.readline().strip()
        if not url:
            raise OSError("The model's stand-in did not start.")
        stand_in = StandIn(process.pid, url)
        if pace is not None:
            stand_in.pace(pace)
        yield stand_in
    finally:
        process.kill()
        process.wait()


def reply_to(messages: Messages, tokens: int) -> str:
    """So many words, from the passages in their order as often as it takes."""
    asked = str(messages[-1]["content"])
    passages = [(number, _words(text)) for number, text in PASSAGE.findall(asked)]
    if not passages and (turn := LAST_TURN.search(asked)):
        return turn.group(1)
    said: list[str] = []
    for number, words in itertools.cycle([passage for passage in passages if passage[1]] or [("1", _words(asked))]):
        left = tokens - len(said)
        if left <= 0:
            break
        sentence = [*words[: min(SENTENCE_WORDS, left - 1)], f"[{number}]"]
        if len(sentence) > 1:
            sentence[-2] = sentence[-2].rstrip(".,;:!?") + "."
        said += sentence
    return " ".join(said)


@lru_cache(maxsize=4096)
def _words(text: str) -> tuple[str, ...]:
    """The first words of the last paragraph: of its first sentence, as far as they go, without marks of markdown."""
    paragraph = unescape(text).strip().rsplit("\n\n", 1)[-1]
    plain = re.sub(r"[*`#|>]|\[\d+\]", "", paragraph)
    return tuple(re.split(r"(?<=[.!?:])\s", plain, maxsplit=1)[0].split()[:SENTENCE_WORDS]) or ("Nothing",)


class _Counts:
    def __init__(self) -> None:
        self.requests = self.open = self.most_open = self.finished = self.hung_up = self.tokens = 0

    def begin(self) -> None:
        self.requests += 1
        self.open += 1
        self.most_open = max(self.most_open, self.open)


class _Connection(asyncio.Protocol):
    """One client after the other's request: HTTP/1.1 with Content-Length, which is what clients of OpenAI's send."""

    pace = Pace()
    counts = _Counts()

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.received = b""
        self.waiting: asyncio.TimerHandle | None = None
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 (for the type checker)
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self.waiting is not None:
            self.waiting.cancel()
            self.waiting = None
            self.counts.open -= 1
            self.counts.hung_up += 1

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, end, rest = self.received.partition(b"\r\n\r\n")
        if not end:
            return
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        needed = int(length[1]) if length else 0
        if len(rest) >= needed:
            self.received = rest[needed:]
            self._serve(head.split(b" ", 2)[1], rest[:needed])

    def _serve(self, path: bytes, body: bytes) -> None:
        match path:
            case b"/counts":
                self._json(vars(self.counts))
            case b"/pace":
                _Connection.pace = replace(Pace(), **json.loads(body))
                self._json({})
            case b"/v1/embeddings":
                self._json(embeddings(json.loads(body)))
            case _:
                self._answer(json.loads(body))

    def _answer(self, request: dict[str, Any]) -> None:
        pace = self.pace
        text = reply_to(request["messages"], pace.tokens)
        self.counts.begin()
        if not request.get("stream"):
            seconds = replace(pace, tokens=len(text.split(" "))).seconds
            self._later(self.loop.time() + seconds, lambda: self._finish_with(completion(request, text), text))
            return
        frames = [_frame(chunk(request, {"content": piece})) for piece in pieces(text)]
        first = _frame(chunk(request, {"role": "assistant", "content": ""})) + frames[0]
        last = b"".join(map(_frame, last_chunks(request, text))) + _chunked(b"data: [DONE]\n\n") + b"0\r\n\r\n"
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        self.transport.write(head)
        if not pace.each:
            self.counts.tokens += len(frames) - 1
            first, frames = first + b"".join(frames[1:]), frames[:1]
        self._send([first, *frames[1:]], last, self.loop.time() + pace.first, pace.each, 0)

    def _send(self, frames: Sequence[bytes], last: bytes, due: float, each: float, i: int) -> None:
        """Frame i when it is due, and so on; late ones do not put off those after them."""

        def now() -> None:
            self.counts.tokens += 1
            if i == len(frames) - 1:
                self.transport.write(frames[i] + last)
                self._finish()
            else:
                self.transport.write(frames[i])
                self._send(frames, last, due + each, each, i + 1)

        self._later(due, now)

    def _later(self, due: float, action: Any) -> None:
        self.waiting = self.loop.call_at(due, action)

    def _finish_with(self, data: dict[str, Any], text: str) -> None:
        self.counts.tokens += len(text.split(" "))
        self._json(data)
        self._finish()

    def _finish(self) -> None:
        self.waiting = None
        self.counts.open -= 1
        self.counts.finished += 1

    def _json(self, data: dict[str, Any]) -> None:
        body = json.dumps(data).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self.transport.write(head.encode() + body)


def _frame(data: dict[str, Any]) -> bytes:
    return _chunked(b"data: " + json.dumps(data).encode() + b"\n\n")


def _chunked(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def _http(url: str, body: bytes | None = None) -> Any:
    with urllib.request.urlopen(url, body, timeout=30) as response:  # noqa: S310 (of this machine)  # nosec B310
        return json.load(response)


async def _run(port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Connection, "127.0.0.1", port, backlog=BACKLOG)
    host, port = server.sockets[0].getsockname()[:2]
    print(f"http://{host}:{port}", flush=True)
    # It ends with the process that started it, whose end of the pipe is closed then.
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


def main(arguments: Sequence[str] | None = None) -> int:
    standard = Pace()
    parser = argparse.ArgumentParser(prog="python -m evals.stand_in", description="A model's server, for load.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--tokens", type=int, default=standard.tokens)
    parser.add_argument("--first", type=float, default=standard.first, help="seconds until an answer begins")
    parser.add_argument("--each", type=float, default=standard.each, help="seconds between two tokens")
    options = parser.parse_args(arguments)
    _Connection.pace = Pace(options.tokens, options.first, options.each)
    asyncio.run(_run(options.port))
    return 0


if __name__ == "__main__":
    sys.exit(main())
