"""Bodies that are none, on every endpoint that takes one: a clear error in bounded time and memory."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest
from rest_framework.parsers import FormParser
from rest_framework.test import APIClient

from backend.accounts.models import User
from backend.knowledge.models import Source
from evals.processes import memory_mb
from tests.acceptance.server import Client, Server
from tests.backend.chats import ANSWER, cite, say, talk
from tests.backend.test_edges import check_error
from tests.security.endpoints import Endpoint, endpoints

TAKE_A_BODY = [endpoint for endpoint in endpoints() if endpoint.method in ("post", "put", "patch")]
NOTHING_THERE = ("/v1", "/v1/<path:rest>")
DEEP = 100_000
LARGE = 1 << 30

BROKEN = {
    "half": b'{"message": "a',
    "two": b"{} {}",
    "a list": b'["message"]',
    "a list of objects": b"[{}]",
    "a number": b"1",
    "a text": b'"message"',
    "true": b"true",
    "null": b"null",
    "blanks": b"  \n ",
    "a form": b"message=a&password=b",
    "XML": b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
    "not UTF-8": b'{"message": "\xff\xfe"}',
    "Latin-1": '{"message": "é"}'.encode("latin-1"),
    "UTF-16": '{"message": "a"}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"message": "a"}',
    "compressed": b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xabV\x02\x00\xbf\xa6\x43\xbf",
    "NaN": b'{"message": NaN}',
    "infinity": b'{"message": -Infinity}',
    "a key twice": b'{"message": "a", "message": "b"}',
    "a key twice, deep inside": b'{"message": {"a": [{"b": 1, "b": 2}]}}',
    "NUL": b'{"message": "a\\u0000b"}',
    "a raw NUL": b'{"message": "a\x00b"}',
    "NUL in a key": b'{"mess\\u0000age": "a"}',
    "half a surrogate pair": b'{"message": "\\ud800"}',
    "nested deeply": b'{"message": ' + b"[" * DEEP + b"]" * DEEP + b"}",
    "objects nested deeply": b'{"a": ' * DEEP + b"1" + b"}" * DEEP,
    "a huge number": b'{"message": ' + b"9" * 10_000 + b"}",
    "a huge exponent": b'{"message": 1e400}',
    "unknown names": b'{"is_staff": true, "is_superuser": true, "user": 1, "id": 1}',
    "20,000 unknown names": json.dumps(dict.fromkeys(map(str, range(20_000)), 0)).encode(),
    "a name of 100,000 characters": json.dumps({"x" * 100_000: 1}).encode(),
    "names of the language": b'{"__proto__": {}, "constructor": {}, "__class__": "x"}',
}  # fmt: skip


@pytest.fixture
def values(user: User) -> dict[str, Any]:
    """For every parameter of a path one that its user may write to."""
    answer = say(talk(user), "An answer. [1]", **ANSWER)
    return {
        "conversation_id": answer.conversation_id,
        "message_id": answer.pk,
        "n": cite(answer).n,
        "source_id": Source.objects.get().pk,
        "model_id": "footnote",
        "name": "reindex",
        "rest": "nowhere",
    }


def takes_files(endpoint: Endpoint) -> bool:
    return any("multipart" in parser.media_type for parser in endpoint.view.parser_classes)


def send(client: APIClient, endpoint: Endpoint, values: dict[str, Any], content: bytes, kind: str, **more: str) -> Any:
    request: Any = client.generic  # its stub knows texts only
    return request(endpoint.method.upper(), endpoint.fill(values), content, kind, **more)


def is_an_error_of(answer: Any, endpoint: Endpoint, status: int, what: str) -> None:
    """In the shape of the endpoint's part of the API."""
    in_openais_shape = endpoint.path.startswith("/v1")
    if endpoint.path in NOTHING_THERE:
        status = 404
    assert answer.status_code == status, (what, answer.status_code, answer.content[:500])
    if in_openais_shape:
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    else:
        check_error(answer, status)
    assert len(answer.content) < 5_000, f"an error is short, whatever was sent: {what}"


@pytest.mark.django_db
@pytest.mark.parametrize("endpoint", TAKE_A_BODY, ids=str)
def test_a_broken_body_is_a_400(staff: APIClient, values: dict[str, Any], endpoint: Endpoint) -> None:
    for what, content in BROKEN.items():
        answer = send(staff, endpoint, values, content, "application/json")
        is_an_error_of(answer, endpoint, 415 if takes_files(endpoint) else 400, what)


