"""The lean stand-in for a model and the lean client, over real sockets."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from evals.load import Call, Client, Reading, keep_asking
from evals.processes import memory_mb, usage
from evals.stand_in import Pace, StandIn, reply_to, running_stand_in

QUESTION = [{"role": "user", "content": "How long is the leave?"}]
STREAM = Call("/v1/chat/completions", {"model": "m", "messages": QUESTION, "stream": True})
WHOLE = Call("/v1/chat/completions", {"model": "m", "messages": QUESTION})


@pytest.fixture(scope="module")
def stand_in() -> Iterator[StandIn]:
    with running_stand_in() as server:
        yield server


def ask(port: int, call: Call, clients: int = 1) -> list[Reading]:
    return asyncio.run(keep_asking(port, clients, lambda _, number: call if number == 0 else None))


def test_openais_own_client_reads_the_stand_in(stand_in: StandIn) -> None:
    from langchain_openai import ChatOpenAI
    from pydantic import SecretStr

    stand_in.pace(Pace(5))
    model = ChatOpenAI(model="m", base_url=stand_in.url, api_key=SecretStr("none"), stream_usage=True)

    chunks = list(model.stream("How long is the leave?"))
    whole = model.invoke("How long is the leave?")

    assert "".join(chunk.text for chunk in chunks) == whole.text == "How long is the. [1]"
    assert any(chunk.response_metadata.get("finish_reason") == "stop" for chunk in chunks)
    told = [chunk.usage_metadata for chunk in chunks if chunk.usage_metadata]
    assert [usage["output_tokens"] for usage in told] == [5]
    assert whole.usage_metadata is not None
    assert whole.usage_metadata["output_tokens"] == 5


def test_answers_quote_the_passages_in_turn() -> None:
    asked = (
        '<passage number=1 source="a.md" heading="">\n# Leave\n\nParents have **ten** weeks. More.\n</passage>\n'
        '<passage number=2 source="b.md" heading="">\nA &lt; B.\n</passage>\n\nQuestion: How long?'
    )
    assert reply_to([{"role": "user", "content": asked}], 9) == "Parents have ten weeks. [1] A < B. [2]"


def test_a_follow_up_to_be_condensed_comes_back_as_it_is() -> None:
    turns = "User: How long is the leave?\nAssistant: Ten weeks.\nUser: And who pays?"
    assert reply_to([{"role": "user", "content": turns}], 20) == "And who pays?"


def test_tokens_come_at_the_pace_that_was_set(stand_in: StandIn) -> None:
    stand_in.pace(Pace(6, first=0.2, each=0.1))

    [stream] = ask(stand_in.port, STREAM)
    [whole] = ask(stand_in.port, WHOLE)

    assert stream.ok
    assert len(stream.tokens) == 6
    assert stream.to_first_token is not None
    assert 0.2 <= stream.to_first_token < stream.seconds - 0.4
    assert whole.ok
    assert whole.seconds >= 0.7
    assert whole.said["usage"]["completion_tokens"] == 6


def test_hundreds_of_streams_at_once_cost_the_stand_in_little(stand_in: StandIn) -> None:
    stand_in.pace(Pace(5, first=2.0, each=0.1))
    before = usage(stand_in.pid).cpu

    readings = ask(stand_in.port, STREAM, clients=300)

    assert [reading.error for reading in readings if not reading.ok] == []
    assert {len(reading.tokens) for reading in readings} == {5}
    assert stand_in.counts()["most_open"] == 300
    assert usage(stand_in.pid).cpu > before
    assert usage(stand_in.pid).threads < 10


def test_a_client_that_hangs_up_is_gone_at_once(stand_in: StandIn) -> None:
    stand_in.pace(Pace(100, each=0.05))
    before = stand_in.counts()

    [reading] = ask(stand_in.port, Call(STREAM.path, STREAM.data, hang_up_after=2))

    assert reading.ok
    assert reading.hung_up
    assert reading.seconds < 4
    for _ in range(100):
        if (counts := stand_in.counts())["open"] == before["open"]:
            break
        time.sleep(0.05)
    assert counts["hung_up"] == before["hung_up"] + 1


def test_a_connection_is_taken_again(stand_in: StandIn) -> None:
    stand_in.pace(Pace(3))

    async def twice() -> tuple[Any, Any]:
        client = Client(stand_in.port)
        assert (await client.ask(STREAM)).ok
        first = client.writer
        assert (await client.ask(WHOLE)).ok
        second = client.writer
        client.close()
        return first, second

    first, second = asyncio.run(twice())
    assert first is second


@contextmanager
def saying(raw: bytes) -> Iterator[int]:
    """A server that answers everything with these bytes; its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.wfile.write(raw)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_a_refusal_is_told_from_an_error() -> None:
    refusal = b'HTTP/1.1 503 No\r\nRetry-After: 3\r\nContent-Length: 30\r\n\r\n{"error": {"code": "too_busy"}}'
    with saying(refusal.replace(b"30", b"31")) as port:
        [reading] = ask(port, Call("/chat"))
    assert (reading.ok, reading.refused, reading.retry_after) == (False, True, "3")
    with saying(b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\n{}") as port:
        [reading] = ask(port, Call("/chat"))
    assert (reading.ok, reading.refused, reading.status) == (False, False, 500)


def test_a_stream_that_ends_early_is_an_error() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\n"
    with saying(head + b'event: token\ndata: {"text": "Ten"}\n\n') as port:
        [reading] = ask(port, Call("/chat"))
    assert len(reading.tokens) == 1
    assert reading.error == "the stream ended before its end"
    with saying(head + b'event: done\ndata: {"answer": "Ten"}\n\n') as port:
        [reading] = ask(port, Call("/chat"))
    assert reading.ok
    assert reading.said == {"answer": "Ten"}


def test_no_server_and_no_sense_are_errors() -> None:
    with saying(b"nonsense\r\n\r\n") as port:
        [nonsense] = ask(port, Call("/chat"))
    [nobody] = ask(port, Call("/chat"))
    assert nonsense.error.startswith(("ValueError", "IndexError"))
    assert nobody.error.startswith("ConnectionRefusedError")


def test_a_process_is_measured_with_its_children() -> None:
    child = (
        "import os, time; block = bytearray(30_000_000); sum(range(3_000_000)); print(1, flush=True); time.sleep(60)"
    )
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        used, memory = usage(process.pid), memory_mb(process.pid)
        os.killpg(process.pid, signal.SIGKILL)
    assert used.cpu > 0
    assert used.threads == 2
    assert used.rss_mb > 30
    assert 30 < memory <= used.rss_mb
    assert usage(process.pid).threads == 0
