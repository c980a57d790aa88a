"""Wrong methods, absurd headers, forged log lines and errors that nobody expected, on every endpoint."""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from django.conf import settings as django_settings
from django.db import OperationalError, connection
from django.test import Client as PageClient
from rest_framework.test import APIClient

from backend.accounts.models import User
from tests.acceptance.server import Client, Server
from tests.backend.test_edges import check_error
from tests.security.endpoints import METHODS, Endpoint, endpoints
from tests.security.test_bodies import NO_ID, NOTHING_THERE

VALUES: dict[str, Any] = {
    "conversation_id": NO_ID,
    "message_id": NO_ID,
    "source_id": NO_ID,
    "key_id": NO_ID,
    "n": 1,
    "model_id": "x",
    "name": "x",
    "rest": "x",
}
SECRET = "hunter2 at /srv/secret/place"
PAGES = ("/admin/", "/admin/accounts/user/")

NOT_JSON = ("/verify-email", "/password/reset/confirm", "/metrics")  # pages for people; Prometheus' text
PAGES_OF_THE_API = ("/docs", "/redoc")
OF_THE_API = [endpoint for endpoint in endpoints() if endpoint.path not in PAGES_OF_THE_API]
by_path = {endpoint.path: endpoint for endpoint in OF_THE_API if endpoint.path not in NOTHING_THERE}


@pytest.mark.django_db
@pytest.mark.parametrize("endpoint", by_path.values(), ids=lambda endpoint: endpoint.path)
def test_a_wrong_method_is_a_405_that_names_the_right_ones(client: APIClient, endpoint: Endpoint) -> None:
    User.objects.update(is_staff=True)  # some paths tell others nothing
    right = {one.method for one in OF_THE_API if one.path == endpoint.path}
    for method in (*METHODS, "trace", "connect", "foo", "x" * 1000):
        if method in right:
            continue
        answer = client.generic(method.upper(), endpoint.fill(VALUES))
        assert answer.status_code == 405, (method, answer.content)
        assert answer.json()["error"]["message"]
        named = {name.strip().lower() for name in answer["Allow"].split(",")}
        assert named - {"head", "options"} == right
        assert len(answer.content) < 2_000


@pytest.mark.django_db
@pytest.mark.parametrize("endpoint", [one for one in OF_THE_API if one.method == "get"], ids=str)
@pytest.mark.parametrize(
    "header",
    [
        {"HTTP_ACCEPT": "image/png"},
        {"HTTP_ACCEPT": "application/json;q=nonsense, ;;;, */*;version=\x00"},
        {"HTTP_ACCEPT": ",".join(f"a/{number}" for number in range(1500))},
        {"HTTP_ACCEPT_LANGUAGE": "x" * 5000},
        {"HTTP_RANGE": "bytes=999999999-1"},
        {"HTTP_IF_MODIFIED_SINCE": "yesterday"},
        {"HTTP_X_HTTP_METHOD_OVERRIDE": "DELETE"},
        {"HTTP_COOKIE": "sessionid=\x00\xff; csrftoken=" + "x" * 5000},
        {"HTTP_X_FORWARDED_HOST": "evil.example", "HTTP_X_FORWARDED_PROTO": "gopher"},
    ],
    ids=lambda header: next(iter(header)),
)  # fmt: skip
def test_absurd_headers_change_nothing(
    client: APIClient, index: Any, endpoint: Endpoint, header: dict[str, Any]
) -> None:
    answer = client.get(endpoint.fill(VALUES), **header)
    assert answer.status_code < 500 or endpoint.path == "/readyz"
    if endpoint.path == "/metrics" and "HTTP_X_FORWARDED_HOST" in header:
        check_error(answer, 403, "permission_denied")  # what a proxy sends on is not from this machine
    else:
        assert answer.status_code == client.get(endpoint.fill(VALUES)).status_code
    if endpoint.path not in NOT_JSON:
        assert answer["Content-Type"].startswith(("application/json", "application/vnd.oai.openapi+json"))
    assert b"evil.example" not in answer.content


@pytest.mark.django_db
@pytest.mark.parametrize("value", ["99999999999999999999", "-1", "0" * 300 + "1", "1e3", "%00", "'", "1%20OR%201=1"])
def test_numbers_in_paths_and_queries_that_no_database_takes(client: APIClient, index: Any, value: str) -> None:
    verify = client.get(f"/messages/{NO_ID}/citations/{value}/verify")
    check_error(verify, 404, "not_found")
    for path in ("/sources?page={}", "/sources?page_size={}", "/conversations?page_size={}", "/conversations?cursor={}",
                 "/stats?days={}", "/search?q=a&k={}", "/search?q=a&after={}", "/chat-history?conversation_id={}",
                 f"/conversations/{NO_ID}/messages?cursor={{}}"):  # fmt: skip
        answer = client.get(path.format(value))
        assert answer.status_code in (200, 400, 404), path
        if answer.status_code != 200:
            check_error(answer, answer.status_code)


