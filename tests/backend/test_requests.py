"""Log lines and measurements of requests: what they carry, and what they never do."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.urls import path
from pytest_django.fixtures import Settings
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.test import APIClient
from rest_framework.views import APIView

from backend.accounts.models import User
from backend.api import requests
from backend.api.logs import JSONLine, OneLine
from backend.api.metrics import registry
from backend.environment import BASE_DIR
from backend.urls import urlpatterns as product
from tests.backend.conftest import PASSWORD, Sync
from tests.folder import write

pytestmark = pytest.mark.django_db

PROXY = "10.0.0.9"
QUESTION = "How long is the Zanzibar leave?"


class Broken(APIView):
    def get(self, request: Request) -> Response:
        raise ZeroDivisionError


urlpatterns = [*product, path("broken", Broken.as_view())]


@pytest.fixture
def lines() -> Iterator[StringIO]:
    """What the product's loggers write as JSON."""
    stream = StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JSONLine())
    backend = logging.getLogger("backend")
    before = backend.level
    backend.addHandler(handler)
    backend.setLevel(logging.DEBUG)
    yield stream
    backend.setLevel(before)
    backend.removeHandler(handler)


def read(stream: StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def accesses(stream: StringIO) -> list[dict[str, Any]]:
    return [line for line in read(stream) if "route" in line]


def value(metric: str, /, **labels: str) -> float:
    return registry.get_sample_value(metric, labels) or 0.0


@pytest.fixture
def office(folder: Path, sync: Sync) -> None:
    write(folder, "leave.md", "# Leave\n\nThe Zanzibar leave is 16 weeks long.\n")
    sync()


@pytest.mark.usefixtures("office")
@pytest.mark.parametrize("stream", [False, True])
def test_a_chat_is_one_line_with_its_ids_and_without_its_words(
    client: APIClient, user: User, lines: StringIO, stream: bool
) -> None:
    answered = value("footnote_chat_answers_total", outcome="grounded")
    counted = value("footnote_http_request_seconds_count", method="POST", route="chat", status="200")
    first = value("footnote_chat_first_token_seconds_count")
    answer = client.post("/chat", {"message": QUESTION, "stream": stream})
    body = b"".join(answer) if stream else answer.content
    conversation = (
        json.loads(body.split(b"data: ")[1].split(b"\n")[0])["conversation_id"]
        if stream
        else json.loads(body)["conversation_id"]
    )
    [line] = [line for line in accesses(lines) if line["route"] == "chat"]
    assert (line["method"], line["status"], line["user_id"], line["conversation_id"]) == (
        "POST",
        200,
        user.pk,
        conversation,
    )
    assert line["request_id"] == answer["X-Request-ID"]
    assert line["ms"] > 0
    for word in ("Zanzibar", "weeks", "ada", PASSWORD):
        assert word not in lines.getvalue()
    assert value("footnote_chat_answers_total", outcome="grounded") == answered + 1
    assert value("footnote_http_request_seconds_count", method="POST", route="chat", status="200") == counted + 1
    assert value("footnote_chat_first_token_seconds_count") == first + stream
    assert value("footnote_chat_stage_seconds_count", stage="retrieve") > 0
    assert value("footnote_chat_seats_taken") == 0


def test_the_route_is_named_and_not_the_path(client: APIClient, lines: StringIO) -> None:
    unknown = "01a2002b-208c-706a-af0a-5e2d2f958ed0"
    client.get(f"/conversations/{unknown}")
    client.get("/no/Zanzibar/here")
    client.generic("BREW", "/chat")
    found, nowhere, odd = accesses(lines)
    assert found["route"].startswith("conversations/<")
    assert found["conversation_id"] == unknown
    assert (nowhere["route"], nowhere["status"]) == ("none", 404)
    assert "Zanzibar" not in lines.getvalue()
    assert odd["method"] == "other"


@pytest.mark.parametrize("given", ["0123456789abcdef", "a.b:c_d-12345"])
def test_an_id_is_taken_from_a_proxy_of_ours_alone(settings: Settings, given: str) -> None:
    there: dict[str, Any] = {"HTTP_X_REQUEST_ID": given, "REMOTE_ADDR": PROXY, "HTTP_X_FORWARDED_FOR": "192.0.2.1"}
    ours = APIClient(**there).get("/healthz")["X-Request-ID"]
    assert ours != given
    settings.ENV = settings.ENV.model_copy(update={"trusted_proxies": [PROXY]})
    assert APIClient(**there).get("/healthz")["X-Request-ID"] == given
    assert APIClient(HTTP_X_REQUEST_ID=given, REMOTE_ADDR="192.0.2.1").get("/healthz")["X-Request-ID"] != given


@pytest.mark.parametrize("given", ["", "short", "x" * 129, "with blank 123", "line\nbreak 1234", "é" * 12])
def test_an_id_that_is_none_is_made_anew(settings: Settings, given: str) -> None:
    settings.ENV = settings.ENV.model_copy(update={"trusted_proxies": [PROXY]})
    answer = APIClient(REMOTE_ADDR=PROXY, HTTP_X_REQUEST_ID=given).get("/healthz")
    assert answer["X-Request-ID"] != given
    assert len(answer["X-Request-ID"]) == 32


@pytest.mark.urls(__name__)
def test_the_reference_of_an_error_is_in_its_line(client: APIClient, lines: StringIO) -> None:
    client.raise_request_exception = False
    before = value("footnote_unexpected_errors_total")
    answer = client.get("/broken")
    assert answer.status_code == 500
    error, access = read(lines)
    assert error["reference"] in answer.json()["error"]["message"]
    assert "ZeroDivisionError" in error["traceback"]
    assert error["request_id"] == access["request_id"] == answer["X-Request-ID"]
    assert access["status"] == 500
    assert value("footnote_unexpected_errors_total") == before + 1


def test_a_line_asks_the_database_nothing(client: APIClient) -> None:
    def refuse(*_: object) -> None:
        raise OperationalError("gone")

    before = value("footnote_database_errors_total")
    with connection.execute_wrapper(refuse):
        assert APIClient().get("/healthz").status_code == 200
        assert client.get("/me").status_code == 503
    assert value("footnote_database_errors_total") == before + 1


def test_only_named_facts_of_a_record_are_written() -> None:
    record = logging.makeLogRecord({"msg": "a\nb %s", "args": ("\x1b[31m",), "question": QUESTION, "status": 200})
    written = JSONLine().format(record)
    assert "\n" not in written
    assert json.loads(written)["message"] == "a\nb \x1b[31m"
    assert json.loads(written)["status"] == 200
    assert QUESTION not in written
    assert "\n" not in OneLine("%(message)s").format(record)


def test_outside_of_a_request_there_are_no_ids() -> None:
    APIClient().get("/healthz")
    assert requests.told() is None
    assert set(json.loads(JSONLine().format(logging.makeLogRecord({"msg": "a"})))) == {
        "at",
        "level",
        "logger",
        "message",
    }


def test_who_is_refused_is_counted(settings: Settings) -> None:
    settings.ENV = settings.ENV.model_copy(update={"throttle_login": "1/minute"})
    before = value("footnote_throttled_total", name="login")
    statuses = [APIClient().post("/login", {"username": "a", "password": "b"}).status_code for _ in range(3)]
    assert statuses[1:] == [429, 429]
    assert value("footnote_throttled_total", name="login") == before + 2


def test_a_model_that_fails_is_counted(
    client: APIClient, office: None, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = value("footnote_chat_failed_total", code="model_unavailable")
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    settings.ENV = settings.ENV.model_copy(
        update={"chat_model": "openai:test", "chat_model_timeout": 2.0, "answer_timeout": 4.0}
    )
    assert client.post("/chat", {"message": QUESTION}).status_code == 503
    assert value("footnote_chat_failed_total", code="model_unavailable") == before + 1


@pytest.mark.usefixtures("office")
def test_the_catalogue_is_told() -> None:
    def of_registry(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, labels)

    assert of_registry("footnote_sources", state="indexed") == 1
    assert of_registry("footnote_sources", state="failed") == 0
    assert of_registry("footnote_chunks") == 1
    assert (of_registry("footnote_sync_last_success_timestamp_seconds") or 0) > 0
    assert of_registry("footnote_sync_last_seconds") is not None
    assert of_registry("footnote_index_drift", kind="vectors_missing") is None, "never compared"


def test_the_example_dashboard_asks_for_what_is_there() -> None:
    """Every metric that a panel names is one that /metrics has."""
    dashboard = json.loads((BASE_DIR / "deploy" / "grafana" / "footnote.json").read_text())
    asked = " ".join(target["expr"] for panel in dashboard["panels"] for target in panel["targets"])
    wanted = set(re.findall(r"footnote_\w+", asked))
    there = set()
    for family in registry.collect():
        there |= {family.name, f"{family.name}_total"} if family.type == "counter" else {family.name}
        there |= {f"{family.name}_bucket", f"{family.name}_count"} if family.type == "histogram" else set()
    assert len(wanted) > 15
    assert wanted <= there, wanted - there
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
