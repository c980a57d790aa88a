"""Names and addresses that are none, or look like somebody else's."""

from __future__ import annotations

from typing import Any

import pytest
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient, APIRequestFactory
from rest_framework_simplejwt.exceptions import InvalidToken

from backend.accounts import links, services
from backend.accounts.models import User
from backend.accounts.selectors import by_email
from backend.api.errors import Conflict
from backend.outbox.models import Mail
from tests.backend.conftest import PASSWORD
from tests.backend.test_edges import check_error

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
    "the Kelvin sign": "\u212aate@example.org",
    "a long s": "\u017fam@example.org",
    "a domain of signs": "ada@\u2603\u200d.example",
    "one that is too long in ASCII": "ada@" + "\u00fc\u00e4" * 31 + ".example",
    "a number": 7,
    "an object": {"address": "ada@example.org"},
}


SPELLINGS = [
    "ada@b\u00fccher.example",
    "ada@B\u00dcCHER.example",
    "ada@\uff42\u00fccher.example",
    "Ada@XN--BCHER-KVA.example",
]


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


@pytest.mark.parametrize("kept", SPELLINGS)
def test_an_address_is_found_in_every_spelling(kept: str) -> None:
    assert sign_up(email=kept).status_code == 201
    user = User.objects.get()
    assert user.email.lower() == "ada@xn--bcher-kva.example"
    for number, asked in enumerate(SPELLINGS, 1):
        assert APIClient().post("/login", {"email": asked, "password": PASSWORD}).status_code == 200
        assert APIClient().post("/password/reset", {"email": asked}).status_code == 202
        assert Mail.objects.filter(kind="reset_password", to=user.email).count() == number
    services.verify_email(APIRequestFactory().post("/"), links.VERIFY.token(user))
    other = sign_up(username="another", email=SPELLINGS[1])
    assert other.status_code == 201
    assert Mail.objects.filter(kind="address_in_use").count() == 1


def test_mail_to_an_address_is_limited_whatever_its_spelling(settings: Settings) -> None:
    settings.ENV = settings.ENV.model_copy(update={"throttle_mail_to": "3/day"})
    sign_up(email=SPELLINGS[0])
    answers = [APIClient().post("/password/reset", {"email": spelling}) for spelling in SPELLINGS]
    assert [answer.status_code for answer in answers] == [202, 202, 429, 429]


def test_a_slow_change_does_not_carry_over_that_another_address_was_verified(user: User) -> None:
    """A change in the case of an address began when that one was hers, and ends after she has verified another one."""
    request = APIRequestFactory().patch("/me")
    User.objects.update(email="owner@example.org", is_verified=False)
    slow = User.objects.get()
    User.objects.update(email="ada@example.org", is_verified=True)
    with pytest.raises(Conflict):
        services.update_profile(request, slow, {"email": "OWNER@example.org"})
    assert User.objects.values_list("email", "is_verified").get() == ("ada@example.org", True)
    User.objects.update(password="another")
    with pytest.raises(Conflict):
        services.update_profile(request, slow, {"email": "OWNER@example.org"}, proven=True)
    changed = services.update_profile(request, slow, {"first_name": "Ada"})
    assert (changed.email, changed.is_verified, changed.first_name) == ("ada@example.org", True, "Ada")


def test_a_profile_whose_owner_is_gone_is_a_401(user: User) -> None:
    slow = User.objects.get()
    slow.delete()
    slow.pk = user.pk
    request = APIRequestFactory().patch("/me")
    with pytest.raises(InvalidToken):
        services.update_profile(request, slow, {"first_name": "Ada"})
    with pytest.raises(InvalidToken):
        services.make_api_key(slow, "ci", [], request=request)


@pytest.mark.parametrize("comes", ["before them", "after them"])
def test_who_claims_an_address_does_not_take_its_owners_mail(comes: str) -> None:
    names = [f"squatter{number}" for number in range(2 * services.MAILS_TOGETHER)]
    for name in ["owner", *names] if comes == "before them" else [*names, "owner"]:
        assert sign_up(username=name, email="owner@example.org").status_code == 201
    for path, kind in (("/password/reset", "reset_password"), ("/verify-email/resend", "verify_email")):
        Mail.objects.all().delete()
        assert APIClient().post(path, {"email": "owner@example.org"}).status_code == 202
        assert any(" owner" in mail.text for mail in Mail.objects.filter(kind=kind))
        assert Mail.objects.count() == 2 * services.MAILS_TOGETHER


def test_an_address_that_comes_past_every_form_has_its_spelling_too() -> None:
    User.objects.create_superuser("root", "root@b\u00fccher.example", PASSWORD)
    assert (
        APIClient().post("/login", {"email": SPELLINGS[2].replace("ada", "root"), "password": PASSWORD}).status_code
        == 200
    )
    assert by_email("root@xn--bcher-kva.example").exists()


@pytest.mark.django_db(transaction=True)
def test_an_account_that_is_erased_while_it_logs_in_is_a_401(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    from django.contrib.auth.hashers import check_password

    def slowly(password: str, encoded: str) -> bool:
        right = check_password(password, encoded)
        User.objects.all().delete()
        return right

    monkeypatch.setattr("backend.accounts.services.check_password", slowly)
    for number, password in enumerate((PASSWORD, "wrong")):
        User.objects.create_user(f"user{number}", f"user{number}@example.org", PASSWORD)
        answer = APIClient().post("/login", {"username": f"user{number}", "password": password})
        check_error(answer, 401, "invalid_credentials")
