"""The error shape at every edge: whatever is sent, the answer is JSON of one shape and never a 500."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from rest_framework.test import APIClient

pytestmark = pytest.mark.django_db


def check_error(answer: Any, status: int, code: str | None = None) -> None:
    assert answer.status_code == status, answer.content
    assert answer["Content-Type"].startswith("application/json")
    body = answer.json()
    assert set(body) == {"error"}
    assert {"code", "message"} <= set(body["error"]) <= {"code", "message", "fields"}
    assert body["error"]["message"]
    assert ("fields" in body["error"]) <= (status == 400)
    if code:
        assert body["error"]["code"] == code


@pytest.mark.parametrize(
    "path", ["/", "/nowhere", "/chat/more", "/sources/../etc/passwd", "/%00", "/%F0%9F%99%82", "//"]
)
@pytest.mark.parametrize("method", ["get", "post"])
def test_an_unknown_path_is_a_json_404(path: str, method: str) -> None:
    check_error(getattr(APIClient(), method)(path), 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("get", "/chat", "POST"),
        ("post", "/chat-history", "GET"),
        ("put", "/signup", "POST"),
        ("delete", "/login", "POST"),
    ],
)
def test_a_wrong_method_is_a_405_that_names_the_right_ones(
    client: APIClient, method: str, path: str, allowed: str
) -> None:
    answer = getattr(client, method)(path)
    check_error(answer, 405, "method_not_allowed")
    assert allowed in answer["Allow"]


def test_other_media_types_are_a_415(client: APIClient) -> None:
    check_error(client.post("/chat", "message=a", content_type="application/x-www-form-urlencoded"), 415)
    check_error(client.post("/chat", "<a/>", content_type="text/xml"), 415)


@pytest.mark.parametrize("accept", ["text/html", "application/xml", "*/*", "", "nonsense", "application/json;q=0"])
def test_whatever_a_client_accepts_it_gets_json(accept: str) -> None:
    client = APIClient(HTTP_ACCEPT=accept)
    check_error(client.get("/chat-history"), 401, "not_authenticated")
    assert client.get("/healthz").json() == {"status": "ok"}


def test_a_trailing_slash_is_accepted(client: APIClient) -> None:
    assert client.get("/chat-history/").status_code == 200
    check_error(client.post("/login/", {"username": "ada", "password": "wrong"}), 401)


@pytest.mark.parametrize("header", ["Bearer", "Bearer a b", "Basic YTpi", "Bearer \x00", "Bearer é"])
def test_a_bad_authorization_header_is_a_401(header: str) -> None:
    check_error(APIClient(HTTP_AUTHORIZATION=header).get("/chat-history"), 401)


def test_a_foreign_host_name_is_refused_in_the_same_shape() -> None:
    check_error(APIClient(HTTP_HOST="evil.example").get("/healthz"), 400)


def test_a_database_that_is_down_is_a_503(client: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    from django.db import OperationalError

    def refuse(*_: object) -> None:
        raise OperationalError("could not connect to server at 10.0.0.1 with password hunter2")

    with connection.execute_wrapper(refuse):
        answer = client.get("/chat-history")
        check_error(answer, 503, "database_unavailable")
        assert int(answer["Retry-After"]) > 0
        assert "hunter2" not in answer.content.decode()
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["checks"]["database"]["ok"]) == (503, False)
        assert client.get("/healthz").status_code == 200


def test_the_schema_describes_every_path_and_every_error() -> None:
    client = APIClient()
    schema = client.get("/schema").json()
    assert schema["openapi"].startswith("3.")
    paths = "/signup /login /token/refresh /chat /chat-history /conversations /stats /search /sources /readyz"
    for path in paths.split():
        assert path in schema["paths"]
    verify = schema["paths"]["/messages/{message_id}/citations/{n}/verify"]["get"]
    assert {"200", "401", "404"} == set(verify["responses"])
    chat = schema["paths"]["/chat"]["post"]["responses"]
    assert {"200", "400", "401", "404", "413", "415", "503"} <= set(chat)
    assert b"openapi:" in client.get("/schema", HTTP_ACCEPT="application/vnd.oai.openapi").content
    for page in ("/docs", "/redoc"):
        html = client.get(page, HTTP_ACCEPT="text/html")
        assert html.status_code == 200
        assert b"https://" not in html.content, "the pages load nothing from elsewhere"
