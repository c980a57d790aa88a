"""The daily report: what it tells, what it keeps to itself, and that nobody gets it twice."""

from __future__ import annotations

import threading
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from pytest_django.fixtures import Settings
from uuid_utils.compat import uuid7

from backend.accounts.models import User
from backend.chat.models import Conversation, DailyUsage, Feedback, Message
from backend.chat.report import Unanswered, slowest, unanswered
from backend.jobs.models import JobRun, RunState
from backend.knowledge.models import Source
from backend.outbox.delivery import deliver
from backend.outbox.models import Mail, MailState
from evals.smtp_server import MailCatcher
from tasks.jobs import daily_report
from tests.backend.chats import ANSWER, say, talk
from vectorstore.embeddings import Embedder

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
DAY = date(2026, 11, 20)
NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
ADMINS = ["ada@example.org", "bob@example.org"]


@pytest.fixture
def user(db: None) -> User:
    return user_of("ada")


@pytest.fixture
def admins(settings: Settings, folder: Path) -> None:
    """Who gets the report; the converted model is where it looks for it."""
    settings.ENV = settings.ENV.model_copy(update={"admin_emails": ADMINS})


def user_of(name: str, joined: datetime = NOON - timedelta(days=50)) -> User:
    user = User.objects.create_user(name, f"{name}@example.org", "correct-horse-battery")
    User.objects.filter(pk=user.pk).update(date_joined=joined)
    return user


def ask(conversation: Conversation, question: str, at: datetime = NOON, **answer: Any) -> Message:
    """A question and its answer, as the product stores them."""
    made = say(conversation, "…", at=at, **{**ANSWER, "id": uuid7(), **answer})
    asked = say(conversation, question, at=at)
    Message.objects.filter(pk=asked.pk).update(answer_id=made.pk)
    return made


def declined(conversation: Conversation, question: str, source: str = "", **answer: Any) -> Message:
    found = [{"source": source}] if source else []
    return ask(conversation, question, **{"outcome": "abstained", "retrieved": found, **answer})


def test_unanswered_questions_that_are_alike_are_one_line(user: User, embedder: Embedder) -> None:
    eve = user_of("eve")
    talks = [talk(one, turns=0) for one in (user, eve)]
    declined(talks[0], "How do I reset my password?", "accounts.md")
    declined(talks[0], "How do I reset  my\npassword?", "login.md")
    declined(talks[1], "I forgot my password", "login.md")
    declined(talks[1], "Is there parking at the office in Kiel?")
    declined(talks[1], "Why?")
    declined(talks[1], "why?")
    declined(talks[0], "Replaced: its successor counts", replaced_at=NOON)
    declined(talks[0], "Is there parking on another day?", at=NOON + timedelta(days=1))
    declined(talks[0], "And the day before?", at=datetime(2026, 11, 19, 23, 59, 59, tzinfo=UTC))
    ask(talks[0], "How long is parental leave?")
    assert unanswered(DAY, 10, embedder) == [
        Unanswered("How do I reset my password?", times=3, askers=2, nearest="login.md"),
        Unanswered("Why?", times=2, askers=1, nearest=""),
        Unanswered("Is there parking at the office in Kiel?", times=1, askers=1, nearest=""),
    ]
    assert len(unanswered(DAY, 1, embedder)) == 1
    assert unanswered(DAY - timedelta(days=9), 10, embedder) == []


def test_a_question_is_shown_short_on_one_line_and_without_addresses(user: User, embedder: Embedder) -> None:
    declined(talk(user, turns=0), "Why does\nmy mail ada@example.org not work? " + "x" * 500)
    (one,) = unanswered(DAY, 10, embedder)
    assert one.question.startswith("Why does my mail …@… not work? xxx")
    assert len(one.question) == 200


def test_slowest_answers_by_their_numbers(user: User) -> None:
    conversation = talk(user, turns=0)
    for total in (9.0, 100.0, 20.5, 3.0):
        ask(conversation, "How long?", latency_ms={"retrieve": 1.0, "generate": total - 1.5, "total": total})
    ask(conversation, "Cut?", latency_ms={})
    ask(conversation, "The day after?", at=NOON + timedelta(days=1), latency_ms={"total": 500.0})
    found = slowest(DAY, 3)
    assert [one.seconds for one in found] == [0.1, 0.0205, 0.009]
    assert (found[0].stage, found[0].stage_seconds, found[0].model, found[0].at) == (
        "generate",
        0.0985,
        "extractive",
        NOON,
    )


