"""The outbox: what is queued with a transaction, tried again by hand, written to files, and erased with its user."""

from __future__ import annotations

import json
import logging
import stat
from collections.abc import Callable
from datetime import timedelta
from email import message_from_bytes
from email.policy import default
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from backend.accounts.models import User
from backend.outbox import services
from backend.outbox.delivery import deliver
from backend.outbox.files import path_of
from backend.outbox.models import Mail, MailState
from backend.outbox.selectors import count_by_state
from backend.outbox.server import MailServer, read_email_url
from evals.smtp_server import MailCatcher
from tasks.jobs import outbox
from tests.backend.conftest import PASSWORD
from tests.backend.mails import LINK, hello, state_of, use

pytestmark = pytest.mark.django_db


@pytest.fixture
def mail_folder(settings: Settings, tmp_path: Path) -> Path:
    """Footnote has no mail server: this is where its mail goes."""
    use(settings, data_dir=tmp_path)
    return tmp_path / "mail"


# Queueing


@pytest.mark.django_db(transaction=True)
def test_mail_is_queued_with_its_transaction_or_not_at_all(settings: Settings) -> None:
    use(settings)
    heard: list[int] = []

    def hear(**about: Any) -> None:
        heard.append(Mail.objects.count())

    services.queued.connect(hear)
    with transaction.atomic():
        hello()
        transaction.set_rollback(True)
    assert (Mail.objects.count(), heard) == (0, [])
    with transaction.atomic():
        hello()
        assert heard == [], "nobody is woken for what may not come"
    assert heard == [1]


@pytest.mark.django_db(transaction=True)
def test_who_is_woken_cannot_spoil_what_was_queued(settings: Settings) -> None:
    use(settings)

    def fail(**about: Any) -> None:
        raise RuntimeError("as the test wants")

    services.queued.connect(fail)
    with transaction.atomic():
        hello()
    assert Mail.objects.count() == 1


@pytest.mark.parametrize(
    "to",
    [
        "",
        "ada",
        "ada@example.org\n",
        "ada@example.org\r\nBcc: eve@example.org",
        "ada@example.org, eve@example.org",
        "Ada <ada@example.org>",
        "ada@example.org\x00",
        "a" * 250 + "@example.org",
        "a@" + "b" * 60 + ("." + "c" * 60) * 3 + "." + "d" * 10,
    ],
)
def test_only_one_plain_address_is_taken(settings: Settings, to: str) -> None:
    use(settings)
    with pytest.raises(ValidationError):
        hello(to)
    assert not Mail.objects.exists()


def test_a_mail_of_a_name_is_queued_once_for_each_address(settings: Settings) -> None:
    use(settings)
    context = {"username": "ada", "link": LINK}
    said = [
        services.enqueue_once("report 2026-11-20", "hello", "ada@example.org", context),
        services.enqueue_once("report 2026-11-20", "hello", "ada@example.org", context),
        services.enqueue_once("report 2026-11-20", "hello", "bob@example.org", context),
        services.enqueue_once("report 2026-11-21", "hello", "ada@example.org", context),
    ]
    assert said == [True, False, True, True]
    hello()
    hello()
    assert Mail.objects.count() == 5, "mail without a name is never the same"


# Without a mail server


def test_without_a_mail_server_each_mail_is_a_file_and_its_link_is_logged(
    mail_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "backend")
    mail = hello()
    assert deliver().sent == 1
    (written,) = mail_folder.iterdir()
    assert written.name == f"{mail.pk}.eml"
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    assert stat.S_IMODE(mail_folder.stat().st_mode) == 0o700
    message = message_from_bytes(written.read_bytes(), policy=default)
    assert message["To"] == "ada@example.org"
    assert message["Message-ID"] == f"<{mail.pk}@localhost>", "the sender's host, as there is no PUBLIC_URL"
    assert f"its link: {LINK}" in caplog.text
    assert str(written) in caplog.text
    assert state_of(mail) == (MailState.SENT, 1, "")
    assert mail.text == ""


