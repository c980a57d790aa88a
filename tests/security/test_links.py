"""The links of mails: verification and reset, and the pages that they open."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core import signing
from django.utils import timezone
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from backend.accounts.models import User
from backend.audit.models import Action, Event
from backend.outbox.models import Mail
from tests.backend.conftest import PASSWORD

pytestmark = pytest.mark.django_db
NEW = "seven-green-bicycles"
MARIA = {"username": "maria", "email": "maria@example.org", "password": PASSWORD}


def mailed_token(kind: str) -> str:
    """The token in the latest mail of this kind; the text and the HTML hold the same link."""
    mail = Mail.objects.filter(kind=kind).latest("id")
    found = re.search(r"http://127\.0\.0\.1:8000(/[a-z/-]+)\?token=(\S+)", mail.text)
    assert found
    assert found[0] in mail.html
    assert found[1] == {"verify_email": "/verify-email", "reset_password": "/password/reset/confirm"}[kind]
    return found[2]


def sign_up(**changes: Any) -> Any:
    return APIClient().post("/signup", MARIA | changes)


def verify(token: str) -> Any:
    return APIClient().post("/verify-email", {"token": token})


def reset(token: str, password: str = NEW) -> Any:
    return APIClient().post("/password/reset/confirm", {"token": token, "new_password": password})


def log_in(name: str, password: str) -> int:
    return int(APIClient().post("/login", {"username": name, "password": password}).status_code)


def test_signup_queues_the_mail_that_verifies_the_address() -> None:
    assert sign_up().status_code == 201
    mail = Mail.objects.get()
    assert (mail.kind, mail.to, mail.state) == ("verify_email", "maria@example.org", "pending")
    done = verify(mailed_token("verify_email"))
    assert (done.status_code, done.json()["is_verified"]) == (200, True)
    assert User.objects.get().is_verified
    assert Event.objects.filter(action=Action.EMAIL_VERIFIED).count() == 1


def test_a_signup_that_fails_leaves_no_mail() -> None:
    sign_up()
    Mail.objects.all().delete()
    assert sign_up(email="other@example.org").status_code == 400
    assert not Mail.objects.exists()


def bad_links(kind: str, use: Callable[[str], Any], make_user: Callable[[str], User]) -> dict[str, str]:
    """Everything a link can be but good, by what is wrong with it."""
    token = mailed_token(kind)
    tampered = {f"without its byte {place}": token[:place] + token[place + 1 :] for place in (0, 5, len(token) // 2)}
    salt = {"verify_email": "footnote.verify-email", "reset_password": "footnote.reset-password"}[kind]
    berta = make_user("berta")
    _, state = signing.loads(token, salt=salt)
    return tampered | {
        "nothing like it": "nonsense",
        "colons": ":::",
        "signed for something else": signing.dumps([berta.pk, state], salt="footnote.other"),
        "somebody else's state": signing.dumps([berta.pk, state], salt=salt),
        "no list": signing.dumps({"user": berta.pk}, salt=salt),
        "no user": signing.dumps(["x", state], salt=salt),
        "no state": signing.dumps([berta.pk, None], salt=salt),
    }


@pytest.mark.parametrize(("kind", "use"), [("verify_email", verify), ("reset_password", reset)])
def test_every_bad_link_is_a_400_of_one_text(
    kind: str, use: Callable[[str], Any], make_user: Callable[[str], User]
) -> None:
    sign_up()
    APIClient().post("/password/reset", {"email": MARIA["email"]})
    answers = [use(token) for token in bad_links(kind, use, make_user).values()]
    good = mailed_token(kind)
    assert use(good).status_code == 200
    answers.append(use(good))  # again
    assert {answer.status_code for answer in answers} == {400}
    assert len({answer.content for answer in answers}) == 1
    assert set(answers[0].json()["error"]["fields"]) == {"token"}
    assert not User.objects.get(username="berta").is_verified


@pytest.mark.parametrize(
    ("kind", "use", "lifetime"),
    [("verify_email", verify, timedelta(days=3)), ("reset_password", reset, timedelta(hours=1))],
)
def test_links_expire(
    kind: str, use: Callable[[str], Any], lifetime: timedelta, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign_up()
    APIClient().post("/password/reset", {"email": MARIA["email"]})
    token = mailed_token(kind)
    now = timezone.now().timestamp()
    monkeypatch.setattr("django.core.signing.time.time", lambda: now + lifetime.total_seconds() + 5)
    assert use(token).status_code == 400
    monkeypatch.setattr("django.core.signing.time.time", lambda: now + lifetime.total_seconds() - 5)
    assert use(token).status_code == 200


def test_a_link_for_an_address_that_was_left_is_dead(client: APIClient, user: User) -> None:
    APIClient().post("/verify-email/resend", {"email": user.email})
    token = mailed_token("verify_email")
    assert client.patch("/me", {"email": "new@example.org", "password": PASSWORD}).status_code == 200
    assert verify(token).status_code == 400
    assert verify(mailed_token("verify_email")).status_code == 200


def test_a_link_of_a_deactivated_account_is_dead() -> None:
    sign_up()
    token = mailed_token("verify_email")
    User.objects.update(is_active=False)
    assert verify(token).status_code == 400


def test_the_link_is_sent_again_to_who_waits_for_it_alone() -> None:
    sign_up()
    first = mailed_token("verify_email")
    assert APIClient().post("/verify-email/resend", {"email": "MARIA@example.org"}).status_code == 202
    assert Mail.objects.count() == 2
    assert verify(mailed_token("verify_email")).status_code == 200
    assert verify(first).status_code == 400, "one use of either is the use of both"
    assert APIClient().post("/verify-email/resend", {"email": MARIA["email"]}).status_code == 202
    assert Mail.objects.count() == 2, "there is nothing to verify any more"


def test_a_reset_sets_the_password_and_ends_every_login() -> None:
    sign_up()
    tokens = APIClient().post("/login", MARIA).json()
    assert APIClient().post("/password/reset", {"email": MARIA["email"]}).status_code == 202
    token = mailed_token("reset_password")
    weak = reset(token, "12345678")
    assert (weak.status_code, set(weak.json()["error"]["fields"])) == (400, {"new_password"})
    assert reset(token).status_code == 200
    assert (log_in("maria", PASSWORD), log_in("maria", NEW)) == (401, 200)
    assert APIClient(HTTP_AUTHORIZATION=f"Bearer {tokens['access']}").get("/me").status_code == 401
    assert APIClient().post("/token/refresh", {"refresh": tokens["refresh"]}).status_code == 401
    assert User.objects.get().is_verified, "who got the mail owns the address"
    assert Mail.objects.filter(kind="password_changed").count() == 1
    assert Event.objects.filter(action=Action.PASSWORD_RESET).count() == 1


def test_of_two_links_one_use_is_the_last() -> None:
    sign_up()
    for _ in range(2):
        APIClient().post("/password/reset", {"email": MARIA["email"]})
    first, second = (
        re.search(r"token=(\S+)", mail.text)[1]  # type: ignore[index]
        for mail in Mail.objects.filter(kind="reset_password")
    )
    assert (reset(first).status_code, reset(second).status_code) == (200, 400)


def test_verified_is_required_where_it_is_said_so(settings: Settings) -> None:
    settings.ENV = settings.ENV.model_copy(update={"require_verified_email": True})
    sign_up()
    refused = APIClient().post("/login", MARIA)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "email_not_verified")
    assert log_in("maria", "wrong") == 401, "only who knows the password is told"
    verify(mailed_token("verify_email"))
    assert log_in("maria", PASSWORD) == 200


def test_links_lead_where_the_operator_says_not_where_a_request_says(settings: Settings) -> None:
    settings.ENV = settings.ENV.model_copy(update={"public_url": "https://chat.example.org"})
    settings.ALLOWED_HOSTS = ["*"]
    APIClient(HTTP_HOST="evil.example", HTTP_X_FORWARDED_HOST="evil.example").post("/signup", MARIA)
    mail = Mail.objects.get()
    assert "https://chat.example.org/verify-email?token=" in mail.text
    assert "evil" not in mail.text + mail.html


@pytest.mark.parametrize("path", ["/verify-email", "/password/reset/confirm"])
def test_the_page_of_a_link_has_a_button_and_changes_nothing_by_itself(path: str) -> None:
    sign_up()
    APIClient().post("/password/reset", {"email": MARIA["email"]})
    kind = "verify_email" if path == "/verify-email" else "reset_password"
    token = mailed_token(kind)
    page = APIClient().get(f"{path}?token={token}")
    assert page.status_code == 200
    assert page["Content-Type"].startswith("text/html")
    assert page["Referrer-Policy"] == "no-referrer"
    assert "default-src 'none'" in page["Content-Security-Policy"]
    assert f'value="{token}"' in page.content.decode()
    assert not User.objects.get().is_verified, "whatever looks at links in mails has not used it up"
    form = {"token": token, "new_password": NEW}
    bad = APIClient().post(path, form | {"token": "nonsense"}, format="multipart")
    assert bad.status_code == 415
    encoded = "application/x-www-form-urlencoded"
    rest = "" if path == "/verify-email" else f"&new_password={NEW}"
    bad = APIClient().post(path, f"token=<script>{rest}", content_type=encoded)
    assert bad.status_code == 400
    assert b"This link is not valid" in bad.content
    assert b"<script>" not in bad.content
    large = APIClient().post(path, f"token={'x' * 1_000_001}{rest}", content_type=encoded)
    assert large.status_code == 413
    assert large["Content-Type"].startswith("text/html")
    good = APIClient().post(path, f"token={token}{rest}", content_type=encoded)
    assert good.status_code == 200
    assert b"Your " in good.content
    assert User.objects.get().is_verified
