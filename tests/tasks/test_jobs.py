"""Jobs by the clock: what each does, and that a failing one stops nobody."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django.fixtures import Settings
from rest_framework_simplejwt.token_blacklist.models import OutstandingToken
from rest_framework_simplejwt.tokens import RefreshToken

from backend.accounts.models import User
from backend.chat.conversations import open_conversation
from backend.chat.models import Conversation, IdempotencyKey, Message
from tasks.jobs import expired_tokens, old_conversations, repeated_requests
from tasks.scheduler import _guarded, make_scheduler

pytestmark = pytest.mark.django_db


@pytest.fixture
def user() -> User:
    return User.objects.create_user("ada", "ada@example.org", "correct-horse-battery")


def say(user: User, text: str, days_ago: float, conversation: Conversation | None = None) -> Conversation:
    conversation = conversation or open_conversation(user, text)
    message = Message.objects.create(conversation=conversation, role="user", content=text)
    when = timezone.now() - timedelta(days=days_ago)
    Message.objects.filter(pk=message.pk).update(created_at=when)
    Conversation.objects.filter(pk=conversation.pk).update(updated_at=when)
    return conversation


def test_old_messages_and_empty_conversations_are_erased(user: User, settings: Settings) -> None:
    settings.ENV = settings.ENV.model_copy(update={"history_retention_days": 30})
    say(user, "long ago", 31)
    lasting = say(user, "begun long ago", 40)
    say(user, "and still going on", 29, lasting)
    empty = open_conversation(user, "just opened")
    old_conversations.run()
    assert list(Message.objects.values_list("content", flat=True)) == ["and still going on"]
    assert set(Conversation.objects.all()) == {lasting, empty}
    old_conversations.run()
    assert Message.objects.count() == 1


def test_many_old_messages_go_in_batches(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(old_conversations, "BATCH", 3)
    for number in range(10):
        say(user, f"message {number}", 100)
    old_conversations.run()
    assert not Message.objects.exists()
    assert not Conversation.objects.exists()


def test_keys_of_repeated_requests_are_forgotten_after_a_day(user: User) -> None:
    conversation = say(user, "asked", 0)
    question = Message.objects.get()
    for number, hours in enumerate((1, 23, 25)):
        row = IdempotencyKey.objects.create(user=user, key=str(number), fingerprint="", question=question)
        IdempotencyKey.objects.filter(pk=row.pk).update(created_at=timezone.now() - timedelta(hours=hours))
    repeated_requests.run()
    assert set(IdempotencyKey.objects.values_list("key", flat=True)) == {"0", "1"}
    assert Conversation.objects.get() == conversation


def test_expired_refresh_tokens_are_forgotten(user: User) -> None:
    RefreshToken.for_user(user)
    RefreshToken.for_user(user)
    OutstandingToken.objects.filter(pk=OutstandingToken.objects.first().pk).update(  # type: ignore[union-attr]
        expires_at=timezone.now() - timedelta(days=1)
    )
    expired_tokens.run()
    assert OutstandingToken.objects.count() == 1


def test_the_table_of_jobs() -> None:
    scheduler = make_scheduler(lambda: None)
    scheduler.start(paused=True)
    try:
        jobs = {job.id: job for job in scheduler.get_jobs()}
        assert set(jobs) == {"reindex", "old_conversations", "expired_tokens", "repeated_requests"}
        assert all(job.max_instances == 1 and job.coalesce for job in jobs.values())
        assert (jobs["old_conversations"].next_run_time.hour, jobs["old_conversations"].next_run_time.minute) == (2, 0)
    finally:
        scheduler.shutdown()


def test_a_job_that_fails_is_logged_under_its_name(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise ValueError("as the test wants")

    _guarded("reindex", fail)
    assert "the job reindex failed" in caplog.text
