"""Who did what, when, from where."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from rest_framework.test import APIClient

from backend.accounts.models import User
from backend.audit.models import Action, Event
from tests.backend.conftest import PASSWORD

pytestmark = pytest.mark.django_db
NEW = "seven-green-bicycles"


def test_every_deed_leaves_its_line(index: Any, folder: Any) -> None:
    client = APIClient(REMOTE_ADDR="192.0.2.44")
    client.post("/signup", {"username": "ada", "email": "ada@example.org", "password": PASSWORD})
    client.post("/login", {"username": "ada", "password": "wrong"})
    client.post("/login", {"username": "nobody", "password": "wrong"})
    pair = client.post("/login", {"username": "ada", "password": PASSWORD}).json()
    client.post("/password/reset", {"email": "ada@example.org"})
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {pair['access']}")
    client.patch("/me", {"first_name": "Ada"})
    key = client.post("/api-keys", {"name": "script"}).json()
    client.delete(f"/api-keys/{key['id']}")
    User.objects.update(is_staff=True)
    client.post("/sources", {"files": SimpleUploadedFile("a.md", b"# A\n\nText.")}, format="multipart")
    source = client.get("/sources").json()["results"][0]["id"]
    client.delete(f"/sources/{source}")
    client.post("/sources/sync", {})
    changed = client.post("/password/change", {"old_password": PASSWORD, "new_password": NEW}).json()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {changed['access']}")
    client.post("/logout", {})
    user = User.objects.get()
    lines = [(line.action, line.user, line.address) for line in Event.objects.order_by("id")]
    assert lines == [
        (action, None if action == "login_failed" and n == 2 else user, "192.0.2.44")
        for n, action in enumerate(
            [
                *("signup", "login_failed", "login_failed", "login", "reset_requested", "profile_changed"),
                *("key_made", "key_revoked", "source_uploaded", "source_deleted", "sync_requested"),
                *("password_changed", "logout"),
            ]
        )
    ]
    uploaded = Event.objects.get(action=Action.SOURCE_UPLOADED)
    assert uploaded.detail == {"paths": ["a.md"]}
    made = Event.objects.get(action=Action.KEY_MADE)
    assert made.detail == {"prefix": key["prefix"], "scopes": ["chat", "read"]}
    held = " ".join(str(line.detail) for line in Event.objects.all())
    for secret in (key["key"], PASSWORD, NEW, "wrong", pair["refresh"]):
        assert secret not in held


def test_the_admin_shows_the_log_and_changes_nothing(
    make_user: Callable[[str], User], client_of: Callable[[User], APIClient]
) -> None:
    root = make_user("root")
    User.objects.update(is_staff=True, is_superuser=True)
    client_of(root)
    pages = APIClient()
    pages.post("/admin/login/", {"username": "root", "password": PASSWORD}, format="multipart")
    listed = pages.get("/admin/audit/event/")
    assert listed.status_code == 200
    assert b"Login" in listed.content
    line = Event.objects.latest("id")
    assert pages.get(f"/admin/audit/event/{line.pk}/change/").status_code == 200
    assert pages.post(f"/admin/audit/event/{line.pk}/delete/", {"post": "yes"}, format="multipart").status_code == 403
    assert pages.get("/admin/audit/event/add/").status_code == 403
    assert Event.objects.filter(pk=line.pk).exists()
