"""Proxies, headers, cookies, other origins; what production asks for; what the log holds."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from backend.accounts.models import User
from backend.api.addresses import client_of, network_of, networks
from backend.audit.models import Action, Event
from backend.environment import BASE_DIR, read_environment
from tests.backend.conftest import PASSWORD

pytestmark = pytest.mark.django_db
GOOD_KEY = "n2Fv8sQ1pLx7Zr4Tb9Wc3Yd6Me5Kg0Hj-aQ3xV8mB2nC7kL1pR6tY"
PROXIES = networks(("10.0.0.0/8", "2001:db8:99::/48"))


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("10.0.0.1", "192.0.2.7", "192.0.2.7"),
        ("10.0.0.1", "198.51.100.1, 192.0.2.7", "192.0.2.7"),  # the first was written by the client itself
        ("10.0.0.1", "198.51.100.1, 192.0.2.7, 10.0.0.2", "192.0.2.7"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "unknown", "10.0.0.1"),
        ("10.0.0.1", "192.0.2.7, nonsense", "10.0.0.1"),
        ("10.0.0.1", "192.0.2.7\r\nX: y", "10.0.0.1"),
        ("10.0.0.1", "192.0.2.7:4711", "192.0.2.7"),
        ("10.0.0.1", "[2001:db8::1]:4711", "2001:db8::1"),
        ("2001:db8:99::1", "::ffff:192.0.2.7", "192.0.2.7"),
    ],
)
def test_the_client_is_the_last_one_that_is_no_proxy_of_ours(peer: str, forwarded: str, client: str) -> None:
    assert client_of(peer, forwarded, PROXIES) == client


def test_of_ipv6_a_network_is_one_client() -> None:
    assert network_of("192.0.2.1") == "192.0.2.1"
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:1") != network_of("2001:db8:0:1::1")
    assert network_of("") == network_of("nonsense") == ""


@pytest.mark.parametrize(("proxies", "noted"), [([], "192.0.2.9"), (["192.0.2.9"], "203.0.113.5")])
def test_a_forged_header_is_believed_from_a_known_proxy_only(
    user: User, settings: Settings, proxies: list[str], noted: str
) -> None:
    settings.ENV = settings.ENV.model_copy(update={"trusted_proxies": proxies})
    client = APIClient(REMOTE_ADDR="192.0.2.9", HTTP_X_FORWARDED_FOR="198.51.100.1, 203.0.113.5")
    client.post("/login", {"username": "ada", "password": "wrong"})
    assert Event.objects.get(action=Action.LOGIN_FAILED).address == noted


def test_forged_addresses_do_not_get_round_a_throttle(user: User, settings: Settings) -> None:
    settings.ENV = settings.ENV.model_copy(update={"throttle_login": "5/minute"})
    answers = [
        APIClient(REMOTE_ADDR="192.0.2.9", HTTP_X_FORWARDED_FOR=f"203.0.113.{number}").post(
            "/login", {"username": f"user{number}", "password": "wrong"}
        )
        for number in range(6)
    ]
    assert [answer.status_code for answer in answers] == [401] * 5 + [429]


@pytest.mark.parametrize("path", ["/healthz", "/chat-history", "/nowhere", "/schema", "/docs", "/admin/login/"])
def test_every_answer_has_its_headers_and_none_a_cookie(path: str) -> None:
    answer = APIClient(HTTP_ACCEPT="text/html").get(path)
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["X-Frame-Options"] == "DENY"
    assert answer["Referrer-Policy"] == "same-origin"
    if path != "/docs":  # Swagger UI signs in through windows of its own
        assert answer["Cross-Origin-Opener-Policy"] == "same-origin"
    policy = answer["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in policy
    assert "default-src 'self'" in policy
    assert "no-store" in answer["Cache-Control"]
    if path != "/admin/login/":
        assert not answer.cookies


def test_the_admins_cookies_are_strict(user: User) -> None:
    User.objects.update(is_staff=True, is_superuser=True)
    client = APIClient()
    page = client.get("/admin/login/")
    assert page.cookies["csrftoken"]["samesite"] == "Strict"
    done = client.post("/admin/login/", {"username": "ada", "password": PASSWORD}, format="multipart")
    assert done.status_code == 302
    assert (done.cookies["sessionid"]["samesite"], done.cookies["sessionid"]["httponly"]) == ("Strict", True)
    assert Event.objects.filter(action=Action.LOGIN, user=user, detail={"admin": True}).exists()


def test_the_admins_login_waits_as_the_apis_does(user: User) -> None:
    User.objects.update(is_staff=True, is_superuser=True)
    client = APIClient()
    for _ in range(7):
        client.post("/admin/login/", {"username": "ada", "password": "wrong"}, format="multipart")
    refused = client.post("/admin/login/", {"username": "ada", "password": PASSWORD}, format="multipart")
    assert refused.status_code == 200, "the form again"
    assert APIClient().post("/login", {"username": "ada", "password": PASSWORD}).status_code == 429


@pytest.mark.parametrize("method", ["get", "options"])
def test_other_origins_are_shut_out(method: str) -> None:
    headers = {"HTTP_ORIGIN": "https://evil.example", "HTTP_ACCESS_CONTROL_REQUEST_METHOD": "POST"}
    answer = getattr(APIClient(), method)("/chat", **headers)
    assert not [name for name in answer.headers if name.lower().startswith("access-control-")]


def test_an_origin_that_is_allowed_gets_in_without_credentials(settings: Settings) -> None:
    settings.CORS_ALLOWED_ORIGINS = ["https://app.example.org"]
    asked: Any = {
        "HTTP_ACCESS_CONTROL_REQUEST_METHOD": "POST",
        "HTTP_ACCESS_CONTROL_REQUEST_HEADERS": "authorization, idempotency-key",
    }
    answer = APIClient().options("/chat", HTTP_ORIGIN="https://app.example.org", **asked)
    assert answer["Access-Control-Allow-Origin"] == "https://app.example.org"
    assert "idempotency-key" in answer["Access-Control-Allow-Headers"]
    assert "Access-Control-Allow-Credentials" not in answer.headers
    assert (
        "Retry-After"
        in APIClient().get("/healthz", HTTP_ORIGIN="https://app.example.org")["Access-Control-Expose-Headers"]
    )
    for origin in ("https://app.example.org.evil.example", "http://app.example.org", "null"):
        assert "Access-Control-Allow-Origin" not in APIClient().get("/healthz", HTTP_ORIGIN=origin).headers
    assert "Access-Control-Allow-Origin" not in (
        APIClient().get("/admin/login/", HTTP_ORIGIN="https://app.example.org").headers
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CORS_ALLOWED_ORIGINS", "*"),
        ("CORS_ALLOWED_ORIGINS", "app.example.org"),
        ("CORS_ALLOWED_ORIGINS", "https://app.example.org/path"),
        ("TRUSTED_PROXIES", "proxy.example.org"),
        ("TRUSTED_PROXIES", "10.0.0.0/99"),
        ("THROTTLE_CHAT", "many"),
        ("THROTTLE_LOGIN", "10/fortnight"),
        ("PUBLIC_URL", "chat.example.org"),
        ("PUBLIC_URL", "https://chat.example.org/path"),
    ],
)
def test_a_bad_setting_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    monkeypatch.setenv(name, value)
    with pytest.raises(ImproperlyConfigured, match=name):
        read_environment()


def manage(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    command = [sys.executable, "-W", "ignore", "manage.py", *arguments]
    return subprocess.run(
        command, cwd=BASE_DIR, env=kept | environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_the_deployment_check_is_clean_in_production(tmp_path: Path) -> None:
    given = {"DEBUG": "off", "SECRET_KEY": GOOD_KEY, "ALLOWED_HOSTS": "chat.example.org", "DATA_DIR": str(tmp_path)}
    done = manage("check", "--deploy", "--fail-level", "WARNING", **given)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert "no issues" in done.stdout


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "SECRET_KEY is missing"),
        ({"SECRET_KEY": "short"}, "SECRET_KEY is too weak"),
        ({"SECRET_KEY": "x" * 60}, "SECRET_KEY is too weak"),
        ({"SECRET_KEY": "django-insecure-" + GOOD_KEY}, "SECRET_KEY is too weak"),
        ({"SECRET_KEY": GOOD_KEY}, "ALLOWED_HOSTS is empty"),
        ({"SECRET_KEY": GOOD_KEY, "SECRET_KEY_FALLBACKS": "short"}, "SECRET_KEY_FALLBACKS"),
    ],
)
def test_production_does_not_start_without_its_secrets(tmp_path: Path, given: dict[str, str], told: str) -> None:
    done = manage("serve", DEBUG="off", DATA_DIR=str(tmp_path), **given)
    assert done.returncode != 0
    assert told in done.stderr


def test_no_password_token_key_or_message_gets_into_the_log(
    caplog: pytest.LogCaptureFixture, user: User, index: Any
) -> None:
    caplog.set_level(logging.DEBUG)
    secrets = ["a-password-to-look-for", "wrong-password-to-look-for", "a-question-to-look-for"]
    body = {"username": "maria", "email": "maria@example.org", "password": secrets[0]}
    assert APIClient().post("/signup", body).status_code == 201
    APIClient().post("/login", {"username": "maria", "password": secrets[1]})
    pair = APIClient().post("/login", {"username": "maria", "password": secrets[0]}).json()
    client = APIClient(HTTP_AUTHORIZATION=f"Bearer {pair['access']}")
    key = client.post("/api-keys", {"name": "script"}).json()["key"]
    assert client.post("/chat", {"message": secrets[2]}).status_code == 200
    APIClient(HTTP_AUTHORIZATION=f"Bearer {key}x").get("/search?q=a")
    APIClient(HTTP_AUTHORIZATION=f"Bearer {pair['access']}x").get("/search?q=a")
    client.post("/password/change", {"old_password": secrets[0], "new_password": "another-to-look-for"})
    APIClient().post("/token/refresh", {"refresh": pair["refresh"]})
    logged = "\n".join(f"{record.getMessage()} {record.exc_text or ''}" for record in caplog.records)
    for secret in (*secrets, "another-to-look-for", key, pair["access"], pair["refresh"]):
        assert secret not in logged
