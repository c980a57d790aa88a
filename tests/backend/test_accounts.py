"""Signup, login and refresh over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from backend.accounts.models import User
from backend.accounts.tokens import issue
from tests.backend.conftest import PASSWORD

pytestmark = pytest.mark.django_db
MARIA = {"username": "maria", "email": "maria@example.org", "password": "seven-green-bicycles"}


def test_signup_then_login_by_name_or_by_address() -> None:
    client = APIClient()
    made = client.post("/signup", MARIA)
    assert made.status_code == 201
    assert made.json() == {
        "id": made.json()["id"],
        "username": "maria",
        "email": "maria@example.org",
        "is_verified": False,
    }
    for login in ({"username": "maria"}, {"username": "MARIA@example.org"}, {"email": "maria@example.org"}):
        answer = client.post("/login", {**login, "password": MARIA["password"]})
        assert answer.status_code == 200
        assert set(answer.json()) == {"access", "refresh", "user"}
        assert answer.json()["user"]["username"] == "maria"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"username": ""}, "username"),
        ({"username": "a b"}, "username"),
        ({"username": "x" * 10_000}, "username"),
        ({"username": "ma\u202eria"}, "username"),
        ({"username": "ma\u200bria"}, "username"),
        ({"username": None}, "username"),
        ({"email": "nobody"}, "email"),
        ({"email": "a@example.org,b@example.org"}, "email"),
        ({"email": "a@example.org\nBcc: b@example.org"}, "email"),
        ({"password": "short"}, "password"),
        ({"password": "12345678901"}, "password"),
        ({"password": "password1"}, "password"),
        ({"password": "maria@example.org"}, "password"),
        ({"password": "x" * 2_000}, "password"),
        ({"password": ["a"]}, "password"),
    ],
)
def test_a_bad_field_is_named(change: dict[str, Any], field: str) -> None:
    answer = APIClient().post("/signup", MARIA | change)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid"
    assert set(answer.json()["error"]["fields"]) == {field}
    assert not User.objects.exists()


@pytest.mark.parametrize("name", ["maria", "Maria", "MARIA", " maria "])
def test_names_are_taken_whatever_their_case(name: str) -> None:
    client = APIClient()
    client.post("/signup", MARIA)
    answer = client.post("/signup", MARIA | {"username": name, "email": "other@example.org"})
    assert (answer.status_code, set(answer.json()["error"]["fields"])) == (400, {"username"})
    assert User.objects.count() == 1


def test_nobody_makes_himself_staff() -> None:
    for field in ({"is_staff": True}, {"is_superuser": True}, {"is_verified": True}, {"id": 987_654}):
        refused = APIClient().post("/signup", MARIA | field)
        assert (refused.status_code, set(refused.json()["error"]["fields"])) == (400, set(field))
    assert not User.objects.exists()


def test_a_password_is_kept_as_an_argon2_hash() -> None:
    APIClient().post("/signup", MARIA)
    assert User.objects.get().password.startswith("argon2$")


def test_signup_can_be_closed(settings: Settings) -> None:
    settings.ENV = settings.ENV.model_copy(update={"signup_open": False})
    answer = APIClient().post("/signup", MARIA)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "signup_closed")


def test_every_wrong_login_gets_the_same_answer(user: User) -> None:
    client = APIClient()
    User.objects.create_user("gone", "gone@example.org", PASSWORD, is_active=False)
    answers = [
        client.post("/login", {"username": name, "password": password})
        for name, password in (("ada", "wrong"), ("nobody", PASSWORD), ("gone", PASSWORD))
    ]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.content for answer in answers}) == 1
    assert answers[0].json()["error"]["code"] == "invalid_credentials"


def tokens(user: User) -> dict[str, str]:
    answer: dict[str, str] = APIClient().post("/login", {"username": user.username, "password": PASSWORD}).json()
    return answer


def refreshed(token: str) -> Any:
    return APIClient().post("/token/refresh", {"refresh": token})


def signed_in(token: str) -> int:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return int(client.get("/chat-history").status_code)


def test_a_token_is_good_for_what_it_was_made_for_only(user: User) -> None:
    pair = tokens(user)
    assert signed_in(pair["access"]) == 200
    assert signed_in(pair["refresh"]) == 401
    assert APIClient().post("/token/refresh", {"refresh": pair["access"]}).status_code == 401
    assert signed_in("nonsense") == 401
    assert signed_in(pair["access"][:-2] + "xx") == 401


def test_a_changed_password_ends_every_token(user: User) -> None:
    pair = tokens(user)
    user.set_password("another-good-one")
    user.save()
    assert signed_in(pair["access"]) == 401
    assert APIClient().post("/token/refresh", {"refresh": pair["refresh"]}).status_code == 401


@pytest.mark.parametrize("change", ["deactivate", "delete"])
def test_tokens_of_a_user_who_is_gone_are_dead(user: User, change: str) -> None:
    pair = tokens(user)
    if change == "delete":
        user.delete()
    else:
        User.objects.update(is_active=False)
    assert signed_in(pair["access"]) == 401
    assert APIClient().post("/token/refresh", {"refresh": pair["refresh"]}).status_code == 401


def test_an_expired_token_is_refused(user: User) -> None:
    from datetime import timedelta

    token = issue(user).access_token
    token.set_exp(lifetime=-timedelta(seconds=1))
    assert signed_in(str(token)) == 401


def test_endpoints_want_a_token(make_user: Callable[[str], User]) -> None:
    for path in ("/chat-history", "/search?q=a", "/sources", "/sources/sync"):
        answer = APIClient().get(path)
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "not_authenticated"
        assert answer["WWW-Authenticate"].startswith("Bearer")
    assert APIClient().post("/chat", {"message": "Hello?"}).status_code == 401
