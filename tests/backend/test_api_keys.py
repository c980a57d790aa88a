"""API keys: made once by a person, used by programs, within their scopes, until they end."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.admin import site
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone
from rest_framework.test import APIClient

from backend.accounts import services
from backend.accounts.api_keys import OPEN_TO_KEYS
from backend.accounts.models import ApiKey, Scope, User
from backend.api.errors import Conflict
from backend.chat.models import Conversation
from tests.backend.conftest import PASSWORD
from tests.backend.test_edges import check_error

pytestmark = pytest.mark.django_db


def make(client: APIClient, **wanted: Any) -> dict[str, Any]:
    made = client.post("/api-keys", {"name": "nightly report", **wanted})
    assert made.status_code == 201, made.content
    key: dict[str, Any] = made.json()
    return key


def with_key(secret: str) -> APIClient:
    return APIClient(HTTP_AUTHORIZATION=f"Bearer {secret}")


@pytest.fixture
def key(client: APIClient) -> dict[str, Any]:
    return make(client)


def test_a_key_is_shown_once_and_kept_as_a_hash(client: APIClient, user: User) -> None:
    made = make(client)
    secret = made.pop("key")
    assert secret.startswith("fn_")
    assert len(secret) == 46, "32 random bytes"
    kept = ApiKey.objects.get()
    assert kept.digest == hashlib.sha256(secret.encode()).hexdigest()
    assert secret not in str(ApiKey.objects.values().get())
    listed = client.get("/api-keys").json()
    assert listed["results"] == [made]
    assert made == {
        "id": str(kept.pk),
        "name": "nightly report",
        "prefix": secret[:11],
        "scopes": ["chat", "read"],
        "created_at": made["created_at"],
        "expires_at": None,
        "last_used_at": None,
    }
    assert (kept.user, kept.last_used_at) == (user, None)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": " "}, "name"),
        ({"name": None}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": "a\u202eb"}, "name"),
        ({"scopes": []}, "scopes"),
        ({"scopes": "chat"}, "scopes"),
        ({"scopes": ["everything"]}, "scopes"),
        ({"scopes": ["chat"] * 11}, "scopes"),
        ({"expires_at": "tomorrow"}, "expires_at"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
    ],
)
def test_a_bad_field_is_named(client: APIClient, change: dict[str, Any], field: str) -> None:
    answer = client.post("/api-keys", {"name": "a", **change})
    check_error(answer, 400, "invalid")
    assert set(answer.json()["error"]["fields"]) == {field}
    assert not ApiKey.objects.exists()


def test_nobody_makes_a_key_for_another_or_chooses_it(client: APIClient, user: User, make_user: Any) -> None:
    other = make_user("bob")
    for field in ({"user": other.pk}, {"key": "fn_chosen"}, {"digest": "0" * 64}, {"id": str(uuid4())}):
        refused = client.post("/api-keys", {"name": "nightly report", **field})
        assert (refused.status_code, set(refused.json()["error"]["fields"])) == (400, set(field))
    assert not ApiKey.objects.exists()


def test_a_program_speaks_for_its_user(key: dict[str, Any], user: User) -> None:
    Conversation.objects.create(user=user, title="Ada's", updated_at=timezone.now())
    program = with_key(key["key"])
    assert program.get("/chat-history").json()["results"][0]["title"] == "Ada's"
    for path in ("/sources", "/schema"):
        assert program.get(path).status_code == 200
    assert program.delete("/chat-history").status_code == 204
    assert APIClient(HTTP_AUTHORIZATION=f"bearer {key['key']}").get("/sources").status_code == 200


def test_keys_neither_see_nor_make_nor_revoke_keys(client: APIClient, key: dict[str, Any]) -> None:
    program = with_key(key["key"])
    for method, path in (("get", "/api-keys"), ("post", "/api-keys"), ("delete", f"/api-keys/{key['id']}")):
        check_error(getattr(program, method)(path), 403, "not_for_api_keys")
    assert ApiKey.objects.count() == 1


def test_every_part_of_the_api_was_decided_about() -> None:
    """A key is refused wherever nobody said otherwise; here somebody says so of every part there is."""
    closed = {"api-keys", "me", "password", "jobs"}
    # nobody's keys are looked at
    without_keys = {"signup", "login", "logout", "verify-email", "token", "healthz", "readyz", "metrics", "admin"}

    def parts(patterns: list[Any], before: str = "") -> set[str]:
        found: set[str] = set()
        for pattern in patterns:
            route = before + str(pattern.pattern)
            if isinstance(pattern, URLResolver):
                found |= parts(pattern.url_patterns, route) if pattern.namespace != site.name else {"admin"}
            elif isinstance(pattern, URLPattern):
                found.add(route.removeprefix("^").split("/")[0])
        return found

    assert parts(get_resolver().url_patterns) - closed - without_keys <= set(OPEN_TO_KEYS)
    assert not (closed | without_keys) & set(OPEN_TO_KEYS)


@pytest.mark.parametrize(
    ("scope", "method", "path", "allowed"),
    [
        (Scope.CHAT, "get", "/chat-history", True),
        (Scope.CHAT, "get", "/sources", False),
        (Scope.CHAT, "get", "/search?q=a", False),
        (Scope.READ, "get", "/sources", True),
        (Scope.READ, "get", "/chat-history", False),
        (Scope.READ, "post", "/chat", False),
        (Scope.READ, "post", "/sources/sync", False),
        (Scope.WRITE, "get", "/sources", False),
        (Scope.WRITE, "post", "/sources/sync", True),
    ],
)
def test_a_key_does_what_its_scopes_say(
    client: APIClient, user: User, scope: Scope, method: str, path: str, allowed: bool
) -> None:
    User.objects.update(is_staff=True)
    program = with_key(make(client, scopes=[scope])["key"])
    answer = getattr(program, method)(path)
    if allowed:
        assert answer.status_code in (200, 202)
    else:
        check_error(answer, 403, "insufficient_scope")


def test_a_scope_gives_nothing_that_its_user_may_not(client: APIClient) -> None:
    program = with_key(make(client, scopes=["write", "read", "write"])["key"])
    check_error(program.post("/sources/sync"), 403, "permission_denied")
    assert ApiKey.objects.get().scopes == ["read", "write"]


def test_what_ends_a_key(client: APIClient, key: dict[str, Any], user: User) -> None:
    def status(secret: str) -> int:
        answer = with_key(secret).get("/sources")
        if answer.status_code != 200:
            check_error(answer, 401, "invalid_api_key")
            assert answer["WWW-Authenticate"].startswith("Bearer")
        return int(answer.status_code)

    assert status(key["key"]) == 200
    for wrong in (
        "fn_",
        key["key"][:-1],
        key["key"] + "x",
        "fn_" + key["key"][3:].swapcase(),
        "fn_\x7f",
        "fn_é",
        "fn_" + "x" * 5000,
    ):
        assert status(wrong) == 401

    User.objects.update(is_active=False)
    assert status(key["key"]) == 401
    User.objects.update(is_active=True)
    assert status(key["key"]) == 200

    ending = make(client, expires_at=(timezone.now() + timedelta(hours=1)).isoformat())
    assert status(ending["key"]) == 200
    ApiKey.objects.filter(pk=ending["id"]).update(expires_at=timezone.now())
    assert status(ending["key"]) == 401

    assert client.delete(f"/api-keys/{key['id']}").status_code == 204
    assert status(key["key"]) == 401
    check_error(client.delete(f"/api-keys/{key['id']}"), 404)

    last = make(client)
    user.delete()
    assert status(last["key"]) == 401


def test_another_users_key_is_a_404_like_one_that_is_not_there(
    key: dict[str, Any], make_user: Callable[[str], User], client_of: Callable[[User], APIClient]
) -> None:
    other = client_of(make_user("bob"))
    missing = other.delete("/api-keys/01890000-0000-7000-8000-000000000000")
    others = other.delete(f"/api-keys/{key['id']}")
    assert (others.status_code, others.content) == (404, missing.content)
    assert other.get("/api-keys").json()["count"] == 0
    assert with_key(key["key"]).get("/sources").status_code == 200


def test_a_request_with_a_key_costs_one_query_and_a_write_a_minute(key: dict[str, Any]) -> None:
    program = with_key(key["key"])

    def touched() -> list[str]:
        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert program.get("/schema").status_code == 200
        return [query["sql"] for query in queries if "accounts_" in query["sql"]]

    assert [sql.split()[0] for sql in touched()] == ["SELECT", "UPDATE"]
    first = ApiKey.objects.get().last_used_at
    assert first is not None
    assert [sql.split()[0] for sql in touched()] == ["SELECT"]
    assert ApiKey.objects.get().last_used_at == first
    ApiKey.objects.update(last_used_at=first - timedelta(minutes=1))
    assert len(touched()) == 2
    assert ApiKey.objects.filter(last_used_at__gte=first).exists()


def test_a_user_has_so_many_keys_and_no_more(
    client: APIClient, user: User, make_user: Callable[[str], User], client_of: Callable[[User], APIClient]
) -> None:
    for number in range(services.MOST_KEYS):
        services.make_api_key(user, str(number), [Scope.CHAT])
    check_error(client.post("/api-keys", {"name": "one more"}), 409, "too_many_keys")
    assert ApiKey.objects.count() == services.MOST_KEYS
    make(client_of(make_user("bob")))

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            client.get("/api-keys?page_size=200")
        return len(captured)

    with_fifty = queries()
    ApiKey.objects.exclude(pk=ApiKey.objects.filter(user=user).first().pk).delete()  # type: ignore[union-attr]
    assert queries() == with_fifty


@pytest.mark.django_db(transaction=True)
def test_two_requests_at_once_do_not_go_beyond_the_limit(user: User) -> None:
    for number in range(services.MOST_KEYS - 1):
        services.make_api_key(user, str(number), [Scope.CHAT])

    def make_one(_: int) -> bool:
        try:
            services.make_api_key(user, "one of four", [Scope.CHAT])
        except Conflict:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(make_one, range(4))) == 1
    assert ApiKey.objects.count() == services.MOST_KEYS


def test_a_key_is_never_in_a_log(client: APIClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    logging.getLogger("django.db.backends").setLevel(logging.INFO)  # an operator's choice: it shows every value
    secret = make(client)["key"]
    program = with_key(secret)
    program.get("/sources")
    program.get("/api-keys")
    program.post("/chat", b"{", content_type="application/json")
    with_key(secret + "x").get("/sources")
    for record in caplog.records:
        assert secret[:20] not in record.getMessage() + str(record.args)


def test_signing_in_goes_on_as_before(client: APIClient, user: User) -> None:
    assert client.get("/sources").status_code == 200
    assert APIClient().post("/login", {"username": user.username, "password": PASSWORD}).status_code == 200
    check_error(APIClient(HTTP_AUTHORIZATION="Bearer nonsense").get("/sources"), 401)
    check_error(APIClient(HTTP_AUTHORIZATION="Bearer fn_a b").get("/sources"), 401)