ONCE = ("/logout", "/jobs/<str:name>/run")  # what was ended, or asked for, is not a second time


@pytest.mark.django_db
@pytest.mark.parametrize("endpoint", TAKE_A_BODY, ids=str)
def test_no_body_is_an_empty_object_and_no_other_type_is_read(
    staff: APIClient, values: dict[str, Any], endpoint: Endpoint, settings: Any, index: Any
) -> None:
    if not takes_files(endpoint) and endpoint.path not in ONCE:
        empty = send(staff, endpoint, values, b"", "application/json")
        assert empty.status_code == send(staff, endpoint, values, b"{}", "application/json").status_code
        assert empty.status_code < 500
    others = ["text/xml", "text/plain", "application/json-patch+json", "x", ""]
    if FormParser not in endpoint.view.parser_classes:  # the pages that links of mails open
        others.append("application/x-www-form-urlencoded")
    for other in others:
        is_an_error_of(send(staff, endpoint, values, b"<a/>", other), endpoint, 415, other)
    large = b'{"message": "' + b"x" * settings.DATA_UPLOAD_MAX_MEMORY_SIZE + b'"}'
    answer = send(staff, endpoint, values, large, "application/json")
    is_an_error_of(answer, endpoint, 415 if takes_files(endpoint) else 413, "large")
    chunks = {"HTTP_TRANSFER_ENCODING": "chunked", "CONTENT_LENGTH": ""}
    chunked = send(staff, endpoint, values, b"", "application/json", **chunks)
    assert (chunked.status_code, chunked.json()["error"]["code"]) == (400, "length_required")


@pytest.mark.django_db
def test_every_body_of_the_schema_is_among_them(client: APIClient) -> None:
    described = {
        f"{method.upper()} {path}"
        for path, methods in client.get("/schema").json()["paths"].items()
        for method, operation in methods.items()
        if "requestBody" in operation
    }
    names = {name: f"{{{name}}}" for endpoint in TAKE_A_BODY for name in endpoint.parameters}
    found = {f"{endpoint.method.upper()} {endpoint.fill(names)}" for endpoint in TAKE_A_BODY}
    assert described <= found
    assert len(described) > 10


@pytest.mark.acceptance
@pytest.mark.parametrize("how", ["declared", "in chunks"])
def test_a_gigabyte_is_turned_away_and_takes_no_memory(shared_server: Server, how: str) -> None:
    """Every endpoint at once: as much is sent of it as the server takes."""
    server = shared_server
    assert server.process is not None
    with Client(server) as client:
        signed = client.headers["Authorization"].encode()
        before = memory_mb(server.process.pid)
        nowhere: dict[str, Any] = {
            "source_id": NO_ID,
            "conversation_id": NO_ID,
            "message_id": NO_ID,
            "name": "x",
            "rest": "x",
        }
        for endpoint in TAKE_A_BODY:
            kind = b"multipart/form-data; boundary=x" if takes_files(endpoint) else b"application/json"
            length = b"Content-Length: %d" % LARGE if how == "declared" else b"Transfer-Encoding: chunked"
            head = b"%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: %s\r\nAuthorization: %s\r\n%s\r\n\r\n" % (
                endpoint.method.upper().encode(), endpoint.fill(nowhere).encode(), kind, signed, length
            )  # fmt: skip
            status, sent = send_endlessly(server, head, in_chunks=how == "in chunks")
            assert status in (400, 403, 404, 413), endpoint
            assert sent < 50_000_000, endpoint
        assert memory_mb(server.process.pid) - before < 100
        assert client.get("/healthz").status_code == 200


NO_ID = "01890000-0000-7000-8000-000000000000"


def send_endlessly(server: Server, head: bytes, *, in_chunks: bool) -> tuple[int, int]:
    """The status, and how many bytes the server took."""
    piece = b"x" * 65_536
    framed = b"%x\r\n%s\r\n" % (len(piece), piece) if in_chunks else piece
    sent = 0
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.settimeout(60)
        connection.sendall(head)
        connection.setblocking(False)
        answer = b""
        left = framed
        while not answer and sent < LARGE:
            try:
                taken = connection.send(left)
                sent += taken
                left = left[taken:] or framed
            except BlockingIOError:
                pass
            except (BrokenPipeError, ConnectionResetError):
                break
            try:
                answer = connection.recv(100)
            except BlockingIOError:
                continue
            except ConnectionResetError:
                break
        if not answer:
            connection.settimeout(60)
            answer = connection.recv(100)
    return int(answer.split()[1]), sent
