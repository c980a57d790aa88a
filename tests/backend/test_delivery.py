"""Mail goes out: over real SMTP, to a server that misbehaves, and nothing is lost or sent twice without need."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import trustme
from django.db import connection
from django.utils import timezone
from pytest_django.fixtures import Settings

from backend.environment import BASE_DIR, Environment
from backend.outbox import services
from backend.outbox.delivery import GIVE_UP, TRIES, deliver, pause_after
from backend.outbox.models import Mail, MailState
from evals.smtp_server import MailCatcher, running_mail_catcher
from tests.backend.mails import LINK, Clock, hello, state_of, use

pytestmark = pytest.mark.django_db
PATIENCE = 60.0  # seconds; far above what it takes, so that a busy machine fails nothing


@pytest.fixture
def catcher(mail_catcher: MailCatcher, settings: Settings) -> MailCatcher:
    """The mail server, and Footnote sends by it."""
    use(settings, mail_catcher.url, public_url="https://chat.example.org")
    return mail_catcher


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_mail_arrives_as_text_and_html_and_is_emptied(catcher: MailCatcher) -> None:
    mail = hello(username="ada <b>")
    done = deliver()
    assert (done.sent, done.deferred, done.dead, done.trouble) == (1, 0, 0, "")
    (arrived,) = catcher.accepted
    assert (arrived.to, arrived.sender) == ("ada@example.org", "footnote@localhost")
    headers = arrived.message
    assert headers["Subject"] == "Hello ada <b>"
    assert headers["To"] == "ada@example.org"
    assert headers["From"] == "Footnote <footnote@localhost>"
    assert headers["Message-ID"] == f"<{mail.pk}@chat.example.org>"
    assert headers["Auto-Submitted"] == "auto-generated"
    assert headers["Date"].datetime == mail.created_at.replace(microsecond=0)
    assert not [name for name in headers if name.lower().startswith("list-")]
    assert f"open this: {LINK}\n" in arrived.text(), "nothing is escaped in plain text"
    page = arrived.text("html")
    assert "Hello ada &lt;b&gt;" in page
    assert 'href="https://chat.example.org/verify?token=a&amp;b=c"' in page
    for loads in ("src=", "<img", "<link", "url(", "<script"):
        assert loads not in page
    assert state_of(mail) == (MailState.SENT, 1, "")
    assert (mail.text, mail.html, mail.claimed_until) == ("", "", None)
    assert mail.sent_at is not None
    assert deliver().sent == 0
    assert len(catcher.accepted) == 1


def test_mails_share_a_session_and_the_longest_waiting_goes_first(catcher: MailCatcher) -> None:
    for number in range(5):
        hello(f"user{number}@example.org")
    assert deliver().sent == 5
    assert [mail.to for mail in catcher.accepted] == [f"user{number}@example.org" for number in range(5)]
    assert catcher.sessions == 1


def test_an_address_of_another_alphabet_is_written_so_that_every_server_takes_it(catcher: MailCatcher) -> None:
    hello("ada@bücher.example", username="Zoë\u2028\r\nBcc: eve@example.org")
    assert deliver().sent == 1
    (arrived,) = catcher.accepted
    assert arrived.to == "ada@xn--bcher-kva.example"
    assert arrived.message["Subject"] == "Hello Zoë Bcc: eve@example.org"
    assert arrived.message["Bcc"] is None


@pytest.mark.parametrize(
    ("fate", "state", "said"),
    [
        ("450 greylisted, come again", MailState.PENDING, "450 greylisted, come again"),
        ("550 no such user", MailState.DEAD, "550 no such user"),
        ("550 \x00\x1b[31mno\x07 such user", MailState.DEAD, "550 [31mno such user"),
        ("data 451 try later", MailState.PENDING, "451 try later"),
        ("data 554 this is spam", MailState.DEAD, "554 this is spam"),
        ("drop", MailState.PENDING, "Connection unexpectedly closed"),
        ("hang", MailState.PENDING, "timed out"),
        ("drip", MailState.PENDING, "Connection unexpectedly closed"),
    ],
)
def test_what_a_server_does_to_one_mail_leaves_the_others_alone(
    catcher: MailCatcher, settings: Settings, clock: Clock, fate: str, state: MailState, said: str
) -> None:
    if fate in ("hang", "drip"):
        use(settings, catcher.url + "?timeout=1")
    catcher.behave = lambda to, times: fate if to.startswith("bad") and times == 0 else ""
    others = [hello("first@example.org")]
    bad = hello("bad@example.org")
    others.append(hello("last@example.org"))
    clock.wind(seconds=1)
    deliver(clock)
    assert [state_of(mail)[0] for mail in others] == [MailState.SENT, MailState.SENT]
    stored, attempts, error = state_of(bad)
    assert (stored, attempts) == (state, 1)
    assert said in error
    assert bad.text, "it may be tried again"
    if state == MailState.DEAD:
        clock.wind(days=10)
        assert deliver(clock).sent == 0, "refused for good"
        assert services.requeue([bad.pk]) == 1
    else:
        assert timedelta(seconds=15) < bad.not_before - clock.now < timedelta(seconds=45)
        assert deliver(clock).sent == 0, "not before its time"
        clock.now = bad.not_before
    clock.now = max(clock.now, timezone.now())
    assert deliver(clock).sent == 1
    assert state_of(bad)[0] == MailState.SENT
    assert catcher.doubled() == 0


def test_a_mail_whose_acceptance_was_not_heard_comes_twice_under_one_id(catcher: MailCatcher, clock: Clock) -> None:
    catcher.behave = lambda to, times: "drop after" if times == 0 else ""
    mail = hello()
    clock.wind(seconds=1)
    assert deliver(clock).deferred == 1
    clock.wind(minutes=1)
    assert deliver(clock).sent == 1
    first, second = catcher.accepted
    assert first.message_id == second.message_id == f"<{mail.pk}@chat.example.org>"
    assert first.message["Date"] == second.message["Date"]


def test_an_hour_without_a_server_loses_nothing_and_costs_no_try(catcher: MailCatcher, clock: Clock) -> None:
    catcher.stop()
    mails = [hello(f"user{number}@example.org") for number in range(20)]
    clock.wind(seconds=1)
    for _ in range(60):
        assert "refused" in deliver(clock).trouble
        clock.wind(minutes=1)
    for mail in mails:
        state, attempts, error = state_of(mail)
        assert (state, attempts) == (MailState.PENDING, 0)
        assert "refused" in error, "the admin can see why it waits"
    catcher.start()
    assert deliver(clock).sent == 20, "at once, nobody waits for a pause to end"
    assert sorted(arrived.to for arrived in catcher.accepted) == sorted(mail.to for mail in mails)
    assert {state_of(mail) for mail in mails} == {(MailState.SENT, 1, "")}


def test_after_two_days_without_a_server_mail_is_dead_and_can_be_requeued(catcher: MailCatcher, clock: Clock) -> None:
    catcher.stop()
    mails = [hello(f"user{number}@example.org") for number in range(3)]
    clock.now += GIVE_UP
    assert deliver(clock).dead == 0
    clock.wind(minutes=1)
    assert deliver(clock).dead == 3
    assert {state_of(mail)[0] for mail in mails} == {MailState.DEAD}
    catcher.start()
    assert deliver(clock).sent == 0
    assert services.requeue() == 3
    assert deliver(clock).sent == 3


def test_what_is_put_off_for_ever_is_dead_after_about_two_days(catcher: MailCatcher, clock: Clock) -> None:
    catcher.behave = lambda to, times: "450 not now"
    mail = hello()
    clock.wind(seconds=1)
    began = clock.now
    pauses = []
    while deliver(clock).dead == 0:
        mail.refresh_from_db()
        pauses.append(mail.not_before - clock.now)
        clock.now = mail.not_before
    assert state_of(mail) == (MailState.DEAD, TRIES, "450 not now")
    assert timedelta(days=1) < clock.now - began < timedelta(days=3)
    assert all(later > sooner for sooner, later in zip(pauses[:8], pauses[2:10], strict=True))
    assert catcher.accepted == []


def test_pauses_double_spread_and_are_bounded() -> None:
    assert pause_after(1, 0.5) == timedelta(seconds=30)
    assert pause_after(2, 0.5) == timedelta(seconds=60)
    assert pause_after(1, 0.0) < pause_after(1, 0.5) < pause_after(1, 0.999) < timedelta(seconds=38)
    assert pause_after(TRIES, 0.5) == timedelta(hours=4)


def test_a_server_that_ends_each_session_after_a_while_is_asked_for_another(catcher: MailCatcher) -> None:
    said = iter(["", "", "421 enough for one session"] * 3)
    catcher.behave = lambda to, times: next(said)
    for number in range(5):
        hello(f"user{number}@example.org")
    done = deliver()
    assert (done.sent, done.trouble) == (5, "")
    assert catcher.sessions == 3
    assert set(Mail.objects.values_list("attempts", flat=True)) == {1}


def test_a_server_that_takes_nothing_is_left_alone_for_this_round(catcher: MailCatcher) -> None:
    catcher.behave = lambda to, times: "421 shutting down"
    mails = [hello(f"user{number}@example.org") for number in range(5)]
    assert "421 shutting down" in deliver().trouble
    assert sum(catcher.named.values()) == 1
    assert {state_of(mail)[:2] for mail in mails} == {(MailState.PENDING, 0)}


def test_a_mail_that_ends_every_session_holds_up_no_other(catcher: MailCatcher, clock: Clock) -> None:
    catcher.behave = lambda to, times: "data 421 4.7.0 closing" if to.startswith("bad") else ""
    bad = hello("bad@example.org")
    others = [hello(f"user{number}@example.org") for number in range(3)]
    began = clock.now = bad.not_before
    clock.wind(seconds=1)
    assert "421 4.7.0 closing" in deliver(clock).trouble
    assert deliver(clock).sent == 3, "though it was asked for first"
    assert {state_of(mail)[0] for mail in others} == {MailState.SENT}
    asked = 1
    while state_of(bad)[0] == MailState.PENDING:
        assert (bad.attempts, "421 4.7.0 closing" in bad.error) == (0, True)
        assert timedelta(0) < bad.not_before - clock.now <= timedelta(minutes=15)
        clock.now = bad.not_before
        later = hello(f"later{asked}@example.org")
        Mail.objects.filter(pk=later.pk).update(not_before=clock.now)
        deliver(clock)
        assert deliver(clock).trouble == "", "it is not asked for twice"
        assert state_of(later)[0] == MailState.SENT
        asked += 1
    assert state_of(bad)[0] == MailState.DEAD
    assert timedelta(days=2) < clock.now - began < timedelta(days=2, hours=1)
    assert asked < 300
    catcher.behave = lambda to, times: ""
    assert services.requeue([bad.pk]) == 1
    clock.now = max(clock.now, timezone.now())
    assert deliver(clock).sent == 1


def test_a_folder_that_cannot_be_written_costs_no_try(settings: Settings, tmp_path: Path, clock: Clock) -> None:
    use(settings, data_dir=tmp_path)
    mail = hello()
    target = tmp_path / "mail" / f"{mail.pk}.eml"
    target.mkdir(parents=True)
    clock.wind(seconds=1)
    for _ in range(3):
        assert "Is a directory" in deliver(clock).trouble
        state, attempts, error = state_of(mail)
        assert (state, attempts, mail.claimed_until) == (MailState.PENDING, 0, None)
        assert "Is a directory" in error
        clock.now = mail.not_before
    target.rmdir()
    assert deliver(clock).sent == 1
    assert target.is_file()


def test_a_mail_that_cannot_be_written_is_dead_and_says_why(catcher: MailCatcher) -> None:
    mail = hello()
    Mail.objects.filter(pk=mail.pk).update(subject="Hello\r\nBcc: eve@example.org")
    assert deliver().dead == 1
    assert "cannot be written" in state_of(mail)[2]
    assert catcher.accepted == []


def test_a_mail_that_no_process_survives_is_given_up(catcher: MailCatcher) -> None:
    mail = hello()
    Mail.objects.filter(pk=mail.pk).update(attempts=TRIES, claimed_until=timezone.now() - timedelta(seconds=1))
    assert deliver().dead == 1
    assert "did not survive" in state_of(mail)[2]
    assert catcher.accepted == []


# Encryption and credentials


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    return authority


def secured(authority: trustme.CA, name: str = "localhost", **options: object) -> MailCatcher:
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return MailCatcher(context=context, credentials=("footnote", "s3cret:/@#"), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("implicit", [True, False])
def test_tls_with_credentials(
    settings: Settings, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, implicit: bool
) -> None:
    server = secured(authority, implicit=implicit)
    server.start()
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    scheme = "smtps" if implicit else "smtp"
    try:
        use(settings, f"{scheme}://footnote:s3cret%3A%2F%40%23@localhost:{server.port}?tls=on")
        hello()
        done = deliver()
        assert (done.sent, done.trouble) == (1, "")
        assert set(server.logins) == {("footnote", "s3cret:/@#")}
    finally:
        server.stop()


@pytest.mark.parametrize("implicit", [True, False])
@pytest.mark.parametrize(("name", "trusted"), [("localhost", False), ("other.example.org", True)])
def test_a_certificate_that_is_not_theirs_gets_neither_password_nor_mail(
    settings: Settings,
    authority: trustme.CA,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    implicit: bool,
    name: str,
    trusted: bool,
) -> None:
    server = secured(authority, name, implicit=implicit)
    server.start()
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    scheme = "smtps" if implicit else "smtp"
    try:
        use(settings, f"{scheme}://footnote:s3cret@localhost:{server.port}?tls=on")
        mail = hello()
        assert "CERTIFICATE_VERIFY_FAILED" in deliver().trouble
        state, attempts, error = state_of(mail)
        assert (state, attempts) == (MailState.PENDING, 0)
        assert "s3cret" not in error
        assert (server.logins, server.accepted) == ([], [])
    finally:
        server.stop()


def test_a_server_without_starttls_gets_no_password(settings: Settings) -> None:
    with running_mail_catcher(credentials=("footnote", "s3cret")) as server:
        use(settings, f"smtp://footnote:s3cret@127.0.0.1:{server.port}?tls=on")
        hello()
        assert "STARTTLS" in deliver().trouble
        assert server.logins == []


def test_a_wrong_password_keeps_the_mail_and_is_not_shown(settings: Settings) -> None:
    with running_mail_catcher(credentials=("footnote", "s3cret")) as server:
        use(settings, f"smtp://footnote:wr0ng@127.0.0.1:{server.port}")
        mail = hello()
        assert "535" in deliver().trouble
        state, attempts, error = state_of(mail)
        assert (state, attempts) == (MailState.PENDING, 0)
        assert "wr0ng" not in error
        use(settings, f"smtp://footnote:s3cret@127.0.0.1:{server.port}")
        assert deliver().sent == 1


# Several at once, and a kill in the middle


@pytest.mark.django_db(transaction=True)
def test_several_senders_share_the_work_and_never_the_same_mail(catcher: MailCatcher) -> None:
    for number in range(60):
        hello(f"user{number}@example.org")
    sent = []

    def work() -> None:
        try:
            sent.append(deliver().sent)
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert sum(sent) == 60
    assert sorted(mail.to for mail in catcher.accepted) == sorted(f"user{number}@example.org" for number in range(60))


@pytest.fixture
def sending_process(tmp_path: Path) -> Callable[..., subprocess.Popen[bytes]]:
    """`manage.py outbox` in a process of its own, over the tests' database."""

    def start(catcher: MailCatcher, *arguments: str) -> subprocess.Popen[bytes]:
        name = connection.settings_dict["NAME"]
        given = {
            "DATABASE_URL": f"sqlite:///{name}" if connection.vendor == "sqlite" else f"postgresql:///{name}",
            "DATA_DIR": str(tmp_path / "other"),
            "EMAIL_URL": catcher.url + "?timeout=60",
        }
        environment = os.environ | {str(f.alias): "" for f in Environment.model_fields.values()} | given
        environment.pop("DJANGO_SETTINGS_MODULE", None)
        command = [sys.executable, "manage.py", "outbox", *arguments]
        return subprocess.Popen(command, cwd=BASE_DIR, env=environment, stdout=subprocess.DEVNULL)

    return start


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        assert process.poll() is None, "the process ended"
        time.sleep(0.05)


