"""Requests that have not arrived: they wait in the poller, where each takes a few kilobytes, and never in a thread.

gunicorn's gthread worker hands a connection to a thread as soon as it is there, and the thread reads until the request
is complete: as many clients as there are threads, each sending a byte now and then, would keep everybody else out. Here
a thread gets a request when its head and a small body are complete. Larger bodies are read by threads, few at once and
not for ever. And where gunicorn waits, for up to two seconds and in the loop that serves all, for a client to close a
connection that is at its end, the poller waits here.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import re
import selectors
import socket
import time
import uuid
from collections import deque
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Any

from gunicorn.http import errors as http
from gunicorn.http.unreader import SocketUnreader
from gunicorn.workers.gthread import TConn, ThreadWorker

from backend.api.errors import body

logger = logging.getLogger(__name__)

ARRIVAL_SECONDS = 10.0  # from the connection, or its next first byte, until head and small body are complete
SMALL = 65_536  # bytes of head and body that are waited for
LARGE_SECONDS = 20.0  # for a larger body, and beyond them as many as it takes at
SLOWEST = 50_000  # bytes a second
LARGE_SHARE = 4  # one thread in so many may read a large body
LARGE_WAITING = 100  # for such a thread
LINGER_SECONDS = 2.0  # until a connection that is at its end is closed from here
MOST_LINGERING = 1000

HEAD_ENDS = b"\r\n\r\n"
LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)[ \t]*\r\n", re.IGNORECASE)
NO_LENGTH = re.compile(rb"\r\n(transfer-encoding|expect):", re.IGNORECASE)

# What is no request, by what gunicorn raises; anything else of it is a 400.
STATUSES = {
    http.LimitRequestLine: HTTPStatus.REQUEST_URI_TOO_LONG,
    http.LimitRequestHeaders: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    http.ExpectationFailed: HTTPStatus.EXPECTATION_FAILED,
    http.UnsupportedTransferCoding: HTTPStatus.NOT_IMPLEMENTED,
}


def bytes_to_wait_for(received: bytes | bytearray) -> int | None:
    """Of the head with its body; None while the head is not complete, over SMALL for what is not waited for."""
    end = received.find(HEAD_ENDS)
    if end < 0:
        return None
    end += len(HEAD_ENDS)
    head = bytes(received[:end])
    if NO_LENGTH.search(head):  # in chunks, or after a sign from here
        return SMALL + 1
    length = LENGTH.search(head)
    return end + int(length[1]) if length else end


def refusal(status: HTTPStatus, code: str, message: str, headers: str = "") -> bytes:
    """A whole response in the one error shape, for what no view will see."""
    content = json.dumps(body(code, message)).encode()
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nConnection: close\r\nContent-Type: application/json\r\n{headers}"
    )
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


TOO_LONG = refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "too_large", "The head of the request is too large.")
BUSY = refusal(
    HTTPStatus.SERVICE_UNAVAILABLE, "overloaded", "Too much is being uploaded. Please try again.", "Retry-After: 5\r\n"
)


class Arrival:
    """A request on its way. `wanted` is None until its head is there."""

    def __init__(self, received: bytes) -> None:
        self.received = bytearray(received)
        self.deadline = time.monotonic() + ARRIVAL_SECONDS
        self.wanted = bytes_to_wait_for(self.received)

    def add(self, data: bytes) -> None:
        looked = max(0, len(self.received) - len(HEAD_ENDS))
        self.received += data
        if self.wanted is None and self.received.find(HEAD_ENDS, looked) >= 0:
            self.wanted = bytes_to_wait_for(self.received)

    @property
    def is_large(self) -> bool:
        return self.wanted is not None and self.wanted > SMALL

    @property
    def is_complete(self) -> bool:
        return self.wanted is not None and (self.is_large or len(self.received) >= self.wanted)

    @property
    def has_too_long_a_head(self) -> bool:
        return self.wanted is None and len(self.received) > SMALL


class Punctual(SocketUnreader):  # type: ignore[misc]
    """Reads what is left of a request in a thread; TimeoutError when it comes too slowly."""

    def begin(self, received: bytes) -> None:
        self.unread(received)
        self.began, self.read_so_far = time.monotonic(), 0

    def chunk(self, size_hint: int | None = None) -> bytes:
        if time.monotonic() - self.began > LARGE_SECONDS + self.read_so_far / SLOWEST:
            raise TimeoutError("the request came too slowly")
        data: bytes = super().chunk(size_hint)
        self.read_so_far += len(data)
        return data


class Connection(TConn):  # type: ignore[misc]
    """Of gunicorn, whose end is left to the poller."""

    def __init__(self, *args: Any, linger: Callable[[Connection], None]) -> None:
        super().__init__(*args)
        self.linger = linger
        self.arrival = Arrival(b"")

    def close(self, graceful: bool = False) -> None:
        if graceful:
            self.linger(self)
        else:
            super().close()


class ArrivingWorker(ThreadWorker):  # type: ignore[misc]
    """Connections that arrive and those that are kept open have half of the room each; where the first is used up, the
    one that has waited longest goes.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.most_arriving = self.max_keepalived = max(1, (self.worker_connections - self.cfg.threads) // 2)
        self.most_large = max(2, self.cfg.threads // LARGE_SHARE)
        self.arriving: dict[Connection, Arrival] = {}  # in the order in which their time is up
        self.large: set[Connection] = set()
        self.large_waiting: deque[Connection] = deque()
        self.lingering: dict[Connection, float] = {}  # until when

    def accept(self, listener: socket.socket) -> None:
        try:
            sock, address = listener.accept()
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.ECONNABORTED, errno.EWOULDBLOCK):
                logger.error("no connection can be taken: %s", error)
            return
        self.nr_conns += 1
        self.enqueue_req(Connection(self.cfg, sock, address, listener.getsockname(), linger=self._linger))

    def enqueue_req(self, conn: Connection) -> None:
        """Of gunicorn, for a connection that is new or has something to read: it waits until a request is there."""
        conn.sock.setblocking(False)
        conn.arrival = Arrival(conn.parser.unreader.take_buffered() if conn.parser else b"")
        if not conn.arrival.is_complete and not self._read(conn):
            return
        if conn.arrival.is_complete:
            self._hand_over(conn)
            return
        self.arriving[conn] = conn.arrival
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._on_readable, conn))
        if len(self.arriving) > self.most_arriving:
            self._drop(next(iter(self.arriving)))

    def handle(self, conn: Connection) -> Any:
        conn.data_ready = True
        if not conn.initialized:
            conn.init()
            conn.parser.unreader = Punctual(conn.sock)
        conn.parser.unreader.begin(bytes(conn.arrival.received))
        return super().handle(conn)

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Of gunicorn, which writes a page: for what is no request, and for what went wrong outside Django."""
        if isinstance(exc, http.ParseException):
            logger.warning("refused what %s sent: %s", addr and addr[0], exc)
            status = STATUSES.get(type(exc), HTTPStatus.BAD_REQUEST)
            _send(client, refusal(status, "bad_request", "This is not a request that can be understood."))
        else:
            reference = uuid.uuid4().hex[:12]
            logger.error("unexpected error %s", reference, exc_info=exc)
            message = f"Something went wrong on our side. If it happens again, report it as {reference}."
            _send(client, refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", message))

    def finish_request(self, conn: Connection, future: Any) -> None:
        if conn in self.large:
            self.large.remove(conn)
            if self.large_waiting:
                self._hand_over(self.large_waiting.popleft())
        super().finish_request(conn, future)

    def murder_pending(self) -> None:
        """Of gunicorn, called once a second: those whose time is up; told to stop, also those that sent nothing."""
        super().murder_pending()
        now = time.monotonic()
        for conn, arrival in list(self.arriving.items()):
            if arrival.deadline < now or not (self.alive or arrival.received):
                self._drop(conn)
            elif self.alive:
                break
        for conn, until in list(self.lingering.items()):
            if until > now:
                break
            self._end(conn)

    def _linger(self, conn: Connection) -> None:
        """Close it when its client has: closed while it still sends, it would lose the end of the answer."""
        try:
            conn.sock.setblocking(False)
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:
            conn.close()
            return
        self.lingering[conn] = time.monotonic() + LINGER_SECONDS
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._on_lingering, conn))
        if len(self.lingering) > MOST_LINGERING:
            self._end(next(iter(self.lingering)))

    def _on_lingering(self, conn: Connection, _: Any) -> None:
        try:
            more = conn.sock.recv(SMALL)
        except BlockingIOError:
            return
        except OSError:
            more = b""
        if not more:
            self._end(conn)

    def _end(self, conn: Connection) -> None:
        del self.lingering[conn]
        self.poller.unregister(conn.sock)
        conn.close()

    def _on_readable(self, conn: Connection, _: Any) -> None:
        if not self._read(conn, registered=True) or not conn.arrival.is_complete:
            return
        self.poller.unregister(conn.sock)
        del self.arriving[conn]
        self._hand_over(conn)

    def _read(self, conn: Connection, *, registered: bool = False) -> bool:
        """Take what is there. False: the connection is closed, and so it is here."""
        try:
            data = conn.sock.recv(SMALL)
        except BlockingIOError:
            return True
        except OSError:
            data = b""
        if data:
            conn.arrival.add(data)
            if not conn.arrival.has_too_long_a_head:
                return True
            _send(conn.sock, TOO_LONG)
        if registered:
            self._drop(conn)
        else:
            self._close(conn)
        return False

    def _hand_over(self, conn: Connection) -> None:
        if conn.arrival.is_large:
            if len(self.large_waiting) >= LARGE_WAITING:
                _send(conn.sock, BUSY)
                self._close(conn)
                return
            if len(self.large) >= self.most_large:
                self.large_waiting.append(conn)
                return
            self.large.add(conn)
        super().enqueue_req(conn)

    def _drop(self, conn: Connection) -> None:
        del self.arriving[conn]
        self.poller.unregister(conn.sock)
        self._close(conn)

    def _close(self, conn: Connection) -> None:
        self.nr_conns -= 1
        conn.close()


def _send(sock: socket.socket, response: bytes) -> None:
    """As far as it goes at once: nobody waits for a client that is turned away."""
    with contextlib.suppress(OSError):
        sock.setblocking(False)
        sock.send(response)
