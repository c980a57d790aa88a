"""The schema tells the truth: whatever is generated from it, against it and around it is answered as it says.

schemathesis, all its checks, over every operation of /schema against the WSGI application. `make fuzz` does the same
with many more examples, and prints how many requests there were.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from django.db import connection
from pytest_django.fixtures import Settings
from schemathesis.config import SchemathesisConfig
from schemathesis.core.failures import Failure
from schemathesis.engine import events, from_schema
from schemathesis.openapi.checks import EnsureResourceAvailability, RejectedPositiveData
from schemathesis.transport.wsgi import WSGITransport

from backend.accounts import services, tokens
from backend.accounts.models import Scope, User
from backend.environment import Environment
from backend.wsgi import application
from tests.backend.conftest import Sync
from tests.folder import write

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES") or 4)  # of each operation, beside those that cover its schema

CONFIG: dict[str, Any] = {
    "cache": {"enabled": False},
    "seed": int(os.environ.get("FUZZ_SEED") or 7),
    "continue-on-failure": True,
    "generation": {
        "deterministic": "FUZZ_SEED" not in os.environ,
        "max-examples": EXAMPLES,
        "no-shrink": True,
        "allow-x00": False,  # a NUL is refused wherever it stands, which no schema says: see test_bodies.py
        "database": "none",
    },
    # It would add names that it reads in error messages, also where the schema says that there are no others.
    "phases": {"fuzzing": {"error-feedback": {"enabled": False}}},
    "operations": [
        # No scheduler runs here, so it is not ready, as its schema says.
        {"include-path": "/readyz", "checks": {"not_a_server_error": {"expected-statuses": ["2xx", "4xx", "503"]}}},
    ],
}

ERASES_ALL = {"DELETE /chat-history", "DELETE /me"}

# What a schema cannot say: these may be refused although they fit it.
MORE_THAN_A_SCHEMA_SAYS: dict[str, set[str]] = {
    "POST /signup": {"username", "email", "password"},  # names that are taken, passwords that are guessed
    "POST /password/reset": {"email"},  # a domain that is one
    "POST /verify-email/resend": {"email"},
    "POST /verify-email": {"token"},  # one that was mailed
    "POST /password/reset/confirm": {"token", "new_password"},
    "POST /password/change": {"old_password", "new_password"},
    "PATCH /me": {"username", "email", "first_name", "last_name", "password"},  # as for signup; on one line; one's own
    "POST /api-keys": {"name", "expires_at"},  # a name on one line, a moment that is not past
    "POST /conversations": {"title"},  # on one line
    "PATCH /conversations/{conversation_id}": {"title"},
    "GET /conversations": {"cursor"},  # only one that was given
    "GET /chat-history": {"cursor"},
    "GET /conversations/{conversation_id}/messages": {"cursor"},
    "POST /v1/chat/completions": {"messages"},  # texts alone, and the user asks something
    "POST /sources": {"files", "folder"},  # names that every system can store
}


@pytest.fixture
def _send_without_a_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    """schemathesis 4.32 hands the settings of a socket to an application as well, in its probes without credentials."""
    send = WSGITransport.send

    def send_plainly(self: WSGITransport, case: Any, **options: Any) -> Any:
        for name in ("max_redirects", "verify", "cert", "proxies"):
            options.pop(name, None)
        return send(self, case, **options)

    monkeypatch.setattr(WSGITransport, "send", send_plainly)


@pytest.mark.django_db(transaction=True)  # requests run in the engine's threads
@pytest.mark.usefixtures("_send_without_a_socket")
@pytest.mark.parametrize("who", ["nobody", "user", "staff", "key"])
def test_every_answer_is_as_the_schema_says(
    who: str,
    folder: Path,
    sync: Sync,
    make_user: Callable[[str], User],
    settings: Settings,
    capsys: pytest.CaptureFixture[str],
) -> None:
    unlimited = {name: "" for name in Environment.model_fields if name.startswith("throttle_")}
    settings.ENV = settings.ENV.model_copy(update=unlimited)
    write(folder, "handbook.md", "# Leave\n\nParental leave is 16 weeks, paid in full.\n")
    sync()
    schema = schemathesis.openapi.from_wsgi("/schema", served, config=SchemathesisConfig.from_dict(CONFIG))
    if who != "nobody":
        schema.auth(refresh_interval=None)(credentials_of(make_user, who))
    statuses: Counter[int] = Counter()
    failures: dict[tuple[str, str, str], str] = {}
    for event in from_schema(schema).execute():
        assert not isinstance(event, events.FatalError), event
        if isinstance(event, events.NonFatalError):
            failures[(event.label, "error", "")] = event.info.format()
        if isinstance(event, events.ScenarioFinished):
            statuses.update(one.response.status_code for one in event.recorder.interactions.values() if one.response)
            failures.update(failures_of(event.recorder))
    with capsys.disabled():
        print(f"\n{who}: {statuses.total():,} requests, {dict(sorted(statuses.items()))}")  # noqa: T201
    assert not failures, "\n\n".join(failures.values())
    assert statuses.total() > 500
    assert statuses[200] > (0 if who == "nobody" else 100), "most of it would be refused for another reason"


def served(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """The application as a server calls it: to the end of the response, after which its thread has no connection."""
    response = application(environ, start_response)
    try:
        return [b"".join(response)]
    finally:
        response.close()
        connection.close()


def credentials_of(make_user: Callable[[str], User], who: str) -> type:
    """What schemathesis signs requests with. Tokens and users are made anew: some requests end those that there are."""
    made: list[User] = []

    def somebody() -> User:
        if not made or not User.objects.filter(pk=made[-1].pk).exists():
            made.append(make_user(f"ada{len(made)}"))
            User.objects.filter(pk=made[-1].pk).update(is_staff=who != "user")
        return User.objects.get(pk=made[-1].pk)

    key = services.make_api_key(somebody(), "fuzz", list(Scope))[1] if who == "key" else ""

    class Credentials:
        def get(self, case: Any, context: Any) -> str:
            try:
                return key or str(tokens.issue(somebody()).access_token)
            finally:
                connection.close()  # of the engine's thread

        def set(self, case: Any, data: str, context: Any) -> None:
            case.headers = {**(case.headers or {}), "Authorization": f"Bearer {data}"}

    return Credentials


def failures_of(recorder: Any) -> Iterator[tuple[tuple[str, str, str], str]]:
    for case_id, checks in recorder.checks.items():
        for check in checks:
            if check.failure_info is None:
                continue
            failure, response = check.failure_info.failure, recorder.interactions[case_id].response
            if is_right(failure, response) or is_erased(failure, recorder):
                continue
            told = f"{failure.operation}: {failure.title}\n{failure.message}\n{check.failure_info.code_sample[:600]}"
            if response is not None:
                told += f"\n{response.status_code} {response.content[:400]!r}"
            yield (failure.operation or "", failure.title, failure.message[:120]), told


def is_erased(failure: Failure, recorder: Any) -> bool:
    """What was made is gone: of what erases everything schemathesis does not know that it does."""
    asked = {node.value.operation.label for node in recorder.cases.values()}
    return isinstance(failure, EnsureResourceAvailability) and not asked.isdisjoint(ERASES_ALL)


def is_right(failure: Failure, response: Any) -> bool:
    if not isinstance(failure, RejectedPositiveData) or response.status_code != 400:
        return False
    if b"<form" in response.content:  # the page that a mail's link opens, which says what is wrong in its own way
        return "token" in MORE_THAN_A_SCHEMA_SAYS.get(failure.operation or "", set())
    error = response.json()["error"]
    blamed = {re.split(r"[.\[]", name)[0] for name in error.get("fields") or [error.get("param")]}
    return blamed <= MORE_THAN_A_SCHEMA_SAYS.get(failure.operation or "", set())
