"""Jobs by the clock: what each does, and when."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from django.contrib.sessions.models import Session
from django.db import connection, transaction
from django.utils import timezone
from django.utils.module_loading import import_string
from pytest_django.fixtures import Settings

from backend.accounts import tokens
from backend.accounts.models import TokenFamily, User
from backend.audit.models import Action, Event
from backend.chat.conversations import open_conversation
from backend.chat.models import Citation, Conversation, Feedback, IdempotencyKey, Message
from backend.environment import BASE_DIR
from backend.knowledge.index import KnowledgeIndex
from backend.knowledge.models import Source
from backend.outbox.models import Mail, MailState
from backend.throttling.models import Counter
from tasks.errors import JobFailed
from tasks.follower import FolderFollower
from tasks.jobs import batches, compact, expired, old_conversations, reconcile, reindex
from tasks.table import make_table
from tests.folder import write

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
    monkeypatch.setattr(batches, "BATCH", 3)
    for number in range(10):
        say(user, f"message {number}", 100)
    old_conversations.run()
    assert not Message.objects.exists()
    assert not Conversation.objects.exists()


def test_messages_take_what_belongs_to_them_with_them(user: User) -> None:
    old = say(user, "long ago", 100)
    new = say(user, "today", 0)
    for conversation in (old, new):
        message = conversation.messages.get()
        Citation.objects.create(
            message=message, n=1, source="a.md", source_version="", start=0, end=1, quote="a", score=1
        )
        Feedback.objects.create(message=message, rating=1)
        IdempotencyKey.objects.create(user=user, key=conversation.title, fingerprint="", question=message)
    assert old_conversations.run()["messages"] == 1
    assert Citation.objects.get().message == Feedback.objects.get().message == new.messages.get()
    assert IdempotencyKey.objects.get().key == "today"


def test_a_message_of_the_same_moment_is_not_passed_over(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "BATCH", 2)
    for number in range(7):
        say(user, f"message {number}", 100)
    Message.objects.update(created_at=timezone.now() - timedelta(days=100))
    assert old_conversations.run()["messages"] == 7
    assert not Message.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_who_speaks_in_an_old_conversation_comes_first_or_finds_it_gone(user: User) -> None:
    spoken_in, silent = open_conversation(user, "spoken in"), open_conversation(user, "silent")
    Conversation.objects.update(updated_at=timezone.now() - timedelta(days=100))
    locked, spoken = threading.Event(), threading.Event()

    def speak() -> None:
        """As chat does: the conversation is locked, then something is said in it."""
        with transaction.atomic():
            Conversation.objects.select_for_update().get(pk=spoken_in.pk)
            locked.set()
            time.sleep(0.5)
            Message.objects.create(conversation=spoken_in, role="user", content="wait")
        spoken.set()
        connection.close()

    speaker = threading.Thread(target=speak)
    speaker.start()
    locked.wait()
    assert old_conversations.run()["conversations"] == 1
    assert spoken.is_set(), "it was waited for"
    speaker.join()
    assert Conversation.objects.get() == spoken_in
    assert not Conversation.objects.filter(pk=silent.pk).exists()


def test_old_conversations_with_messages_are_passed_over(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "BATCH", 2)
    kept = [say(user, "recent", 1) for _ in range(5)]
    for _ in range(3):
        open_conversation(user, "empty")
    Conversation.objects.update(updated_at=timezone.now() - timedelta(days=100))
    assert old_conversations.run()["conversations"] == 3
    assert set(Conversation.objects.all()) == set(kept)


def test_what_has_had_its_time_is_forgotten(user: User, settings: Settings) -> None:
    settings.ENV = settings.ENV.model_copy(update={"audit_retention_days": 90})
    now = timezone.now()

    conversation = say(user, "asked", 0)
    question = Message.objects.get()
    for number, hours in enumerate((1, 23, 25)):
        row = IdempotencyKey.objects.create(user=user, key=str(number), fingerprint="", question=question)
        IdempotencyKey.objects.filter(pk=row.pk).update(created_at=now - timedelta(hours=hours))
    login = tokens.issue(user).family
    for _ in range(2):
        old = tokens.issue(user).family
        TokenFamily.objects.filter(pk=old).update(expires_at=now - timedelta(days=1))
    Counter.objects.create(key="old", count=1, expires_at=now.timestamp() - 1)
    Counter.objects.create(key="new", count=1, expires_at=now.timestamp() + 60)
    for days in (89, 91):
        event = Event.objects.create(action=Action.LOGIN)
        Event.objects.filter(pk=event.pk).update(at=now - timedelta(days=days))
    Mail.objects.create(kind="dead", to="a@example.org", state=MailState.DEAD)
    Mail.objects.create(kind="pending", to="a@example.org", state=MailState.PENDING)
    for days in (1, 4):
        sent_at = now - timedelta(days=days)
        Mail.objects.create(kind=f"sent {days}", to="a@example.org", state=MailState.SENT, sent_at=sent_at)
    Session.objects.create(session_key="old", session_data="", expire_date=now - timedelta(days=1))
    Session.objects.create(session_key="new", session_data="", expire_date=now + timedelta(days=1))

    once = dict.fromkeys(("sessions", "repeated_requests", "audit_lines", "counters", "mails"), 1)
    assert expired.run() == {"logins": 2, **once}
    assert set(IdempotencyKey.objects.values_list("key", flat=True)) == {"0", "1"}
    assert Conversation.objects.get() == conversation
    assert TokenFamily.objects.get().pk == login
    assert Counter.objects.get().key == "new"
    assert Event.objects.get().at > now - timedelta(days=90)
    assert set(Mail.objects.values_list("kind", flat=True)) == {"sent 1", "dead", "pending"}
    assert Session.objects.get().session_key == "new"
    assert expired.run() == {}


def test_a_file_that_is_half_empty_is_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "some.sqlite3"
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE t (x)")
        database.executemany("INSERT INTO t VALUES (?)", [("x" * 1000,)] * 3000)
        database.commit()
        database.execute("DELETE FROM t WHERE rowid > 500")
        database.commit()
    before = path.stat().st_size
    counts = compact.compact(path)
    assert counts["freed_mb"] == pytest.approx((before - path.stat().st_size) / 1e6, abs=0.1)
    assert counts["freed_mb"] > 2
    assert compact.compact(path)["freed_mb"] == 0, "it is not worth it again"
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT count(*) FROM t").fetchone() == (500,)


def test_the_index_is_compacted_by_another_process_while_it_is_open(
    folder: Path, index: KnowledgeIndex, settings: Settings
) -> None:
    vectors = np.eye(index.vectors.count() + 384, 384, dtype=np.float32)
    names = [f"c{number}" for number in range(len(vectors))]
    for _ in range(20):
        index.vectors.upsert(names, vectors, ["s" * 36] * len(names))
        index.vectors.delete(names[5:])
    path = settings.ENV.data_dir / "chroma" / "chroma.sqlite3"
    program = f"from pathlib import Path; from tasks.jobs.compact import compact; print(compact(Path({str(path)!r})))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=BASE_DIR, check=True)
    assert "freed_mb" in done.stdout
    assert index.vectors.ids() == set(names[:5])
    index.vectors.upsert(["after"], vectors[:1], ["s" * 36])
    assert index.vectors.count() == 6


@pytest.mark.django_db(transaction=True)
def test_the_index_is_compared_by_its_owner(folder: Path, index: KnowledgeIndex) -> None:
    write(folder, "a.md", "# Leave\n\nParental leave is 16 weeks.\n")
    following = FolderFollower(folder)
    following.start()
    try:
        assert reindex.run() in ({}, {"added": 1})
        assert Source.objects.get().state == "indexed"
        index.lexical.clear()
        index.lexical.commit()
        assert reconcile.run() == {"words_missing": 1}
        assert reconcile.run() == {}
        away = folder.rename(folder.with_name("away"))
        with pytest.raises(JobFailed, match="folder"):
            reindex.run()
        away.rename(folder)
    finally:
        following.stop()


def test_an_index_that_nobody_owns_is_no_success(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reindex, "TAKEN_AFTER", 0.1)
    with pytest.raises(JobFailed, match=r"manage\.py serve"):
        reindex.run()


def test_the_table_of_jobs(settings: Settings) -> None:
    table = make_table()
    by_cron = {"old_conversations", "expired", "reconcile", "compact", "daily_report", "backup"}
    assert set(table) == {"reindex", "outbox", *by_cron}
    for job in table.values():
        assert callable(import_string(job.run))
        assert job.schedule is not None
    settings.ENV = settings.ENV.model_copy(
        update={
            "sync_interval": 0,
            "schedule_compact": "",
            "schedule_history": "0 2 * * *",
            "time_zone": "Europe/Berlin",
        }
    )
    table = make_table()
    assert table["reindex"].schedule is table["compact"].schedule is None
    nightly = table["old_conversations"].schedule
    assert nightly is not None
    assert nightly.after(datetime(2026, 6, 1, tzinfo=UTC)) == datetime(2026, 6, 2, 0, tzinfo=UTC)