def test_a_report_of_a_day_arrives_as_text_and_html(
    admins: None, mail_catcher: MailCatcher, settings: Settings
) -> None:
    settings.ENV = settings.ENV.model_copy(
        update={"email_url": mail_catcher.url, "public_url": "https://chat.example.org"}
    )
    ada, eve = user_of("ada"), user_of("eve", joined=NOON)
    user_of("late", joined=NOON + timedelta(days=1))
    used = {"input_tokens": 100, "output_tokens": 10}
    today = {"questions": 12, "grounded": 8, "abstained": 3, "failed": 1}
    DailyUsage.objects.create(user=ada, day=DAY, model="openai:gpt", cost=Decimal("1.25"), **today, **used)
    DailyUsage.objects.create(user=eve, day=DAY, model="extractive", questions=1, grounded=1)
    DailyUsage.objects.create(user=eve, day=DAY - timedelta(days=2), model="extractive", questions=6, grounded=6)
    DailyUsage.objects.create(user=eve, day=DAY + timedelta(days=1), model="extractive", questions=99, grounded=99)
    conversation = talk(ada, turns=0)
    declined(
        conversation, "Is there <b>parking</b> & a bus?", "travel.md", latency_ms={"generate": 1.0, "total": 2500.0}
    )
    answer = ask(conversation, "How long is leave?")
    Feedback.objects.create(message=answer, rating=1)
    Source.objects.create(path="broken.pdf", state="failed", error="it is encrypted")
    Mail.objects.create(kind="verify_email", to="gone@example.org", state=MailState.DEAD)

    assert daily_report.run(NOW) == {"mails": 2}
    assert deliver().sent == 2
    assert sorted(mail.to for mail in mail_catcher.accepted) == ADMINS
    mail = mail_catcher.accepted[0]
    assert mail.message["Subject"] == "Footnote on Fri 20 Nov 2026: 13 questions, 3 not answered, 1 failed"
    text, page = mail.text(), mail.text("html")
    for said in (
        "Friday, 20 November 2026",
        "Users: 2, 1 new, 2 asked something",
        "grounded: 9",
        "abstained: 3",
        "failed: 1",
        "Opinions: 1 good, 0 bad",
        "cost: 1.2500",
        "Fri 20 Nov  " + "█" * 30 + " 13",
        "Wed 18 Nov  " + "█" * 14 + " 6",
        "Thu 19 Nov  0",
        "Is there <b>parking</b> & a bus?",
        "1 time, 1 asker; nearest: travel.md",
        "2.50 s",
        "the model openai:gpt did not answer 1 question\n",
        "broken.pdf cannot be read: it is encrypted",
        "1 mail given up",
    ):
        assert said in text, said
    for said in (
        "Is there &lt;b&gt;parking&lt;/b&gt; &amp; a bus?",
        "Sat 07 Nov",
        "travel.md",
        "broken.pdf",
        "https://chat.example.org/admin/outbox/mail/?state__exact=dead",
        'bgcolor="#2e7d4f"',
    ):
        assert said in page, said
    assert page.count('<tr>\n<td width="74"') == 14, "two weeks"
    for loads in ("src=", "<img", "<link", "url(", "<script", "class="):
        assert loads not in page, "mail clients load nothing and know no classes"
    for name in ("ada", "eve@", "99"):
        assert name not in text, "no names, and nothing of another day"
    assert "ada" not in page.replace("@example.org", "")


def test_a_day_without_anything_is_told_too(admins: None) -> None:
    assert daily_report.run(NOW) == {"mails": 2}
    mail = Mail.objects.filter(to=ADMINS[0]).get()
    assert mail.subject == "Footnote on Fri 20 Nov 2026: 0 questions, 0 not answered"
    assert "- none" in mail.text
    assert "None" not in mail.text


def test_without_admins_there_is_no_report(settings: Settings) -> None:
    assert daily_report.run(NOW) == {"mails": 0}
    assert not Mail.objects.exists()


def test_a_day_is_reported_once_whatever_happens(admins: None) -> None:
    assert daily_report.run(NOW) == {"mails": 2}
    assert daily_report.run(NOW + timedelta(hours=1)) == {"mails": 0}
    Mail.objects.all().update(state=MailState.SENT, text="", html="")
    assert daily_report.run(NOW + timedelta(hours=2)) == {"mails": 0}
    assert daily_report.run(NOW + timedelta(days=1)) == {"mails": 2}


def test_a_run_that_is_late_reports_the_day_it_was_wanted_for(admins: None) -> None:
    late = JobRun.objects.create(job="daily_report", slot=NOW, state=RunState.RUNNING)
    assert daily_report.run(NOW + timedelta(days=1)) == {"mails": 2}
    assert {mail.once for mail in Mail.objects.all()} == {f"daily_report {DAY}"}
    JobRun.objects.filter(pk=late.pk).update(state=RunState.DONE)
    assert daily_report.run(NOW + timedelta(days=1)) == {"mails": 2}
    assert daily_report.run(NOW) == {"mails": 0}


def test_who_takes_over_in_the_middle_adds_what_is_missing(admins: None) -> None:
    daily_report.run(NOW)
    Mail.objects.filter(to=ADMINS[1]).delete()
    assert daily_report.run(NOW) == {"mails": 1}
    assert sorted(Mail.objects.values_list("to", flat=True)) == ADMINS


@pytest.mark.django_db(transaction=True)
def test_processes_that_report_at_the_same_moment_send_one(admins: None) -> None:
    queued = []
    together = threading.Barrier(4)

    def report() -> None:
        try:
            together.wait(10)
            queued.append(daily_report.run(NOW)["mails"])
        finally:
            connection.close()

    threads = [threading.Thread(target=report) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sum(queued) == 2
    assert len(queued) == 4
    assert sorted(Mail.objects.values_list("to", flat=True)) == ADMINS