@pytest.mark.django_db(transaction=True)
def test_a_process_that_only_sends_does_so_until_it_is_stopped(
    catcher: MailCatcher, sending_process: Callable[..., subprocess.Popen[bytes]]
) -> None:
    mail = hello()
    process = sending_process(catcher, "--send")
    try:
        wait_for(lambda: state_of(mail)[0] == MailState.SENT, process)
        later = hello("eve@example.org")
        wait_for(lambda: state_of(later)[0] == MailState.SENT, process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
    assert [arrived.to for arrived in catcher.accepted] == ["ada@example.org", "eve@example.org"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("fate", "copies"), [("hang", 1), ("hang after", 2)])
def test_a_sender_that_is_killed_is_replaced_when_its_time_is_over(
    catcher: MailCatcher,
    clock: Clock,
    sending_process: Callable[..., subprocess.Popen[bytes]],
    fate: str,
    copies: int,
) -> None:
    """Before the server took the mail on, and in the moment after it did."""
    catcher.behave = lambda to, times: fate if times == 0 else ""
    process = sending_process(catcher, "--test", "ada@example.org")
    wait_for(lambda: bool(catcher.accepted if fate == "hang after" else catcher.named), process)
    process.send_signal(signal.SIGKILL)
    process.wait(PATIENCE)

    mail = Mail.objects.get()
    assert (mail.state, mail.attempts) == (MailState.PENDING, 1)
    assert mail.claimed_until is not None
    assert services.requeue([mail.pk]) == 0, "nor can it be requeued: it may still be on its way"
    clock.now = mail.claimed_until - timedelta(seconds=1)
    assert deliver(clock).sent == 0, "it may still be on its way"
    clock.now = mail.claimed_until
    assert deliver(clock).sent == 1
    assert state_of(mail) == (MailState.SENT, 2, "")
    assert len(catcher.accepted) == copies
    assert len({arrived.message["Subject"] for arrived in catcher.accepted}) == 1
    ids = {arrived.message_id.partition("@")[0] for arrived in catcher.accepted}
    assert ids == {f"<{mail.pk}"}


@pytest.mark.django_db(transaction=True)
def test_a_database_that_goes_away_while_a_mail_is_sent_does_not_double_it(catcher: MailCatcher) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no connections that break")
    import psycopg

    def end_connections(to: str, times: int) -> str:
        with psycopg.connect(dbname=connection.settings_dict["NAME"], autocommit=True) as other:
            other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        return ""

    mail = hello()
    catcher.behave = end_connections
    try:
        assert deliver().sent == 1
        assert state_of(mail) == (MailState.SENT, 1, "")
    finally:
        connection.close()
        connection.close_pool()  # type: ignore[attr-defined]  # of its idle ones, which were ended too
    assert len(catcher.accepted) == 1
