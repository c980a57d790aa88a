"""Access and refresh tokens: forged, confused, used again, and what ends them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from django.db import connection
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from backend.accounts import tokens as services
from backend.accounts.models import TokenFamily, User
from backend.audit.models import Action, Event
from backend.outbox.models import Mail
from tests.backend.conftest import PASSWORD

pytestmark = pytest.mark.django_db
OTHER_KEY = "n2Fv8sQ1pLx7Zr4Tb9Wc3Yd6Me5Kg0Hj"


def log_in(user: User) -> dict[str, str]:
    answer: dict[str, str] = APIClient().post("/login", {"username": user.username, "password": PASSWORD}).json()
    return answer


def enter(access: str) -> int:
    client = APIClient(HTTP_AUTHORIZATION=f"Bearer {access}")
    return int(client.get("/me").status_code)


def refresh(token: str) -> Any:
    return APIClient().post("/token/refresh", {"refresh": token})


def parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    return jwt.get_unverified_header(token), jwt.decode(token, options={"verify_signature": False})


def signing_key(token: str) -> tuple[str, bytes]:
    keys = services._keys((*_secrets(),))
    name = jwt.get_unverified_header(token)["kid"]
    return name, keys.keys[name]


def _secrets() -> tuple[str, ...]:
    from django.conf import settings

    return (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)


HOURS = timedelta(hours=1)
CHANGES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "another issuer": lambda claims: {**claims, "iss": "somebody"},
    "no issuer": lambda claims: {name: value for name, value in claims.items() if name != "iss"},
    "another audience": lambda claims: {**claims, "aud": "something"},
    "no audience": lambda claims: {name: value for name, value in claims.items() if name != "aud"},
    "expired": lambda claims: {**claims, "exp": datetime.now(UTC) - HOURS},
    "never expires": lambda claims: {name: value for name, value in claims.items() if name != "exp"},
    "not valid yet": lambda claims: {**claims, "nbf": datetime.now(UTC) + HOURS},
    "made in the future": lambda claims: {**claims, "iat": datetime.now(UTC) + HOURS},
    "refresh as access": lambda claims: {**claims, "token_type": "refresh"},
    "no type": lambda claims: {name: value for name, value in claims.items() if name != "token_type"},
    "no family": lambda claims: {name: value for name, value in claims.items() if name != "family"},
    "another family": lambda claims: {**claims, "family": "01930000-0000-7000-8000-000000000000"},
    "a family that is none": lambda claims: {**claims, "family": ["x"]},
    "another user": lambda claims: {**claims, "user_id": str(int(claims["user_id"]) + 1)},
    "a user that is none": lambda claims: {**claims, "user_id": "9" * 100},
    "a user that is a list": lambda claims: {**claims, "user_id": [1]},
    "another password": lambda claims: {**claims, "hash_password": "0" * 32},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_token_with_a_wrong_claim_is_refused_even_if_it_is_signed(
    user: User, make_user: Callable[[str], User], change: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    make_user("berta")
    access = log_in(user)["access"]
    _, claims = parts(access)
    name, key = signing_key(access)
    assert enter(jwt.encode(claims, key, "HS256", headers={"kid": name})) == 200, "the test can sign"
    assert enter(jwt.encode(change(claims), key, "HS256", headers={"kid": name})) == 401


def test_algorithms_are_pinned(user: User) -> None:
    access = log_in(user)["access"]
    _, claims = parts(access)
    name, key = signing_key(access)
    forged = [
        jwt.encode(claims, "", "none", headers={"kid": name}),
        jwt.encode(claims, key, "HS512", headers={"kid": name}),
        jwt.encode(claims, key, "HS256"),  # names no key
        jwt.encode(claims, key, "HS256", headers={"kid": "another"}),
        jwt.encode(claims, OTHER_KEY, "HS256", headers={"kid": "../../../../dev/null"}),
        jwt.encode(claims, OTHER_KEY, "HS256", headers={"kid": name}),
        jwt.encode(claims, _secrets()[0], "HS256", headers={"kid": name}),  # Django's own key is no key of tokens
        access.rsplit(".", 1)[0] + ".",
        access[:-4] + ("AAAA" if access[-4:] != "AAAA" else "BBBB"),
        "a.b.c",
        "",
    ]
    assert {enter(token) for token in forged} == {401}
    assert {refresh(token).status_code for token in forged} <= {400, 401}


def test_a_public_key_is_no_secret(user: User) -> None:
    """RS256 to HS256: there is no asymmetric key here, and a token that says it was signed by one is refused."""
    from cryptography.hazmat.primitives.asymmetric import rsa

    access = log_in(user)["access"]
    _, claims = parts(access)
    name, _ = signing_key(access)
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    assert enter(jwt.encode(claims, private, "RS256", headers={"kid": name})) == 401


def test_a_token_is_good_for_what_it_was_made_for(user: User) -> None:
    pair = log_in(user)
    assert (enter(pair["access"]), enter(pair["refresh"])) == (200, 401)
    assert refresh(pair["access"]).status_code == 401


def test_a_refresh_token_that_is_used_again_ends_its_login(user: User) -> None:
    other = log_in(user)
    first = log_in(user)
    second = refresh(first["refresh"])
    assert second.status_code == 200
    assert set(second.json()) == {"access", "refresh"}
    again = refresh(first["refresh"])
    assert again.status_code == 401
    assert refresh(second.json()["refresh"]).status_code == 401, "the whole family is dead"
    assert [enter(token) for token in (first["access"], second.json()["access"])] == [401, 401]
    refresh(first["refresh"])
    assert Event.objects.filter(action=Action.TOKEN_REUSED, user=user).count() == 1
    assert enter(other["access"]) == 200, "another login goes on"
    assert refresh(other["refresh"]).status_code == 200


def test_a_token_that_was_refused_for_the_address_is_good_once_that_is_verified(user: User, settings: Settings) -> None:
    pair = log_in(user)
    settings.ENV = settings.ENV.model_copy(update={"require_verified_email": True})
    for _ in range(2):
        refused = refresh(pair["refresh"])
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "email_not_verified")
    User.objects.update(is_verified=True)
    after = refresh(pair["refresh"])
    assert after.status_code == 200
    User.objects.update(is_verified=False)
    assert refresh(pair["refresh"]).status_code == 401, "one that was used before ends the login even so"
    assert TokenFamily.objects.get().end_reason == "reuse"
    User.objects.update(is_verified=True)
    assert refresh(after.json()["refresh"]).status_code == 401


@pytest.mark.django_db(transaction=True)
def test_of_two_that_bring_one_token_at_once_one_is_refused_and_the_login_ends(user: User) -> None:
    pair = log_in(user)

    def bring(_: int) -> Any:
        try:
            return refresh(pair["refresh"])
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(bring, range(4)))
    good = [answer for answer in answers if answer.status_code == 200]
    assert sorted(answer.status_code for answer in answers) == [200, 401, 401, 401]
    assert enter(good[0].json()["access"]) == 401
    assert TokenFamily.objects.get().end_reason == "reuse"


def test_logout_ends_this_login_alone(user: User) -> None:
    other, pair = log_in(user), log_in(user)
    client = APIClient(HTTP_AUTHORIZATION=f"Bearer {pair['access']}")
    assert client.post("/logout", {"refresh": pair["refresh"]}).status_code == 204
    assert (enter(pair["access"]), refresh(pair["refresh"]).status_code) == (401, 401)
    assert (enter(other["access"]), refresh(other["refresh"]).status_code) == (200, 200)
    assert Event.objects.filter(action=Action.LOGOUT, user=user).count() == 1


def test_logout_by_the_refresh_token_or_by_the_access_token_alone(user: User) -> None:
    for given in ("refresh", "access"):
        pair = log_in(user)
        client = APIClient(HTTP_AUTHORIZATION=f"Bearer {pair['access']}") if given == "access" else APIClient()
        assert client.post("/logout", {"refresh": pair["refresh"]} if given == "refresh" else {}).status_code == 204
        assert (enter(pair["access"]), refresh(pair["refresh"]).status_code) == (401, 401)


def test_an_expired_access_token_does_not_keep_one_from_logging_out(user: User) -> None:
    pair = log_in(user)
    client = APIClient(HTTP_AUTHORIZATION=f"Bearer {pair['access'][:-4]}xxxx")
    assert client.post("/logout", {}).status_code == 401
    assert client.post("/logout", {"refresh": pair["refresh"]}).status_code == 204


def test_logout_without_a_token_or_with_a_bad_one_is_a_401(user: User) -> None:
    assert APIClient().post("/logout", {}).status_code == 401
    assert APIClient().post("/logout", {"refresh": "nonsense"}).status_code == 401
    assert APIClient().post("/logout", {"refresh": log_in(user)["access"]}).status_code == 401


def test_a_refresh_token_that_is_void_ends_no_login(user: User) -> None:
    """Who stole it before the password was changed, or before its login was ended."""
    stolen, ended = log_in(user), log_in(user)
    client = APIClient(HTTP_AUTHORIZATION=f"Bearer {ended['access']}")
    assert client.post("/logout", {"refresh": ended["refresh"]}).status_code == 204
    alive = log_in(user)
    answer = APIClient().post("/logout", {"refresh": ended["refresh"], "everywhere": True})
    assert (answer.status_code, enter(alive["access"])) == (204, 200)
    client = APIClient(HTTP_AUTHORIZATION=f"Bearer {alive['access']}")
    changed = client.post("/password/change", {"old_password": PASSWORD, "new_password": "seven-green-bicycles"})
    assert changed.status_code == 200, changed.json()
    answer = APIClient().post("/logout", {"refresh": stolen["refresh"], "everywhere": True})
    assert (answer.status_code, enter(changed.json()["access"])) == (401, 200)


def test_an_account_without_an_address_can_change_its_password_and_get_an_address(db: None) -> None:
    user = User.objects.create_user("ada", password=PASSWORD)
    client = APIClient(HTTP_AUTHORIZATION=f"Bearer {log_in(user)['access']}")
    changed = client.post("/password/change", {"old_password": PASSWORD, "new_password": "seven-green-bicycles"})
    assert changed.status_code == 200, changed.json()
    client = APIClient(HTTP_AUTHORIZATION=f"Bearer {changed.json()['access']}")
    given = client.patch("/me", {"email": "ada@example.org", "password": "seven-green-bicycles"})
    assert (given.status_code, given.json().get("email")) == (200, "ada@example.org")
    assert [mail.kind for mail in Mail.objects.all()] == ["verify_email"]


def test_logout_everywhere_ends_every_login(user: User, make_user: Callable[[str], User]) -> None:
    pairs = [log_in(user) for _ in range(3)]
    foreign = log_in(make_user("berta"))
    client = APIClient(HTTP_AUTHORIZATION=f"Bearer {pairs[0]['access']}")
    assert client.post("/logout", {"everywhere": True}).status_code == 204
    assert {enter(pair["access"]) for pair in pairs} == {401}
    assert {refresh(pair["refresh"]).status_code for pair in pairs} == {401}
    assert enter(foreign["access"]) == 200


def test_a_changed_password_ends_every_token_but_those_it_gives(user: User) -> None:
    pairs = [log_in(user) for _ in range(2)]
    client = APIClient(HTTP_AUTHORIZATION=f"Bearer {pairs[0]['access']}")
    wrong = client.post("/password/change", {"old_password": "wrong", "new_password": "seven-green-bicycles"})
    assert (wrong.status_code, set(wrong.json()["error"]["fields"])) == (400, {"old_password"})
    weak = client.post("/password/change", {"old_password": PASSWORD, "new_password": "12345678"})
    assert (weak.status_code, set(weak.json()["error"]["fields"])) == (400, {"new_password"})
    assert enter(pairs[1]["access"]) == 200
    done = client.post("/password/change", {"old_password": PASSWORD, "new_password": "seven-green-bicycles"})
    assert done.status_code == 200
    assert {enter(pair["access"]) for pair in pairs} == {401}
    assert {refresh(pair["refresh"]).status_code for pair in pairs} == {401}
    assert (enter(done.json()["access"]), refresh(done.json()["refresh"]).status_code) == (200, 200)
    assert APIClient().post("/login", {"username": "ada", "password": PASSWORD}).status_code == 401


@pytest.mark.parametrize("change", ["deactivated", "deleted", "another password"])
def test_what_an_operator_does_ends_tokens_too(user: User, change: str) -> None:
    pair = log_in(user)
    if change == "deleted":
        user.delete()
    elif change == "deactivated":
        User.objects.update(is_active=False)
    else:
        user.set_password("seven-green-bicycles")
        user.save()
    assert (enter(pair["access"]), refresh(pair["refresh"]).status_code) == (401, 401)


def test_keys_are_changed_without_logging_anybody_out(user: User, settings: Settings) -> None:
    pair = log_in(user)
    old = settings.SECRET_KEY
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = OTHER_KEY, [old]
    assert enter(pair["access"]) == 200
    new = refresh(pair["refresh"]).json()
    settings.SECRET_KEY_FALLBACKS = []
    assert enter(pair["access"]) == 401, "what only the old key signed is dead"
    assert (enter(new["access"]), refresh(new["refresh"]).status_code) == (200, 200)


def test_the_database_holds_no_token(user: User) -> None:
    pair = log_in(user)
    family = TokenFamily.objects.get()
    stored = " ".join(str(value) for value in vars(family).values())
    assert pair["refresh"] not in stored
    assert pair["refresh"].split(".")[2] not in stored


def test_access_lives_fifteen_minutes_and_refresh_a_week(user: User) -> None:
    pair = log_in(user)
    lives = [claims["exp"] - claims["iat"] for claims in (parts(pair["access"])[1], parts(pair["refresh"])[1])]
    assert lives == [15 * 60, 7 * 24 * 3600]
