"""Streams over real sockets: at once, cancelled when the reader goes, and no reader holds another up."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from evals.model_server import Messages, ModelServer
from tests.acceptance.server import Client, Server, serving
from tests.folder import write

pytestmark = pytest.mark.acceptance

QUESTION = "How many weeks of parental leave do I get?"
WORDS = "Parental leave is 16 weeks, and so on, " * 200


@pytest.fixture
def served(make_server: Callable[..., Server], model_server: ModelServer, tmp_path: Path) -> Iterator[Server]:
    """A server whose model sends a word every 50 ms."""
    model_server.seconds_per_token = 0.05
    model_server.reply = lambda messages: WORDS if "<passage" in messages[-1]["content"] else QUESTION
    server = make_server(
        CHAT_MODEL="openai:slow", OPENAI_BASE_URL=model_server.url, OPENAI_API_KEY="none", MAX_CHATS="8"
    )
    write(tmp_path / "knowledge", "handbook.md", "# Leave\n\nParental leave is 16 weeks, paid in full.\n")
    with serving(server):
        yield server


def events(response: httpx.Response) -> Iterator[tuple[str, Any]]:
    name = ""
    for line in response.iter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


def stream(client: Client, message: str = QUESTION, **options: Any) -> Any:
    return client.stream("POST", "/chat", json={"message": message, "stream": True, **options})


def test_a_reader_who_goes_ends_the_model_call_and_finds_what_was_written(
    served: Server, model_server: ModelServer
) -> None:
    with Client(served) as client:
        with stream(client) as response:
            got = events(response)
            name, meta = next(got)
            assert name == "meta"
            while next(got)[0] != "token":
                pass
        kept: dict[str, Any] = {}

        def is_kept() -> bool:
            answer = client.get(f"/messages/{meta['message_id']}")
            kept.update(answer.json())
            return answer.status_code == 200

        served.wait_until(is_kept, "the partial answer is kept")
        assert kept["cut"]
        assert kept["answer"].startswith("Parental leave")
        sent = model_server.tokens_sent
        assert sent < len(WORDS.split()) / 2
        time.sleep(0.3)
        assert model_server.tokens_sent <= sent + 2, "the model writes no more"


def test_readers_who_do_not_read_hold_nobody_up(served: Server) -> None:
    with Client(served) as client, Client(served, "bob") as other:
        idle = []
        for _ in range(6):
            asked = json.dumps({"message": QUESTION, "stream": True}).encode()
            head = f"POST /chat HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {client.headers['Authorization']}\r\n"
            head += f"Content-Type: application/json\r\nContent-Length: {len(asked)}\r\n\r\n"
            connection = socket.create_connection(("127.0.0.1", served.port))
            connection.sendall(head.encode() + asked)
            idle.append(connection)
        slow = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(20)]
        for connection in slow:
            connection.sendall(b"POST /chat HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n{")
        with stream(other) as response:
            names = [name for _, (name, _) in zip(range(5), events(response), strict=False)]
        assert names == ["meta", *["token"] * 4]
        assert other.get("/healthz").status_code == 200
        for connection in idle + slow:
            connection.close()


def test_beyond_what_it_carries_the_server_says_so_at_once(served: Server) -> None:
    with Client(served) as client:
        open_streams = []
        for _ in range(8):
            context = stream(client)
            got = events(context.__enter__())
            assert next(got)[0] == "meta"
            open_streams.append((context, got))  # an iterator that is dropped closes its response
        began = time.monotonic()
        refused = client.post("/chat", json={"message": QUESTION})
        assert time.monotonic() - began < 5
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
        assert int(refused.headers["Retry-After"]) > 0
        assert client.get("/chat-history", params={"page_size": 1}).status_code == 200, "everything else goes on"
        for context, _ in open_streams:
            context.__exit__(None, None, None)

        def is_carried() -> bool:
            with stream(client) as response:
                status: int = response.status_code
                return status == 200

        served.wait_until(is_carried, "there is room again")


def test_a_reader_who_goes_while_the_model_is_silent_is_noticed(served: Server, model_server: ModelServer) -> None:
    model_server.reply = _silent
    with Client(served) as client:
        with stream(client) as response:
            assert next(events(response))[0] == "meta"
        conversation = client.get("/chat-history").json()["results"][0]
        where = {"conversation_id": conversation["id"]}
        began = time.monotonic()
        model_server.reply = lambda _: "Parental leave is 16 weeks [1]."
        assert client.ask(QUESTION, **where)["outcome"] == "grounded"
        assert time.monotonic() - began < 30, "the turn is not held by the one who went"


def _silent(messages: Messages) -> str:
    time.sleep(60)
    return ""
