"""The sender in the serving process: woken by what is queued, patient with a server that is away."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator

import pytest
from django.db import transaction
from pytest_django.fixtures import Settings

from backend.outbox.models import Mail, MailState
from evals.smtp_server import MailCatcher
from tasks import sender
from tasks.jobs import outbox
from tasks.sender import MailSender
from tests.backend.mails import hello, use
from tests.waiting import PATIENCE, wait_for

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def start(settings: Settings) -> Iterator[Callable[[], MailSender]]:
    started: list[MailSender] = []

    def begin() -> MailSender:
        started.append(MailSender())
        started[-1].start()
        return started[-1]

    yield begin
    for one in started:
        one.stop(PATIENCE)
        assert not one.is_alive


def all_sent() -> bool:
    return not Mail.objects.exclude(state=MailState.SENT).exists()


def test_mail_is_sent_as_soon_as_it_is_committed(
    mail_catcher: MailCatcher,
    settings: Settings,
    start: Callable[[], MailSender],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use(settings, mail_catcher.url)
    hello("before@example.org")
    monkeypatch.setattr(sender, "POLL_SECONDS", 10 * PATIENCE)  # the clock alone would be too late
    start()
    wait_for(all_sent, "what was there before")
    for number in range(3):
        with transaction.atomic():
            hello(f"user{number}@example.org")
        wait_for(all_sent, "what was queued")
    assert [mail.to for mail in mail_catcher.accepted] == [
        "before@example.org",
        *(f"user{n}@example.org" for n in range(3)),
    ]


def test_mail_of_another_process_is_found_by_the_clock(
    mail_catcher: MailCatcher,
    settings: Settings,
    start: Callable[[], MailSender],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use(settings, mail_catcher.url)
    monkeypatch.setattr(sender, "POLL_SECONDS", 0.1)
    start()
    row = hello()
    Mail.objects.filter(pk=row.pk).delete()
    Mail.objects.bulk_create([row])  # nobody is told
    wait_for(all_sent, "what nobody told of")
    assert 1 <= len(mail_catcher.accepted) <= 2


def test_a_server_that_is_away_is_said_once_and_mail_goes_when_it_is_back(
    mail_catcher: MailCatcher,
    settings: Settings,
    start: Callable[[], MailSender],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    use(settings, mail_catcher.url)
    monkeypatch.setattr(sender, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(sender, "LONGEST_PAUSE", 0.1)
    caplog.set_level(logging.INFO, "tasks")
    mail_catcher.stop()
    hello()
    start()
    wait_for(lambda: "mail waits" in caplog.text, "a word about it")
    time.sleep(0.5)
    mail_catcher.start()
    wait_for(all_sent, "the server's return")
    wait_for(lambda: "mail is sent again" in caplog.text, "a word about that")
    assert caplog.text.count("mail waits") == 1
    assert len(mail_catcher.accepted) == 1


def test_the_job_counts_and_fails_when_the_server_is_away(mail_catcher: MailCatcher, settings: Settings) -> None:
    use(settings, mail_catcher.url)
    hello()
    hello("bad@example.org")
    mail_catcher.behave = lambda to, times: "550 no such user" if to.startswith("bad") else ""
    assert outbox.run() == {"sent": 1, "deferred": 0, "dead": 1}
    mail_catcher.stop()
    assert outbox.run() == {"sent": 0, "deferred": 0, "dead": 0}, "nothing to send, nobody to ask"
    hello()
    with pytest.raises(outbox.MailServerAway, match="refused"):
        outbox.run()
