"""Errors that are sent to Sentry: a server of its own here takes the envelopes."""

from __future__ import annotations

import gzip
import json
import logging
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import sentry_sdk
from django.urls import path
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.test import APIClient
from rest_framework.views import APIView

from backend.accounts.models import User
from backend.api import reporting
from backend.environment import BASE_DIR, as_unset, child_environment
from backend.urls import urlpatterns as product

pytestmark = pytest.mark.django_db

SECRET = "Zanzibar"


class Broken(APIView):
    def post(self, request: Request) -> Response:
        held = request.data
        raise ValueError(f"cannot read {held}")


urlpatterns = [*product, path("broken", Broken.as_view())]


class Sentry:
    """What Sentry's address was sent: (path, the lines of the envelope)."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, list[Any]]] = []
        sentry = self

        class Takes(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                sentry.taken.append((self.path, [json.loads(line) for line in body.splitlines() if line]))
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *args: Any) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Takes)
        self.dsn = f"http://key@127.0.0.1:{self.server.server_port}/1"

    def events(self) -> list[dict[str, Any]]:
        sentry_sdk.flush(10)
        return [lines[2] for _, lines in self.taken if lines[1]["type"] == "event"]


@pytest.fixture
def sentry() -> Iterator[Sentry]:
    server = Sentry()
    thread = threading.Thread(target=server.server.serve_forever)
    thread.start()
    reporting.start(server.dsn)
    yield server
    sentry_sdk.get_client().close(2)
    sentry_sdk.get_global_scope().set_client(None)
    server.server.shutdown()
    thread.join()
    server.server.server_close()


@pytest.mark.urls(__name__)
def test_an_error_is_told_with_its_ids_and_without_what_was_written(
    sentry: Sentry, client: APIClient, user: User
) -> None:
    client.raise_request_exception = False
    answer = client.post("/broken", {"message": f"{SECRET} island"})
    assert answer.status_code == 500
    [event] = sentry.events()
    [error] = event["exception"]["values"]
    assert error["type"] == "ValueError"
    assert any(frame["function"] == "post" for frame in error["stacktrace"]["frames"])
    assert event["tags"]["request_id"] == answer["X-Request-ID"]
    assert event["tags"]["reference"] in answer.json()["error"]["message"]
    assert event["tags"]["route"] == "broken"
    assert event["user"] == {"id": str(user.pk)}
    assert "request" not in event
    sent = json.dumps(sentry.taken)
    for word in (SECRET, "island", user.username, user.email, "Bearer"):
        assert not re.search(rf"\b{re.escape(word)}\b", sent), word  # as a word: ids hold any three letters from a to f
    assert sentry.taken[0][0].startswith("/api/1/envelope")


def test_what_went_well_and_what_is_known_is_not_sent(sentry: Sentry, client: APIClient) -> None:
    assert client.get("/me").status_code == 200
    assert client.get("/sources/none").status_code == 404
    logging.getLogger("backend").warning("only a warning")
    assert sentry.events() == []


def test_a_server_that_is_gone_fails_nothing(sentry: Sentry, client: APIClient) -> None:
    sentry_sdk.get_client().close(2)
    reporting.start("http://key@127.0.0.1:9/1")
    logging.getLogger("backend").error("told to nobody: %s", SECRET)
    sentry_sdk.flush(2)
    assert client.get("/me").status_code == 200


@pytest.mark.parametrize(("dsn", "there"), [("", False), ("http://key@127.0.0.1:9/1", True)])
def test_it_is_loaded_only_where_it_is_set(dsn: str, there: bool) -> None:
    asked = "import sys, backend.settings; print('sentry_sdk' in sys.modules)"
    values = as_unset() | {"SENTRY_DSN": dsn}
    done = subprocess.run(
        [sys.executable, "-c", asked],
        cwd=BASE_DIR, env=child_environment(**values), capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == str(there)
