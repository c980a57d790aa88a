"""Clients that send slowly, or nothing, or do not read: bounded in all, and everybody else goes on."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from evals.processes import memory_mb
from tasks.arrivals import ARRIVAL_SECONDS, SMALL, Arrival, bytes_to_wait_for
from tests.acceptance.server import Client, Server

HEAD = b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
HALF_A_HEAD = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "
LOGIN = b'{"username": "maria", "password": "seven-green-bicycles"}'
HALF_A_BODY = HEAD + b"Content-Length: %d\r\n\r\n" % len(LOGIN) + LOGIN[:20]
HALF_A_LARGE_BODY = HEAD + b"Content-Length: 900000\r\n\r\n" + b'{"username": "' + b"x" * SMALL
HALF_A_CHUNK = HEAD + b'Transfer-Encoding: chunked\r\n\r\n100\r\n{"username": '


@contextmanager
def connections(server: Server, *starts: bytes) -> Iterator[list[socket.socket]]:
    """One for each start, which is all that it sends."""
    opened = []
    try:
        for start in starts:
            opened.append(socket.create_connection(("127.0.0.1", server.port)))
            opened[-1].sendall(start)
        yield opened
    finally:
        for connection in opened:
            connection.close()


def raw_request(server: Server, sent: bytes) -> tuple[int, bytes]:
    """The status and the rest of the answer."""
    with connections(server, sent) as (connection,):
        connection.settimeout(30)
        answer = b""
        while data := connection.recv(65_536):
            answer += data
    return int(answer.split()[1]), answer


@pytest.mark.acceptance
def test_1500_half_open_requests_keep_nobody_out(shared_server: Server) -> None:
    assert shared_server.process is not None
    with Client(shared_server) as client:
        client.ask("How long is parental leave?")
        before = memory_mb(shared_server.process.pid)
        kinds = (b"", HALF_A_HEAD, HALF_A_BODY, HALF_A_CHUNK)
        with connections(shared_server, *(kinds[number % 4] for number in range(1500))) as opened:
            for _ in range(3):
                assert client.ask("How long is parental leave?")["outcome"] == "grounded"
            with Client(shared_server, "bob") as other:  # over connections of its own
                assert other.get("/sources").status_code == 200
            assert memory_mb(shared_server.process.pid) - before < 100
            opened[2].sendall(LOGIN[20:])
            opened[2].settimeout(30)
            assert opened[2].recv(20).startswith(b"HTTP/1.1 200"), "slow is not refused"


@pytest.mark.acceptance
def test_what_does_not_arrive_in_time_loses_its_connection(shared_server: Server) -> None:
    with connections(shared_server, b"", HALF_A_HEAD, HALF_A_BODY) as opened:
        began = time.monotonic()
        for connection in opened:
            connection.settimeout(ARRIVAL_SECONDS + 10)
            while True:  # a byte now and then does not prolong it
                with_more = time.monotonic() - began < ARRIVAL_SECONDS
                if connection is not opened[0] and with_more:
                    connection.sendall(b"x")
                connection.settimeout(1)
                try:
                    assert connection.recv(100) == b""
                except TimeoutError:
                    assert time.monotonic() - began < ARRIVAL_SECONDS + 10
                    continue
                except ConnectionResetError:
                    pass
                break


@pytest.mark.acceptance
def test_clients_that_do_not_close_hold_up_neither_others_nor_the_loop(shared_server: Server) -> None:
    leaving = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    with Client(shared_server) as client, connections(shared_server, *[leaving] * 300) as opened:
        assert client.ask("How long is parental leave?")["outcome"] == "grounded"
        for connection in opened:
            connection.settimeout(30)
            assert connection.recv(20).startswith(b"HTTP/1.1 200")


@pytest.mark.acceptance
def test_slow_large_bodies_take_a_quarter_of_the_threads_and_no_more(shared_server: Server) -> None:
    with Client(shared_server) as client, connections(shared_server, *[HALF_A_LARGE_BODY] * 150) as opened:
        assert client.ask("How long is parental leave?")["outcome"] == "grounded"
        opened[-1].settimeout(10)
        answer = opened[-1].recv(65_536)
        assert answer.startswith(b"HTTP/1.1 503")
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "overloaded"


@pytest.mark.acceptance
@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nNo colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA\x1b[31m: b\r\n\r\n", 400),
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 9000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 20_000, 431),
        (HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", 400),
        (HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (HEAD + b"Content-Length: -5\r\n\r\n", 400),
        (HEAD + b"Content-Length: " + b"9" * 30 + b"\r\nConnection: close\r\n\r\n", 413),
        (HEAD + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\nnonsense\r\n", 400),
    ],
)  # fmt: skip
def test_what_is_no_request_gets_an_error_of_the_one_shape_and_one_line_in_the_log(
    shared_server: Server, sent: bytes, status: int
) -> None:
    lines = len(loud(shared_server.log.read_bytes()))
    got, answer = raw_request(shared_server, sent)
    assert got == status, answer
    head, _, content = answer.partition(b"\r\n\r\n")
    assert b"application/json" in head
    assert set(json.loads(content)["error"]) <= {"code", "message", "fields"}
    logged = shared_server.log.read_bytes()
    assert len(loud(logged)) <= lines + 1
    assert b"\x1b" not in logged
    assert b"Traceback" not in logged


def loud(log: bytes) -> list[bytes]:
    """The lines that tell of something wrong; each request that is one has a line of its own besides."""
    return [line for line in log.splitlines() if b" INFO " not in line]


def test_a_request_is_waited_for_until_its_small_body_is_there() -> None:
    whole = HEAD + b"Content-Length: 11\r\n\r\nhello world"
    for cut in range(len(whole)):
        arrival = Arrival(whole[:cut])
        assert not arrival.is_complete, cut
        arrival.add(whole[cut:])
        assert arrival.is_complete, cut
        assert not arrival.is_large, cut
    assert bytes_to_wait_for(HEAD + b"\r\n") == len(HEAD) + 2
    for large in (
        b"Content-Length: 999999",
        b"Transfer-Encoding: chunked",
        b"Content-Length: 1\r\nExpect: 100-continue",
    ):
        arrival = Arrival(HEAD + large + b"\r\n\r\n")
        assert arrival.is_large, large
        assert arrival.is_complete, "a thread reads it"
