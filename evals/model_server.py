"""A local server that speaks OpenAI's protocol (chat and embeddings) over real HTTP and says what it is told to.

For tests and benchmarks. `server.reply` is a function of the request's messages; `server.fail_with` makes it
misbehave: an HTTP status, "hang up" (the connection ends in the middle of the reply), "nonsense" (200 with a body that
is not JSON), "error" (200 with an error in the reply), "silence" (nothing comes), "drip" (a byte now and then), "empty"
(a reply without a word) or "broken stream" (it ends before its first word). `fail_times` limits it to the next
requests, `retry_after` goes with a status, and a `context` of so many tokens (of three letters) refuses longer prompts.
evals/stand_in.py is the lean one, for load.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from evals.openai_wire import DIMENSIONS, Messages, chunk, completion, embeddings, last_chunks, pieces

__all__ = ["DIMENSIONS", "Messages", "ModelServer", "running_model_server"]


class ModelServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.reply: Callable[[Messages], str] = lambda _: "Nothing."
        self.fail_with: int | str | None = None
        self.fail_times: int | None = None
        self.retry_after = "0"
        self.context: int | None = None
        self.seconds_per_token = 0.0
        self.requests: list[dict[str, Any]] = []
        self.tokens_sent = 0
        self.stopped = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is part of some tests."""


@contextmanager
def running_model_server() -> Iterator[ModelServer]:
    server = ModelServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.stopped.set()
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ModelServer

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(request)
        if self.path.endswith("/embeddings") and not self.server.fail_with:
            self._json(200, embeddings(request))
            return
        failure = self._failure()
        said = sum(len(str(message["content"])) for message in request["messages"]) // 3
        if self.server.context is not None and said > self.server.context:
            message = f"This model's maximum context length is {self.server.context} tokens."
            self._json(400, {"error": {"message": message, "code": "context_length_exceeded"}})
        elif isinstance(failure, int):
            headers = {"Retry-After": self.server.retry_after} if self.server.retry_after else {}
            self._json(failure, {"error": {"message": "as the test wants", "type": "test"}}, headers)
        elif failure == "nonsense":
            self._send(200, b"<html>not the answer</html>", "text/html")
        elif failure == "error":
            self._send(200, b'data: {"error": {"message": "overloaded", "code": 503}}\n\n', "text/event-stream")
        elif failure in ("silence", "drip", "broken stream") or (failure == "hang up" and not request.get("stream")):
            self._begin_and_stop(failure)
        elif request.get("stream"):
            self._stream(request, "" if failure == "empty" else self.server.reply(request["messages"]), failure)
        else:
            text = "" if failure == "empty" else self.server.reply(request["messages"])
            self.server.stopped.wait(self.server.seconds_per_token * len(text.split()))
            self._json(200, completion(request, text))

    def _failure(self) -> int | str | None:
        if self.server.fail_times is not None:
            if self.server.fail_times == 0:
                return None
            self.server.fail_times -= 1
        return self.server.fail_with

    def _begin_and_stop(self, failure: str) -> None:
        if failure == "silence":
            self.server.stopped.wait(60)
        elif failure == "drip":
            self._head("application/json", {"Content-Length": "1000"})
            with suppress(OSError):
                while not self.server.stopped.wait(0.05):
                    self.wfile.write(b" ")
        else:
            self._head("application/json", {"Content-Length": "1000"})
            self.wfile.write(b'{"choices": [{"mess')
        self.close_connection = True

    def _head(self, content_type: str, headers: dict[str, str]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _stream(self, request: dict[str, Any], text: str, failure: int | str | None = None) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        words = pieces(text)
        for i, word in enumerate(words):
            self._event(chunk(request, {"role": "assistant", "content": word}))
            self.server.tokens_sent += 1
            time.sleep(self.server.seconds_per_token)
            if failure == "hang up" and i == len(words) // 2:
                self.wfile.write(b'data: {"choices": [{"del')
                self.wfile.flush()
                self.connection.close()
                return
        for event in last_chunks(request, text):
            self._event(event)
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def _event(self, data: dict[str, Any]) -> None:
        self.wfile.write(f"data: {json.dumps(data)}\n\n".encode())
        self.wfile.flush()

    def _json(self, status: int, data: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        self._send(status, json.dumps(data).encode(), "application/json", headers)

    def _send(self, status: int, data: bytes, content_type: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the name is http.server's)
        """Tests look at `server.requests` instead."""
