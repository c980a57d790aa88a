"""Spans within this process, sent to a collector of the test's own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import grpc
import pytest
from django.db import IntegrityError, connection
from django.urls import path
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from pytest_django.fixtures import Settings
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.test import APIClient
from rest_framework.views import APIView

from backend.accounts.models import User
from backend.api import tracing
from backend.urls import urlpatterns as product
from tests.collector import Collector, Told, running_collector
from vectorstore import spans
from vectorstore.spans.recorder import MANY

pytestmark = pytest.mark.django_db

SECRET = "Zanzibar"
Sent = Callable[[], dict[str, Told]]


class Broken(APIView):
    authentication_classes = ()
    permission_classes = ()

    def post(self, request: Request, word: str) -> Response:
        raise ValueError(f"cannot read {request.data}")


urlpatterns = [*product, path("broken/<str:word>", Broken.as_view())]


@pytest.fixture
def collector() -> Iterator[Collector]:
    with running_collector() as server:
        yield server


@pytest.fixture
def sent(collector: Collector, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sent]:
    """Ends the recording and gives what came: the spans by name, each with its children."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    settings.ENV = settings.ENV.model_copy(update={"otel_exporter_otlp_endpoint": collector.url})
    tracing.start()

    def end() -> dict[str, Told]:
        tracing.stop(30)
        found = {span.name: span for span in collector.spans()}
        for span in found.values():
            assert not span.rest
            assert SECRET not in str(span)
        return {name: tree for name in found for tree in collector.traces(name)}

    yield end
    tracing.stop(30)


def test_queries_are_told_without_their_values(sent: Sent, user: User) -> None:
    with spans.span("outer"):
        assert not User.objects.filter(username__in=[SECRET, f"{SECRET}!"], email__contains=SECRET).exists()
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT 1 WHERE '{SECRET}''s' = '' ")
        with suppress(IntegrityError):
            User.objects.create_user(user.username, email=f"{SECRET}@example.org")
    outer = sent()["outer"]
    told = [(span.name, span.attributes["db.query.text"]) for span in outer.children]
    assert [name for name, _ in told] == ["SELECT accounts_user", "SELECT", "INSERT accounts_user"]
    assert "IN (%s, ...)" in told[0][1]
    assert told[1][1] == "SELECT 1 WHERE ? = ?"
    assert [span.failed for span in outer.children] == [False, False, True]
    assert outer.children[2].attributes["error.type"] == "django.db.utils.IntegrityError"
    assert {span.attributes["db.system.name"] for span in outer.children} == {connection.vendor}
    assert not outer.failed


def test_only_the_first_of_very_many_queries_are_spans_and_none_outside_of_a_trace(sent: Sent) -> None:
    def ask() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")

    ask()
    with spans.span("outer"):
        for _ in range(MANY + 3):
            ask()
    outer = sent()["outer"]
    assert len(outer.children) == MANY
    assert outer.attributes["footnote.spans_left_out"] == 3


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        (
            'SELECT \'it\'\'s\', "a"."b" FROM "a" WHERE c IN (%s, %s,%s)',
            ('SELECT ?, "a"."b" FROM "a" WHERE c IN (%s, ...)', "SELECT a"),
        ),
        ('UPDATE "a" SET "b" = %s WHERE "c" IN (SELECT "d" FROM "e")', (None, "UPDATE a")),
        ('DELETE FROM "a" WHERE "b" = \'cut o', ('DELETE FROM "a" WHERE "b" = ?', "DELETE a")),
        ("SAVEPOINT x", (None, "SAVEPOINT")),
        ("", ("", "")),
    ],
)
def test_statements(sql: str, told: tuple[str | None, str]) -> None:
    assert tracing.describe(sql) == (sql if told[0] is None else told[0], told[1])