def test_in_production_no_link_is_logged_but_that_the_setting_is_missing(
    mail_folder: Path, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    use(settings, data_dir=mail_folder.parent, production=True)
    caplog.set_level(logging.DEBUG)
    mail = hello()
    assert deliver().sent == 1
    assert path_of(mail.pk).exists()
    assert "EMAIL_URL is missing" in caplog.text
    assert "token=" not in caplog.text
    assert "ada@example.org" not in caplog.text


def test_a_folder_that_cannot_be_written_keeps_the_mail(mail_folder: Path) -> None:
    mail_folder.write_text("a file is in the way")
    mail = hello()
    assert deliver().trouble
    state, _, error = state_of(mail)
    assert state == MailState.PENDING
    assert error
    mail_folder.unlink()
    Mail.objects.update(claimed_until=None)
    assert deliver().sent == 1


# Trying again, by hand


def kinds_of_mail() -> tuple[Mail, Mail, Mail, Mail]:
    """Waiting for its next try, dead, sent, and just being sent."""
    now = timezone.now()
    waiting, dead, sent, going = (hello(f"{name}@example.org") for name in ("waiting", "dead", "sent", "going"))
    waits = {"attempts": 3, "not_before": now + timedelta(hours=1), "error": "450 not now"}
    Mail.objects.filter(pk=waiting.pk).update(**waits)
    Mail.objects.filter(pk=dead.pk).update(state=MailState.DEAD, attempts=20, error="550 no such user")
    Mail.objects.filter(pk=sent.pk).update(state=MailState.SENT, sent_at=now, text="", html="")
    Mail.objects.filter(pk=going.pk).update(attempts=1, claimed_until=now + timedelta(minutes=1))
    return waiting, dead, sent, going


def test_what_can_be_tried_again_is(settings: Settings) -> None:
    use(settings)
    waiting, dead, sent, going = kinds_of_mail()
    assert services.requeue([mail.pk for mail in (waiting, dead, sent, going)] + [uuid4()]) == 2
    assert [state_of(mail)[:2] for mail in (waiting, dead)] == [(MailState.PENDING, 0)] * 2
    assert waiting.not_before <= timezone.now()
    assert state_of(sent)[0] == MailState.SENT
    assert state_of(going)[1] == 1


def test_all_dead_mails_are_tried_again_and_only_those(settings: Settings) -> None:
    use(settings)
    waiting, dead, _, _ = kinds_of_mail()
    assert services.requeue() == 1
    assert state_of(dead)[:2] == (MailState.PENDING, 0)
    assert state_of(waiting)[1] == 3


def manage(*arguments: str) -> str:
    out = StringIO()
    call_command("outbox", *arguments, stdout=out)
    return out.getvalue()


def test_the_command_tells_and_requeues(settings: Settings) -> None:
    use(settings)
    assert manage() == "0 pending, 0 sent, 0 dead\n"
    waiting, dead, sent, _ = kinds_of_mail()
    assert count_by_state() == {"pending": 2, "sent": 1, "dead": 1}
    assert json.loads(manage("--json")) == count_by_state()
    told = manage()
    assert f"{dead.pk}  dead     hello  to dead@example.org, 20 tries: 550 no such user" in told
    assert f"{waiting.pk}  pending" in told
    assert str(sent.pk) not in told
    assert LINK not in told
    assert "1 mails" in manage("--requeue", str(waiting.pk))
    with pytest.raises(CommandError, match=r"0 are tried again; 1 of these"):
        manage("--requeue", str(sent.pk))
    assert "1 mails" in manage("--dead")
    with pytest.raises(CommandError, match="invalid UUID value"):
        manage("--requeue", "everything")


def test_the_command_sends_a_test(settings: Settings, mail_catcher: MailCatcher, tmp_path: Path) -> None:
    use(settings, data_dir=tmp_path)
    assert "EMAIL_URL is not set: it is in" in manage("--test", "ada@example.org")
    use(settings, mail_catcher.url, data_dir=tmp_path)
    assert f"{mail_catcher.url} has taken it" in manage("--test", "ada@example.org")
    assert mail_catcher.accepted[0].to == "ada@example.org"
    mail_catcher.behave = lambda to, times: "550 5.1.1 no such user"
    with pytest.raises(CommandError, match=r"550 5\.1\.1 no such user"):
        manage("--test", "ada@example.org")
    mail_catcher.stop()
    with pytest.raises(CommandError, match="refused"):
        manage("--test", "ada@example.org")
    with pytest.raises(CommandError, match="valid email"):
        manage("--test", "ada")


@pytest.fixture
def admin(settings: Settings) -> Client:
    use(settings)
    client = Client()
    client.force_login(User.objects.create_superuser("root", "root@example.org", PASSWORD))
    return client


def test_the_admin_shows_what_became_of_mail_and_not_what_it_says(admin: Client) -> None:
    _, dead, _, _ = kinds_of_mail()
    listed = admin.get("/admin/outbox/mail/").content.decode()
    assert "550 no such user" in listed
    assert listed.count("@example.org") >= 4
    filtered = admin.get("/admin/outbox/mail/", {"state__exact": "dead"}).content.decode()
    assert "550 no such user" in filtered
    assert "450 not now" not in filtered
    shown = admin.get(f"/admin/outbox/mail/{dead.pk}/change/").content.decode()
    assert "550 no such user" in shown
    for page in (listed, shown):
        assert "token=" not in page
        assert "open this" not in page
    assert admin.get("/admin/outbox/mail/add/").status_code == 403


def test_the_admin_requeues(admin: Client) -> None:
    _, dead, sent, _ = kinds_of_mail()
    asked = {"action": "requeue", "_selected_action": [str(dead.pk), str(sent.pk)]}
    answer = admin.post("/admin/outbox/mail/", asked, follow=True)
    assert "1 of 2 mails are tried again" in answer.content.decode()
    assert state_of(dead)[:2] == (MailState.PENDING, 0)
    assert state_of(sent)[0] == MailState.SENT


def test_who_may_only_look_cannot_requeue(admin: Client, make_user: Callable[[str], User]) -> None:
    from django.contrib.auth.models import Permission

    looker = make_user("looker")
    looker.is_staff = True
    looker.save()
    looker.user_permissions.add(Permission.objects.get(codename="view_mail"))
    client = Client()
    client.force_login(looker)
    _, dead, _, _ = kinds_of_mail()
    assert client.get("/admin/outbox/mail/").status_code == 200
    client.post("/admin/outbox/mail/", {"action": "requeue", "_selected_action": [str(dead.pk)]})
    assert state_of(dead)[0] == MailState.DEAD


# Erasing


def test_erasing_an_account_leaves_neither_row_nor_file(mail_folder: Path, make_user: Callable[[str], User]) -> None:
    ada, eve = make_user("ada"), make_user("eve")
    ada.is_verified = True
    ada.save()
    hello(user=ada)
    hello("old-address@example.org", user=ada)
    hello("ADA@example.org")
    kept = hello("eve@example.org", user=eve)
    assert deliver().sent == 4
    hello(user=ada)
    assert services.erase_for(ada) == 4
    assert [mail.pk for mail in Mail.objects.all()] == [kept.pk]
    assert [file.name for file in mail_folder.iterdir()] == [f"{kept.pk}.eml"]


def test_erasing_an_account_takes_nobody_elses_mail(mail_folder: Path, make_user: Callable[[str], User]) -> None:
    """Whoever signed up with somebody's address cannot have her mail, nor an operator's, erased."""
    ada, squatter = make_user("ada"), make_user("squatter")
    squatter.email = ada.email
    squatter.save()
    kept = {hello(ada.email, user=ada).pk, hello(ada.email).pk}
    hello(ada.email, user=squatter)
    assert services.erase_for(squatter) == 1
    assert set(Mail.objects.values_list("pk", flat=True)) == kept


def test_rows_that_go_with_their_user_take_their_files_along(mail_folder: Path, user: User) -> None:
    hello(user=user)
    deliver()
    user.delete()
    assert not Mail.objects.exists()
    assert list(mail_folder.iterdir()) == []


def test_files_of_rows_that_are_gone_are_taken_away(mail_folder: Path) -> None:
    assert outbox.run() == {"sent": 0, "deferred": 0, "dead": 0}, "there is no folder yet"
    gone, kept = hello("gone@example.org"), hello("kept@example.org")
    deliver()
    other = mail_folder / "not-ours.eml"
    other.write_text("whatever")
    Mail.objects.filter(pk=gone.pk).delete()
    outbox.run()
    assert set(mail_folder.iterdir()) == {path_of(kept.pk), other}


def test_the_admin_deletes_mails_with_their_files(admin: Client, settings: Settings, tmp_path: Path) -> None:
    use(settings, data_dir=tmp_path)
    mails = [hello(f"user{number}@example.org") for number in range(3)]
    deliver()
    asked = {"action": "delete_selected", "_selected_action": [str(mails[0].pk), str(mails[1].pk)], "post": "yes"}
    admin.post("/admin/outbox/mail/", asked)
    admin.post(f"/admin/outbox/mail/{mails[2].pk}/delete/", {"post": "yes"})
    assert not Mail.objects.exists()
    assert list((tmp_path / "mail").iterdir()) == []


@pytest.mark.django_db(transaction=True)
def test_a_mail_that_is_erased_while_it_is_sent_leaves_no_file(
    mail_catcher: MailCatcher, settings: Settings, tmp_path: Path
) -> None:
    """Whoever writes a file looks afterwards whether its row is still there."""
    use(settings, mail_catcher.url, data_dir=tmp_path)
    mail = hello()
    path_of(mail.pk).parent.mkdir()

    def erase(to: str, times: int) -> str:
        Mail.objects.filter(pk=mail.pk).delete()
        connection.close()  # this thread's
        path_of(mail.pk).write_text("written a moment too late")
        return ""

    mail_catcher.behave = erase
    deliver()
    assert list((tmp_path / "mail").iterdir()) == []


def test_what_was_sent_is_forgotten_after_a_while(mail_folder: Path) -> None:
    old, new, pending = hello("old@example.org"), hello("new@example.org"), hello("pending@example.org")
    now = timezone.now()
    Mail.objects.filter(pk=pending.pk).update(not_before=now + timedelta(days=1))
    assert deliver().sent == 2
    Mail.objects.filter(pk=old.pk).update(sent_at=now - timedelta(days=8))
    assert services.forget_sent(now - timedelta(days=7)) == 1
    assert set(Mail.objects.values_list("pk", flat=True)) == {new.pk, pending.pk}
    assert [file.name for file in mail_folder.iterdir()] == [f"{new.pk}.eml"]


# EMAIL_URL


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("smtp://localhost:1025", MailServer("localhost", 1025, "none")),
        ("smtp://127.0.0.1", MailServer("127.0.0.1", 25, "none")),
        ("smtp://[::1]:1025", MailServer("::1", 1025, "none")),
        ("smtp://localhost:1025?tls=on", MailServer("localhost", 1025, "starttls")),
        ("smtp://mail.example.org", MailServer("mail.example.org", 587, "starttls")),
        ("smtp://mailpit:1025?tls=off", MailServer("mailpit", 1025, "none")),
        ("smtp://mailpit:1025/?tls=off&timeout=5", MailServer("mailpit", 1025, "none", timeout=5.0)),
        ("smtp://ada:s3cret@mail.example.org:2525", MailServer("mail.example.org", 2525, "starttls", "ada", "s3cret")),
        ("smtps://ada%40example.org:%3A%2F%40%23%25@mail.example.org",
         MailServer("mail.example.org", 465, "tls", "ada@example.org", ":/@#%")),
    ],
)  # fmt: skip
def test_a_url_names_a_mail_server(url: str, server: MailServer) -> None:
    assert read_email_url(url) == server


