"""What migrations do with rows that are there."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType

from backend.accounts.models import ApiKey, User

pytestmark = pytest.mark.django_db
one_spelling: Any = import_module("backend.accounts.migrations.0005_one_spelling")


def test_addresses_get_one_spelling_and_one_owner() -> None:
    given = [
        ("first", "Ada@B\u00dcCHER.example", True),
        ("second", "ada@\uff42\u00fccher.example", True),
        ("third", "ada@b\u00fccher.example", False),
        ("plain", "Ada@Example.org", True),
        ("sharp", "ada@stra\u00dfe.example", True),
        ("heart", "ada@i\u2764.example", True),
        ("unreachable", "\u212aate@example.org", True),
        ("long", "a" * 60 + "@" + ".".join(["\u00fc" * 20] * 9), True),
        ("none", "", False),
    ]
    for name, email, is_verified in given:
        User.objects.create(username=name)
        User.objects.filter(username=name).update(email=email, is_verified=is_verified)
    one_spelling.respell(apps, None)
    kept = {user.username: (user.email, user.is_verified) for user in User.objects.all()}
    assert kept == {name: (email, verified) for name, email, verified in given} | {
        "first": ("Ada@xn--bcher-kva.example", True),
        "second": ("ada@xn--bcher-kva.example", False),
        "third": ("ada@xn--bcher-kva.example", False),
        "sharp": ("ada@strasse.example", True),
        "heart": ("ada@xn--i-7iq.example", True),
    }
    one_spelling.respell(apps, None)
    assert kept == {user.username: (user.email, user.is_verified) for user in User.objects.all()}


def test_the_log_forgets_how_keys_were_called() -> None:
    user = User.objects.create(username="ada")
    for model, text in ((ApiKey, "fn_abcdefgh\u2026 (Ada's script)"), (User, "ada")):
        LogEntry.objects.create(
            user=user,
            content_type=ContentType.objects.get_for_model(model),
            object_id="1",
            object_repr=text,
            action_flag=CHANGE,
            change_message="",
        )
    one_spelling.forget_names_of_keys(apps, None)
    assert sorted(entry.object_repr for entry in LogEntry.objects.all()) == ["", "ada"]
