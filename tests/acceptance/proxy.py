"""A TCP proxy that can be cut: a client sees of it what it sees of a server that was stopped, while others go on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from tests.acceptance.server import free_port

CHUNK = 65_536
PATIENCE = 30.0


class Proxy:
    """Forwards a port of this machine to `upstream`: (host, port), or the path of a Unix socket."""

    def __init__(self, upstream: tuple[str, int] | str) -> None:
        self.upstream = upstream
        self.port = free_port()
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.heal()

    def heal(self) -> None:
        """Listen, and forward again."""
        self._do(self._listen())

    def cut(self) -> None:
        """End all connections at once, and refuse new ones."""
        self._do(self._cut())

    def close(self) -> None:
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._forward, "127.0.0.1", self.port)

    async def _cut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._open):
            writer.transport.abort()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            if isinstance(self.upstream, str):
                there = await asyncio.open_unix_connection(self.upstream)
            else:
                there = await asyncio.open_connection(*self.upstream)
            self._open.add(there[1])
            await asyncio.gather(self._copy(reader, there[1]), self._copy(there[0], writer))
        except OSError:
            writer.transport.abort()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(CHUNK):
                writer.write(data)
                await writer.drain()
        self._open.discard(writer)
        writer.close()


@contextmanager
def running_proxy(upstream: tuple[str, int] | str) -> Iterator[Proxy]:
    proxy = Proxy(upstream)
    try:
        yield proxy
    finally:
        proxy.close()