@pytest.mark.acceptance
@pytest.mark.parametrize("charset", ["hex", "undefined", "unicode_escape", "utf-7", "idna", "nope", "utf-8"])
def test_no_charset_that_a_client_names_is_used(shared_server: Server, charset: str) -> None:
    queries = ("/verify-email?token=%5Cud800%C3%A9", "/healthz?x=%5Cud800", "/chat-history?cursor=%5Cud800")
    kinds = (f"application/json; charset={charset}", f"application/json; a*={charset}'en'%5Cud800")
    with Client(shared_server) as client:
        for kind in kinds:
            for path in queries:
                plain = client.get(path)
                answer = client.get(path, headers={"Content-Type": kind, "Accept": f"*/*; a*={charset}''%41"})
                assert (answer.status_code, answer.content) == (plain.status_code, plain.content), (kind, path)
                assert plain.status_code < 500
            body = '{"message": "How long is parental leave, Zoë?"}'.encode()
            for path in ("/chat", "/search?q=leave"):
                method = "POST" if path == "/chat" else "GET"
                answer = client.request(method, path, content=body, headers={"Content-Type": kind})
                assert answer.status_code == 200, answer.text
            form = client.post(
                "/verify-email",
                content=b"token=%5Cud800",
                headers={"Content-Type": kind.replace("application/json", "application/x-www-form-urlencoded")},
            )
            assert form.status_code == 400, form.text


FORGED = "\n\r\x0b\x0c\x1c\x85\u2028\u2029FORGED 2026-01-01 ERROR all is lost \x1b[31m\x9b2J\x08\x07\t\x7f"


@pytest.mark.acceptance
def test_whatever_is_logged_is_on_one_escaped_line(shared_server: Server) -> None:
    """Every field of every body, every parameter and some headers hold line breaks and escape codes."""
    make_staff = "from backend.accounts.models import User; User.objects.update(is_staff=True)"
    with Client(shared_server) as client:
        assert shared_server.manage("shell", "-c", make_staff).returncode == 0
        schema = client.get("/schema").json()
        header = quote(FORGED).encode() + FORGED.encode("latin-1", "replace").translate(None, b"\n\r\x0b\x0c\x00")
        headers = {b"User-Agent": header, b"Referer": header, b"X-Forwarded-For": header, b"X-Request-Id": header}
        sent = 0
        for path, operations in schema["paths"].items():
            for method, operation in operations.items():
                if method not in METHODS:
                    continue
                url = path.format(**{name: VALUES.get(name, "x") for name in VALUES})
                parameters = {one["name"]: FORGED for one in operation.get("parameters", []) if one["in"] == "query"}
                body = forged_body(schema, operation)
                for tail in ("", quote(FORGED)):
                    try:
                        answer = client.request(method, url + tail, params=parameters, json=body, headers=headers)
                    except httpx.RemoteProtocolError:
                        continue  # refused before Django, with a line of its own
                    assert answer.status_code < 500 or path == "/readyz", (method, url + tail, answer.text)
                    sent += 1
        upload = client.post("/sources", files={"files": (f"a{FORGED}.md", b"x"), "folder": (None, FORGED)})
        assert upload.status_code == 400
    assert sent > 50
    logged = shared_server.log.read_bytes()
    assert not [line for line in logged.decode("utf-8", "replace").splitlines() if line.startswith("FORGED")]
    assert b"\x1b" not in logged
    assert "\x9b".encode() not in logged
    assert b"Traceback" not in logged


def forged_body(schema: dict[str, Any], operation: dict[str, Any]) -> dict[str, Any] | None:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if content is None:
        return None
    named = schema["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]
    return {name: FORGED if one.get("type") == "string" else [FORGED] for name, one in named["properties"].items()}


@pytest.mark.django_db
@pytest.mark.parametrize(
    "path", [*(f"{one.method} {one.fill(VALUES)}" for one in OF_THE_API if one.method in ("get", "delete")), *PAGES]
)
@pytest.mark.parametrize("error", [RuntimeError, OperationalError])
def test_an_error_that_nobody_expected_tells_its_id_and_nothing_else(
    user: User, client: APIClient, index: Any, path: str, error: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[str] = []

    def break_down(execute: Any, sql: str, *_: Any) -> None:
        asked.append(sql)
        raise error(SECRET)

    page = PageClient(raise_request_exception=False)
    page.force_login(user)
    client.raise_request_exception = False
    with caplog.at_level(logging.ERROR), connection.execute_wrapper(break_down):
        if path in PAGES:
            answer: Any = page.get(path)
        else:
            method, _, url = path.partition(" ")
            answer = getattr(client, method)(url, {"q": "a"} if method == "get" else None)
    if not asked:  # it needs no database
        assert answer.status_code < 500, answer.content
        return
    if answer.status_code == 200:  # /stats and the like may be kept for a while; /healthz and /readyz tell of it
        return
    text = answer.content.decode()
    if "/readyz" in path:
        assert answer.status_code == (503 if error is OperationalError else 500)
    elif error is OperationalError:
        check_error_of(answer, 503)
    else:
        check_error_of(answer, 500)
        reference = answer.json()["error"]["message"].rstrip(".").rpartition(" ")[2]
        assert f"unexpected error {reference}" in caplog.text
    for secret in (
        "hunter2",
        "/srv/",
        "Traceback",
        "RuntimeError",
        django_settings.SECRET_KEY,
        "site-packages",
        "SELECT",
    ):
        assert secret not in text


def check_error_of(answer: Any, status: int) -> None:
    assert answer.status_code == status, answer.content
    assert answer["Content-Type"].startswith("application/")
    assert answer.json()["error"]["message"]
