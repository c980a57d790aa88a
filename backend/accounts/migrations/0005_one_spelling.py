"""Addresses have their domain in ASCII; the admin's log names no API key any more."""

from typing import Any

from django.db import migrations
from django.db.models.functions import Lower
from django.utils.encoding import punycode


def respell(apps: Any, schema_editor: Any) -> None:
    User = apps.get_model("accounts", "User")
    everybody = User.objects.order_by("pk").values_list("pk", "email", "is_verified").iterator()
    for pk, email, is_verified in [row for row in everybody if not row[1].isascii()]:
        local, at, domain = email.rpartition("@")
        try:
            respelled = f"{local}{at}{punycode(domain)}"  # where Django has sent mail, and it may have been verified
        except UnicodeError:
            continue
        if len(respelled) > 254:
            continue
        same = User.objects.annotate(lower=Lower("email")).filter(lower=respelled.lower(), is_verified=True)
        proven = is_verified and not same.exclude(pk=pk).exists()
        User.objects.filter(pk=pk).update(email=respelled, is_verified=proven)


def forget_names_of_keys(apps: Any, schema_editor: Any) -> None:
    LogEntry = apps.get_model("admin", "LogEntry")
    LogEntry.objects.filter(content_type__app_label="accounts", content_type__model="apikey").update(object_repr="")


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0004_no_token_blacklist"),
        ("admin", "0003_logentry_add_action_flag_choices"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]

    operations = [
        migrations.RunPython(respell, migrations.RunPython.noop),
        migrations.RunPython(forget_names_of_keys, migrations.RunPython.noop),
    ]
