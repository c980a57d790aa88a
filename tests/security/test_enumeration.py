"""Nobody finds out who has an account: not by text or status, nor by what the server does meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from backend.accounts.models import User
from backend.outbox.models import Mail
from tests.backend.conftest import PASSWORD
from tests.conftest import QuickArgon2

pytestmark = pytest.mark.django_db
STRANGER = {"username": "stranger", "email": "stranger@example.org", "password": PASSWORD}


class Counting(QuickArgon2):
    """hashed: the passwords that it was given."""

    hashed: ClassVar[list[str]] = []

    def encode(self, password: str, salt: str) -> str:
        self.hashed.append(password)
        return str(super().encode(password, salt))

    def verify(self, password: str, encoded: str) -> bool:
        self.hashed.append(password)
        return bool(super().verify(password, encoded))


def watched(call: Callable[[], Any]) -> tuple[Any, list[str]]:
    """The answer, and the kinds of statements that it took."""
    with CaptureQueriesContext(connection) as queries:
        answer = call()
    kinds = [" ".join(query["sql"].split()[:3]) for query in queries.captured_queries]
    return answer, [kind for kind in kinds if "SAVEPOINT" not in kind]  # those have numbers


@pytest.fixture
def known(user: User) -> User:
    User.objects.filter(pk=user.pk).update(is_verified=True)
    user.refresh_from_db()
    return user


@pytest.mark.parametrize("path", ["/password/reset", "/verify-email/resend"])
@pytest.mark.parametrize("verified", [True, False])
def test_a_request_for_mail_tells_nothing(user: User, path: str, verified: bool) -> None:
    User.objects.update(is_verified=verified)
    sent, work = watched(lambda: APIClient().post(path, {"email": user.email}))
    mails = Mail.objects.count()
    nothing, same_work = watched(lambda: APIClient().post(path, {"email": "nobody@example.org"}))
    assert (sent.status_code, sent.content) == (nothing.status_code, nothing.content)
    assert sent.status_code == 202
    assert work == same_work
    assert Mail.objects.count() == mails == (0 if verified and path == "/verify-email/resend" else 1)


@pytest.mark.parametrize("login", ["ada", "ada@example.org"])
def test_a_login_tells_nothing(known: User, login: str) -> None:
    wrong, work = watched(lambda: APIClient().post("/login", {"username": login, "password": "wrong"}))
    unknown = login.replace("ada", "nob")
    nobody, same_work = watched(lambda: APIClient().post("/login", {"username": unknown, "password": "wrong"}))
    assert (wrong.status_code, wrong.content) == (nobody.status_code, nobody.content)
    assert wrong.status_code == 401
    assert work == same_work


def test_a_login_hashes_for_who_does_not_exist_too(known: User, settings: Settings) -> None:
    settings.PASSWORD_HASHERS = [f"{__name__}.Counting"]
    for login in ("ada", "nobody"):
        Counting.hashed.clear()
        APIClient().post("/login", {"username": login, "password": "wrong"})
        assert len(Counting.hashed) == 1
    User.objects.filter(pk=known.pk).update(password="!unusable")
    Counting.hashed.clear()
    APIClient().post("/login", {"username": "ada", "password": "wrong"})
    assert len(Counting.hashed) == 1


def test_signup_with_somebodys_address_looks_like_any_other(known: User) -> None:
    fresh, work = watched(lambda: APIClient().post("/signup", STRANGER))
    taken, same_work = watched(
        lambda: APIClient().post("/signup", STRANGER | {"username": "second", "email": "ADA@example.org"})
    )
    assert (fresh.status_code, taken.status_code) == (201, 201)
    assert set(fresh.json()) == set(taken.json())
    assert taken.json()["is_verified"] is False
    assert work == same_work
    mail = Mail.objects.latest("id")
    assert (mail.kind, mail.to) == ("address_in_use", "ADA@example.org")
    assert "account ada" in mail.text
    assert "token=" not in mail.text, "the address cannot be verified by anybody but its owner"


def test_the_owner_of_an_address_is_who_verified_it(known: User) -> None:
    APIClient().post("/signup", STRANGER | {"email": known.email})
    second = User.objects.get(username="stranger")
    signed_in = APIClient().post("/login", {"email": known.email, "password": PASSWORD}).json()
    assert signed_in["user"]["id"] == known.pk
    for path in ("/password/reset", "/verify-email/resend"):
        Mail.objects.all().delete()
        APIClient().post(path, {"email": known.email})
        assert not Mail.objects.filter(user=second).exists()


def test_of_two_who_claim_an_address_the_first_to_verify_gets_it() -> None:
    from backend.accounts.links import VERIFY

    for name in ("first", "second"):
        APIClient().post("/signup", STRANGER | {"username": name})
    first, second = User.objects.order_by("pk")
    tokens = [VERIFY.token(user) for user in (second, first)]
    answers = [APIClient().post("/verify-email", {"token": token}) for token in tokens]
    assert [answer.status_code for answer in answers] == [200, 400]
    signed_in = APIClient().post("/login", {"email": STRANGER["email"], "password": PASSWORD}).json()
    assert signed_in["user"]["username"] == "second"


@pytest.mark.usefixtures("known")
def test_the_hash_is_argon2id_with_the_cost_that_is_recommended(settings: Settings) -> None:
    from django.contrib.auth.hashers import check_password, identify_hasher, make_password

    settings.PASSWORD_HASHERS = ["backend.accounts.hashers.Argon2"]
    made = make_password(PASSWORD)
    assert made.startswith("argon2$argon2id$v=19$m=19456,t=2,p=1$")
    assert check_password(PASSWORD, made)
    assert not check_password("wrong", made)
    djangos = "argon2$argon2id$v=19$m=102400,t=2,p=8$" + made.split("$", 4)[4]
    assert identify_hasher(djangos).algorithm == "argon2"
    assert not check_password("wrong", djangos), "one with another cost is read"
