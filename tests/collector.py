"""A server that takes traces by OTLP over HTTP, as a collector does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass
class Told:
    """A span as it was sent. children are in the order in which they began."""

    name: str
    kind: int
    trace: str
    id: str
    parent: str
    began: int
    ended: int
    failed: bool
    attributes: dict[str, Any]
    rest: str  # what it has besides: events, links, trace state, the status' message
    children: list[Told] = field(default_factory=list)

    def find(self, name: str) -> list[Told]:
        """All of that name below, in the order in which they began."""
        found = [span for child in self.children for span in (child, *child.find_all())]
        return sorted((span for span in found if span.name == name), key=lambda span: span.began)

    def find_all(self) -> list[Told]:
        return [span for child in self.children for span in (child, *child.find_all())]


class Collector(ThreadingHTTPServer):
    """`bodies` are the requests as they came; `status` is what it answers."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Takes)
        self.bodies: list[bytes] = []
        self.resources: list[dict[str, Any]] = []
        self.status = 200

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def spans(self) -> list[Told]:
        """All that came, without their children."""
        found = []
        for body in list(self.bodies):
            request = ExportTraceServiceRequest.FromString(body)
            for resource in request.resource_spans:
                self.resources.append(_attributes(resource.resource.attributes))
                found += [_told(span) for scope in resource.scope_spans for span in scope.spans]
        return found

    def traces(self, name: str) -> list[Told]:
        """The outermost spans of that name, in the order in which they began, each with all below it."""
        everything = sorted(self.spans(), key=lambda span: span.began)
        by_id = {span.id: span for span in everything}
        for span in everything:
            if span.parent in by_id:
                by_id[span.parent].children.append(span)
        return [span for span in everything if span.name == name and span.parent not in by_id]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A server that is killed hangs up."""


@contextmanager
def running_collector() -> Iterator[Collector]:
    server = Collector()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


class _Takes(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.status == 200 and self.path == "/v1/traces":
            self.server.bodies.append(body)
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the name is http.server's)
        """Tests look at what came instead."""


def _told(span: Any) -> Told:
    return Told(
        span.name,
        span.kind,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        span.status.code == 2,
        _attributes(span.attributes),
        "".join([*map(str, span.events), *map(str, span.links), span.trace_state, span.status.message]),
    )


def _attributes(given: Any) -> dict[str, Any]:
    return {one.key: _value(one.value) for one in given}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(one) for one in value.array_value.values]
    return getattr(value, kind)
