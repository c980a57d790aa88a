"""Names and addresses that are none, or look like somebody else's."""

from __future__ import annotations

from typing import Any

import pytest
from rest_framework.test import APIClient

from backend.accounts.models import User
from backend.outbox.models import Mail
from tests.backend.conftest import PASSWORD

pytestmark = pytest.mark.django_db

NAMES = {
    "NUL": "ada\x00",
    "a line break": "ada\nroot",
    "right to left": "\u202eada",
    "zero width": "a\u200bda",
    "a soft hyphen": "a\u00adda",
    "Cyrillic": "аdа",
    "full width": "\uff41\uff44\uff41",
    "an accent of its own": "ada\u0301",
    "the Kelvin sign": "\u212aate",
    "an escape code": "ada\x1b[31m",
    "a blank inside": "a da",
    "an address": "ada@example.org",
    "markup": "<b>ada</b>",
    "a path": "../ada",
    "endless": "a" * 10_000,
    "one too long": "a" * 151,
    "nothing": "",
    "blanks": "   ",
    "a number": 7,
    "a list": ["ada"],
}
ADDRESSES = {
    "two of them": "ada@example.org,eve@example.org",
    "two with a semicolon": "ada@example.org;eve@example.org",
    "two with a blank": "ada@example.org eve@example.org",
    "a header": "ada@example.org\r\nBcc: eve@example.org",
    "a line break": "ada@example.org\n",
    "a name before it": "Ada <ada@example.org>",
    "NUL": "ada@example.org\x00",
    "no domain": "ada@",
    "endless": "a" * 10_000 + "@example.org",
    "a number": 7,
    "an object": {"address": "ada@example.org"},
}


def sign_up(**changes: Any) -> Any:
    body = {"username": "newcomer", "email": "newcomer@example.org", "password": PASSWORD} | changes
    return APIClient().post("/signup", body)


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_name_is_a_400_when_it_could_be_taken_for_another(user: User, client: APIClient, name: Any) -> None:
    for answer in (sign_up(username=name), client.patch("/me", {"username": name})):
        assert answer.status_code == 400, answer.content
    assert list(User.objects.values_list("username", flat=True)) == ["ada"]


@pytest.mark.parametrize("address", ADDRESSES.values(), ids=ADDRESSES)
def test_an_address_is_one_address(user: User, client: APIClient, address: Any) -> None:
    answers = [
        sign_up(email=address),
        client.patch("/me", {"email": address, "password": PASSWORD}),
        APIClient().post("/password/reset", {"email": address}),
        APIClient().post("/verify-email/resend", {"email": address}),
    ]
    if address == "ada@example.org\n":  # blanks around it are no part of it, and go
        assert [answer.status_code for answer in answers] == [201, 200, 202, 202]
        assert not Mail.objects.filter(to__contains="\n").exists()
        return
    assert [answer.status_code for answer in answers] == [400] * 4
    assert User.objects.count() == 1
    assert not Mail.objects.exists()


@pytest.mark.parametrize("name", ["ADA", "Ada", " ada "])
def test_a_name_in_another_case_is_taken(user: User, make_user: Any, client_of: Any, name: str) -> None:
    assert sign_up(username=name).status_code == 400
    other = client_of(make_user("berta"))
    assert other.patch("/me", {"username": name}).status_code == 400


def test_the_profile(user: User, client: APIClient) -> None:
    shown = client.get("/me").json()
    assert {"id", "username", "email", "is_verified", "first_name", "last_name", "is_staff"} <= set(shown)
    assert "password" not in shown
    changed = client.patch("/me", {"username": "ADA", "first_name": "Ada", "last_name": "Lovelace"})
    assert (changed.status_code, changed.json()["username"]) == (200, "ADA"), "one's own name in another case"
    refused = client.patch("/me", {"email": "new@example.org"})
    assert (refused.status_code, set(refused.json()["error"]["fields"])) == (400, {"password"})
    wrong = client.patch("/me", {"email": "new@example.org", "password": "wrong"})
    assert (wrong.status_code, set(wrong.json()["error"]["fields"])) == (400, {"password"})
    User.objects.update(is_verified=True)
    moved = client.patch("/me", {"email": "new@example.org", "password": PASSWORD})
    assert (moved.status_code, moved.json()["is_verified"]) == (200, False)
    kinds = {(mail.kind, mail.to) for mail in Mail.objects.all()}
    assert kinds == {("address_changed", "ada@example.org"), ("verify_email", "new@example.org")}
    for name in ("first_name", "last_name"):
        assert client.patch("/me", {name: "a\nb"}).status_code == 400