@pytest.mark.parametrize(("name", "value"), [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_SAMPLER", "always_off")])
def test_what_the_sdk_is_told_to_leave_out_is_left_out(
    collector: Collector, settings: Settings, monkeypatch: pytest.MonkeyPatch, client: APIClient, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    settings.ENV = settings.ENV.model_copy(update={"otel_exporter_otlp_endpoint": collector.url})
    tracing.start()
    try:
        assert client.get("/me", HTTP_TRACEPARENT="").status_code == 200
        with spans.span("outer"), spans.span("query", many=True):
            assert list(spans.steps("steps", (number for number in range(3)))) == [0, 1, 2]
    finally:
        tracing.stop(30)
    assert not collector.bodies


def test_by_grpc_too(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []

    class Takes(TraceServiceServicer):
        def Export(self, request: ExportTraceServiceRequest, context: Any) -> ExportTraceServiceResponse:  # noqa: N802
            for resource in request.resource_spans:
                taken.extend(span.name for scope in resource.scope_spans for span in scope.spans)
            return ExportTraceServiceResponse()

    server = grpc.server(ThreadPoolExecutor(1))
    add_TraceServiceServicer_to_server(Takes(), server)  # type: ignore[no-untyped-call]
    endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
    given = {"otel_exporter_otlp_endpoint": endpoint, "otel_exporter_otlp_protocol": "grpc"}
    settings.ENV = settings.ENV.model_copy(update=given)
    tracing.start()
    with spans.span("outer"):
        pass
    tracing.stop(30)
    server.stop(None)
    assert taken == ["outer"]


@pytest.mark.urls(__name__)
def test_an_unexpected_error_is_told_by_its_kind_and_its_reference(sent: Sent, client: APIClient) -> None:
    client.raise_request_exception = False
    answer = client.post(f"/broken/{SECRET}?why={SECRET}", {"message": SECRET}, HTTP_USER_AGENT=SECRET)
    assert answer.status_code == 500
    span = sent()["POST broken/<str:word>"]
    assert span.failed
    assert span.attributes["error.type"] == "ValueError"
    assert span.attributes["http.response.status_code"] == 500
    assert span.attributes["footnote.reference"] in answer.json()["error"]["message"]


@pytest.mark.parametrize("given", ["", SECRET, f"00-{'0' * 32}-{'b' * 16}-01", f"00-{'a' * 32}-{'b' * 16}-01-{SECRET}"])
def test_what_is_no_traceparent_begins_a_trace_of_its_own(sent: Sent, client: APIClient, given: str) -> None:
    client.get("/me", HTTP_TRACEPARENT=given)
    span = sent()["GET me"]
    assert not span.parent
    assert span.trace != "a" * 32


def test_a_caller_decides_whether_its_trace_is_recorded(sent: Sent, client: APIClient) -> None:
    client.get("/me", HTTP_TRACEPARENT="00-" + "a" * 32 + "-" + "b" * 16 + "-00")
    client.get("/healthz")  # asked every few seconds
    client.get("/api-keys")
    assert set(sent()) == {"POST login", "GET api-keys"}


def test_what_a_reader_does_between_two_steps_is_not_in_their_span(sent: Sent) -> None:
    def work() -> Generator[int, None, str]:
        with spans.span("first"):
            pass
        try:
            yield 1
            yield 2
            yield 3
        finally:
            with spans.span("last"):
                pass
        return ""

    with spans.span("outer"):
        reading = spans.steps("work", work())
        for number in reading:
            with spans.span(f"reader {number}"):
                if number == 2:
                    break
        reading.close()
    outer = sent()["outer"]
    assert [child.name for child in outer.children] == ["work", "reader 1", "reader 2"]
    assert [child.name for child in outer.children[0].children] == ["first", "last"]
    assert not outer.children[0].failed


def test_a_request_that_another_thread_ends_leaves_no_trace_behind(sent: Sent) -> None:
    root = spans.begin("GET", {}, "server")
    assert root is not None
    left: list[str] = []

    def end() -> None:
        left.append(spans.trace_id())
        root.resume()
        left.append(spans.trace_id())
        with spans.span("late"):
            pass
        root.end("GET a", {})
        left.append(spans.trace_id())

    thread = threading.Thread(target=end)
    thread.start()
    thread.join()
    before, within, after = left
    assert (before, after) == ("", "")
    assert within == spans.trace_id()
    another = spans.begin("GET", {}, "server")
    assert another is not None
    another.end("GET b", {})
    assert spans.trace_id() == ""
    found = sent()
    assert [child.name for child in found["GET a"].children] == ["late"]
    assert found["GET a"].trace == within != found["GET b"].trace
