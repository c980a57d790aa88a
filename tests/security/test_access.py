"""Who may reach what: two users, a stranger and staff, at every endpoint of the URL conf."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.forms.models import model_to_dict
from rest_framework.test import APIClient

from backend.accounts.models import ApiKey, Scope, User
from backend.accounts.services import make_api_key
from backend.chat.models import Citation, Conversation, Feedback, Message
from backend.knowledge.index import KnowledgeIndex
from backend.knowledge.models import Source
from tests.backend.chats import cite, talk
from tests.security.endpoints import Endpoint, endpoints

pytestmark = pytest.mark.django_db

SECRET = "the-secret-of-ada"
OPEN = {  # to everybody, without a token
    *("POST /signup", "POST /login", "POST /logout", "POST /token/refresh"),
    *("GET /verify-email", "POST /verify-email", "POST /verify-email/resend"),
    *("POST /password/reset", "GET /password/reset/confirm", "POST /password/reset/confirm"),
    *("GET /healthz", "GET /readyz", "GET /metrics", "GET /schema", "GET /docs", "GET /redoc"),
}
STAFF = {
    *("POST /sources", "POST /sources/sync", "DELETE /sources/<uuid:source_id>"),
    *("GET /jobs", "GET /jobs/<str:name>/runs", "POST /jobs/<str:name>/run"),
}
OF_A_USER = {"key_id", "conversation_id", "message_id", "n"}  # what belongs to one user
OF_ALL = {"source_id", "model_id", "name"}  # what is nobody's own

BODIES: dict[str, dict[str, Any]] = {  # that are right, so that nothing but the right to do it is in question
    "POST /conversations/<uuid:conversation_id>/messages": {"message": "Hello?"},
    "PATCH /conversations/<uuid:conversation_id>": {"title": "Mine"},
    "POST /messages/<uuid:message_id>/edit": {"message": "Hello?"},
    "POST /messages/<uuid:message_id>/feedback": {"rating": 1},
    "POST /chat": {"message": "Hello?"},
    "PATCH /me": {"first_name": "Ada"},
    "POST /api-keys": {"name": "script"},
}


def named(*wanted: Endpoint) -> Any:
    return pytest.mark.parametrize("endpoint", wanted, ids=str)


def of_a_user(endpoint: Endpoint) -> bool:
    return bool(OF_A_USER & set(endpoint.parameters))


@pytest.fixture
def ids(user: User, index: KnowledgeIndex) -> dict[str, Any]:
    """What Ada has: a conversation with an answer and its citation, and an API key."""
    conversation = talk(user, SECRET)
    answer = Message.objects.get(role="assistant")
    cite(answer, quote=SECRET)
    Feedback.objects.create(message=answer, rating=1, comment=SECRET)
    key, _ = make_api_key(user, SECRET, [Scope.CHAT])
    return {
        "conversation_id": conversation.pk,
        "message_id": answer.pk,
        "n": 1,
        "key_id": key.pk,
        "source_id": Source.objects.get().pk,
        "model_id": "footnote",
        "name": "reindex",
    }


def send(client: APIClient, endpoint: Endpoint, ids: dict[str, Any]) -> Any:
    return getattr(client, endpoint.method)(endpoint.fill(ids), BODIES.get(str(endpoint)) or None)


def everything() -> list[dict[str, Any]]:
    kept: list[dict[str, Any]] = []
    for model in (Conversation, Message, Citation, Feedback, ApiKey):
        kept += [model_to_dict(row, exclude=["last_used_at"]) for row in model._default_manager.order_by("pk")]
    return kept


def test_every_parameter_was_thought_of() -> None:
    found = {name for endpoint in endpoints() for name in endpoint.parameters}
    assert found == OF_A_USER | OF_ALL


@named(*(each for each in endpoints() if str(each) not in OPEN))
def test_a_stranger_is_told_to_sign_in(endpoint: Endpoint, ids: dict[str, Any]) -> None:
    before = everything()
    for client in (APIClient(), APIClient(HTTP_AUTHORIZATION="Bearer fn_nonsense"), APIClient(HTTP_AUTHORIZATION="x")):
        answer = send(client, endpoint, ids)
        assert answer.status_code == 401, answer.content
        assert answer["WWW-Authenticate"].startswith("Bearer")
        assert SECRET not in answer.content.decode()
    assert everything() == before


@named(*filter(of_a_user, endpoints()))
@pytest.mark.parametrize("who", ["another user", "staff", "an API key of another user"])
def test_what_is_anothers_does_not_exist(
    endpoint: Endpoint,
    who: str,
    ids: dict[str, Any],
    make_user: Callable[[str], User],
    client_of: Callable[[User], APIClient],
) -> None:
    berta = make_user("berta")
    berta.is_staff = berta.is_superuser = who == "staff"
    berta.save()
    if who == "an API key of another user":
        if "key_id" in endpoint.parameters:
            pytest.skip("no key is accepted there")
        client = APIClient(HTTP_AUTHORIZATION=f"Bearer {make_api_key(berta, 'mine', list(Scope))[1]}")
    else:
        client = client_of(berta)
    before = everything()
    answer = send(client, endpoint, ids)
    nowhere = send(client, endpoint, {**ids, **{name: uuid4() for name in OF_A_USER - {"n"}}})
    assert answer.status_code == nowhere.status_code == 404
    assert answer.content == nowhere.content, "as if it did not exist"
    assert everything() == before


@named(*(each for each in endpoints() if each.method == "get" and str(each) not in STAFF and not of_a_user(each)))
def test_no_list_shows_what_is_anothers(
    endpoint: Endpoint, ids: dict[str, Any], make_user: Callable[[str], User], client_of: Callable[[User], APIClient]
) -> None:
    client = client_of(make_user("berta"))
    filters = {
        "q": SECRET,
        "conversation_id": str(ids["conversation_id"]),
        "user": "1",
        "user_id": "1",
        "state": "indexed",
    }
    for query in ({}, *({name: value} for name, value in filters.items())):
        answer = client.get(endpoint.fill(ids), query)
        body = b"".join(answer) if answer.streaming else answer.content
        assert answer.status_code in (200, 400, 404, 503), answer.content
        shown = body.decode()
        for own in (ids["conversation_id"], ids["message_id"], ids["key_id"]):
            assert str(own) not in shown.replace(str(query), ""), "no id"
        if "q" not in query:
            assert SECRET not in shown or endpoint.path.startswith("/sources"), "no text"


@named(*(each for each in endpoints() if str(each) in STAFF))
def test_what_is_for_staff_is_a_403_to_others(endpoint: Endpoint, ids: dict[str, Any], client: APIClient) -> None:
    answer = send(client, endpoint, ids)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "permission_denied")
    key = client.post("/api-keys", {"name": "writer", "scopes": ["chat", "read", "write"]}).json()["key"]
    assert send(APIClient(HTTP_AUTHORIZATION=f"Bearer {key}"), endpoint, ids).status_code == 403
    assert Source.objects.exists()


@named(*(each for each in endpoints() if str(each) not in OPEN | STAFF and not of_a_user(each)))
def test_the_owner_may(endpoint: Endpoint, ids: dict[str, Any], client: APIClient) -> None:
    """So that the tests above do not pass because nothing works: never 401, 403, 405 or 5xx for who may."""
    answer = send(client, endpoint, ids)
    if answer.streaming:
        list(answer)
    assert answer.status_code in (200, 201, 202, 204, 400, 404), answer.content


FORBIDDEN = {
    "is_staff": True,
    "is_superuser": True,
    "is_verified": True,
    "is_active": False,
    "id": 987_654,
    "user": 987_654,
    "user_id": 987_654,
    "owner": 987_654,
    "created_at": "2001-01-01T00:00:00Z",
    "date_joined": "2001-01-01T00:00:00Z",
    "digest": "0" * 64,
    "prefix": "fn_00000000",
    "groups": [1],
    "user_permissions": [1],
}
WITH_A_BODY = [each for each in endpoints() if each.method in ("post", "patch", "put")]


@named(*WITH_A_BODY)
def test_nothing_is_taken_that_a_client_has_no_say_in(
    endpoint: Endpoint, ids: dict[str, Any], client: APIClient, user: User
) -> None:
    body = {"username": "carla", "email": "carla@example.org", "password": "seven-green-bicycles"}
    body = body if endpoint.path == "/signup" else BODIES.get(str(endpoint), {})
    for name, value in FORBIDDEN.items():
        answer = getattr(client, endpoint.method)(endpoint.fill(ids), {**body, name: value})
        assert answer.status_code < 500, answer.content
    for each in User.objects.all():
        assert (each.is_staff, each.is_superuser, each.is_verified, each.is_active) == (False, False, False, True)
        assert each.pk != 987_654
        assert each.date_joined.year > 2001
    assert not ApiKey.objects.filter(digest="0" * 64).exists()
    assert not ApiKey.objects.filter(prefix="fn_00000000").exists()
    assert set(Conversation.objects.values_list("user_id", flat=True)) <= {user.pk}
    assert not Message.objects.filter(created_at__year__lte=2001).exists()
    assert not ApiKey.objects.filter(created_at__year__lte=2001).exists()