@pytest.mark.parametrize(
    "url",
    [
        "s3cret",
        "mail.example.org:587",
        "http://ada:s3cret@mail.example.org",
        "consolemail://",
        "smtp://",
        "smtp://ada:s3cret@",
        "smtp://ada:s3cret/tail@mail.example.org",
        "smtp://ada:s3cret#tail@mail.example.org",
        "smtp://ada:s3cret@mail.example.org:port",
        "smtp://ada:s3cret@mail.example.org:99999",
        "smtp://ada:s3cret@mail.example.org/inbox",
        "smtp://s3cret@mail.example.org",
        "smtp://ada:s3cret@mail.example.org?tls=perhaps",
        "smtps://ada:s3cret@mail.example.org?tls=off",
        "smtp://ada:s3cret@mail.example.org?ssl=on",
        "smtp://ada:s3cret@mail.example.org?timeout=soon",
        "smtp://ada:s3cret@mail.example.org?timeout=0",
        "smtp://ada:s3cret@mail.example.org?timeout=inf",
        "smtp://ada:s3cret@mail.example.org?timeout=nan",
    ],
)
def test_a_url_that_names_none_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(ValueError, match=r"\w") as error:
        read_email_url(url)
    for secret in ("s3cret", "ada", "tail"):
        assert secret not in str(error.value)


def test_a_mail_server_is_shown_without_its_password() -> None:
    server = read_email_url("smtps://ada:s3cret@mail.example.org")
    assert str(server) == "smtps://mail.example.org:465"
    assert "s3cret" not in repr(server)
