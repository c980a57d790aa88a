"""A lean client that holds hundreds of streams: HTTP/1.1 on asyncio's own streams, a connection to each client.

It reads JSON and server-sent events, the product's and OpenAI's, and notes when what came. Everything that goes wrong
is noted as well: a `Reading` always comes back.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

PATIENCE = 120.0  # seconds for a connection, or from one piece of an answer to the next
FRESH = 2.0  # seconds for which a connection that waits is taken again
CHUNK = 65_536
BOUNDARY = "between-two-fields"


@dataclass(frozen=True, slots=True)
class Call:
    """A request. data: what a POST sends as JSON, file: a name and what is uploaded by it; neither: a GET.
    hang_up_after: so many tokens, then the client is gone.
    """

    path: str
    data: Any = None
    token: str = ""
    hang_up_after: int | None = None
    file: tuple[str, bytes] | None = None


@dataclass(slots=True)
class Reading:
    """What came back, by the clock of `time.perf_counter`.

    number: of the client's earlier questions. ended: when the last byte came. tokens: when each event with a piece of
    the text came. said: the last event or body. error: why it is no whole answer; empty where it is one, and where the
    client hung up on purpose.
    """

    call: Call
    began: float
    number: int = 0
    status: int = 0
    first_byte: float = 0.0
    tokens: list[float] = field(default_factory=list)
    ended: float = 0.0
    said: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    retry_after: str = ""
    hung_up: bool = False

    @property
    def ok(self) -> bool:
        return not self.error

    @property
    def refused(self) -> bool:
        """Told to come back later, in the way it should be."""
        return self.status == 503 and bool(self.retry_after)

    @property
    def seconds(self) -> float:
        return self.ended - self.began

    @property
    def to_first_token(self) -> float | None:
        return self.tokens[0] - self.began if self.tokens else None


class Client:
    """One at a time; keeps its connection where the server does."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.asked = 0
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None
        self.used = 0.0

    async def ask(self, call: Call) -> Reading:
        """Never raises what a server or a network may do."""
        reading = Reading(call, time.perf_counter(), self.asked)
        self.asked += 1
        try:
            await self._exchange(call, reading)
        except TimeoutError:
            reading.error = reading.error or f"nothing came for {PATIENCE:.0f} s"
            self.close()
        except (OSError, EOFError, ValueError, LookupError, asyncio.LimitOverrunError) as error:
            reading.error = reading.error or f"{type(error).__name__}: {error}"
            self.close()
        reading.ended = reading.ended or time.perf_counter()
        return reading

    def close(self) -> None:
        if self.writer is not None:
            self.writer.transport.abort()
        self.reader = self.writer = None

    async def _exchange(self, call: Call, reading: Reading) -> None:
        reader, writer = await self._connected()
        writer.write(_encode(call, self.port))
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
        reading.first_byte = time.perf_counter()
        reading.status = int(head.split(b" ", 2)[1])
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in head.decode("latin-1").split("\r\n")[1:])
        }
        reading.retry_after = headers.get("retry-after", "")
        streamed = headers.get("content-type", "").startswith("text/event-stream")
        events = _Events(reading) if streamed else None
        body = b""
        async for piece in _body(reader, headers):
            if events is None:
                body += piece
                continue
            events.take(piece)
            if call.hang_up_after is not None and len(reading.tokens) >= call.hang_up_after:
                reading.hung_up = True
                break
        reading.ended = time.perf_counter()
        if events is not None and not events.done and not reading.hung_up:
            reading.error = reading.error or "the stream ended before its end"
        if events is None:
            reading.said = json.loads(body) if body else {}
            if reading.status >= 400:
                reading.error = f"{reading.status} {reading.said.get('error', '')}"
        if reading.hung_up or headers.get("connection", "").lower() == "close" or not _tells_its_end(headers):
            self.close()
        self.used = time.perf_counter()

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self.reader and self.writer and not self.reader.at_eof() and time.perf_counter() - self.used < FRESH:
            return self.reader, self.writer
        self.close()
        connecting = asyncio.open_connection("127.0.0.1", self.port, limit=CHUNK * 16)
        reader, writer = await asyncio.wait_for(connecting, PATIENCE)
        self.reader, self.writer = reader, writer
        return reader, writer


class _Events:
    """Notes in its reading what server-sent events tell."""

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.rest = b""
        self.done = False

    def take(self, piece: bytes) -> None:
        *events, self.rest = (self.rest + piece).split(b"\n\n")
        for event in events:
            name, _, data = event.rpartition(b"data: ")
            if name.startswith(b"event: "):
                self._note(name[7:].strip(), data)
            elif data == b"[DONE]":
                self.done = True
            elif b'"content"' in data and b'"role"' not in data:
                self.reading.tokens.append(time.perf_counter())

    def _note(self, name: bytes, data: bytes) -> None:
        match name:
            case b"token":
                self.reading.tokens.append(time.perf_counter())
            case b"meta" | b"done":
                self.reading.said = json.loads(data)
                self.done = name == b"done"
            case b"error":
                self.reading.error = f"in the stream: {data.decode()}"


async def keep_asking(
    port: int,
    clients: int,
    calls: Callable[[int, int], Call | None],
    *,
    spread: float = 0.0,
) -> list[Reading]:
    """As many clients at once, each with its next question as soon as it has an answer, begun evenly over `spread`
    seconds. calls: that of client i in round r; None ends the client.
    """

    async def one(i: int) -> list[Reading]:
        await asyncio.sleep(spread * i / clients)
        client = Client(port)
        try:
            return [await client.ask(call) for call in _rounds(calls, i)]
        finally:
            client.close()

    return [reading for readings in await asyncio.gather(*map(one, range(clients))) for reading in readings]


def _rounds(calls: Callable[[int, int], Call | None], i: int) -> Iterator[Call]:
    number = 0
    while (call := calls(i, number)) is not None:
        yield call
        number += 1


def streamed(call: Call) -> Call:
    """The same question, to be answered as a stream."""
    return replace(call, data={**call.data, "stream": True})


def quantile(values: Sequence[float], q: float) -> float:
    """NaN where there are none."""
    return float(np.quantile(values, q)) if len(values) else float("nan")


def _encode(call: Call, port: int) -> bytes:
    body, kind = b"" if call.data is None else json.dumps(call.data).encode(), "application/json"
    if call.file is not None:
        body, kind = _form(*call.file), f"multipart/form-data; boundary={BOUNDARY}"
    lines = [
        f"{'POST' if body else 'GET'} {call.path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        *([f"Authorization: Bearer {call.token}"] if call.token else []),
        *([f"Content-Type: {kind}", f"Content-Length: {len(body)}"] if body else []),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _form(name: str, content: bytes) -> bytes:
    """One file as the field `files`."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
    return head.encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()


def _tells_its_end(headers: dict[str, str]) -> bool:
    return "content-length" in headers or headers.get("transfer-encoding", "").lower() == "chunked"


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> Any:
    """The body's pieces as they come, by whichever way its end is told."""
    if headers.get("transfer-encoding", "").lower() == "chunked":
        while True:
            size = int(await asyncio.wait_for(reader.readuntil(b"\r\n"), PATIENCE), 16)
            piece = await asyncio.wait_for(reader.readexactly(size + 2), PATIENCE)
            if size == 0:
                return
            yield piece[:-2]
    elif "content-length" in headers:
        if length := int(headers["content-length"]):
            yield await asyncio.wait_for(reader.readexactly(length), PATIENCE)
    else:
        while piece := await asyncio.wait_for(reader.read(CHUNK), PATIENCE):
            yield piece
