"""DELETE /me: nothing is left that names the person."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import connection, transaction
from django.db.models import Model
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from backend.accounts import erasure
from backend.accounts.models import Erasure, User
from backend.audit.models import Action, Event
from backend.chat.models import Conversation
from backend.knowledge.index import KnowledgeIndex
from tests.backend.chats import cite, talk
from tests.backend.conftest import PASSWORD

pytestmark = pytest.mark.django_db
NAME, ADDRESS, SAID = "wilhelmina", "wilhelmina@example.org", "zanzibar-question"


@pytest.fixture
def person(index: KnowledgeIndex, settings: Settings) -> APIClient:
    """Somebody who has left a trace everywhere that one can."""
    open_client = APIClient(REMOTE_ADDR="203.0.113.77")
    open_client.post("/signup", {"username": NAME, "email": ADDRESS, "password": PASSWORD})
    open_client.post("/login", {"username": NAME, "password": "wrong"})
    tokens = open_client.post("/login", {"username": NAME, "password": PASSWORD}).json()
    client = APIClient(HTTP_AUTHORIZATION=f"Bearer {tokens['access']}", REMOTE_ADDR="203.0.113.77")
    client.patch("/me", {"first_name": NAME.title(), "last_name": "Tell"})
    client.post("/api-keys", {"name": f"{NAME}'s script"})
    assert client.post("/chat", {"message": SAID}, HTTP_IDEMPOTENCY_KEY=NAME).status_code == 200
    user = User.objects.get(username=NAME)
    conversation = talk(user, f"about {NAME}")
    answer = conversation.messages.get(role="assistant")
    cite(answer)
    assert client.post(f"/messages/{answer.pk}/feedback", {"rating": 1, "comment": NAME}).status_code == 200
    open_client.post("/password/reset", {"email": ADDRESS})
    LogEntry.objects.create(
        user=user,
        content_type=ContentType.objects.get_for_model(User),
        object_id=str(user.pk),
        object_repr=NAME,
        action_flag=CHANGE,
        change_message="",
    )
    return client


def rows_with(*texts: str) -> list[str]:
    """Where in the whole database one of these stands."""
    found = []
    models: list[type[Model]] = [*apps.get_models(include_auto_created=True)]
    for model in models:
        for row in model._default_manager.values():
            held = json.dumps(row, default=str).lower()
            found += [f"{model.__name__}: {text}" for text in texts if text.lower() in held]
    return found


def test_an_account_is_erased_with_everything_that_names_its_owner(person: APIClient, make_user: Any) -> None:
    other = make_user("ada")
    talk(other, "Something else")
    user = User.objects.get(username=NAME)
    traces = (NAME, ADDRESS, SAID, "203.0.113.77", PASSWORD)
    assert {line.split(":")[0] for line in rows_with(*traces)} >= {"User", "Message", "Mail", "Event", "ApiKey"}
    assert person.delete("/me").status_code == 204
    assert rows_with(*traces) == []
    assert person.get("/me").status_code == 401
    assert APIClient().post("/login", {"username": NAME, "password": PASSWORD}).status_code == 401
    assert other.conversations.count() == 1
    assert Event.objects.filter(action=Action.ACCOUNT_ERASED).count() == 1
    assert Event.objects.filter(action=Action.SIGNUP).exists(), "that it happened is kept"
    row = Erasure.objects.get()
    assert (row.user_id, row.joined) == (user.pk, user.date_joined)
    connection.check_constraints()


def test_an_erasure_is_noted_beside_the_backups(
    person: APIClient, settings: Settings, django_capture_on_commit_callbacks: Any
) -> None:
    user = User.objects.get(username=NAME)
    with django_capture_on_commit_callbacks(execute=True):
        person.delete("/me")
    folder: Path = settings.ENV.data_dir / "backups"
    assert NAME not in erasure.ledger_of(folder).read_text()
    entries = erasure.read_ledger(folder)
    assert [(entry.user_id, entry.joined) for entry in entries] == [(user.pk, user.date_joined)]
    assert entries == erasure.known_erasures()


def test_whoever_was_erased_is_erased_again_from_what_was_restored(make_user: Callable[[str], User]) -> None:
    back, other = make_user("back"), make_user("other")
    now = datetime.now(UTC)
    entries = [
        erasure.Entry(back.pk, back.date_joined, now),
        erasure.Entry(other.pk, datetime(2001, 1, 1, tzinfo=UTC), now),  # another database's user of this number
        erasure.Entry(987_654, now, now),
    ]
    assert erasure.apply(entries) == 1
    assert list(User.objects.all()) == [other]
    assert erasure.apply(entries) == 0


@pytest.mark.django_db(transaction=True)
def test_an_erasure_that_is_not_committed_is_not_noted(backups: Path, make_user: Callable[[str], User]) -> None:
    first, second = make_user("first"), make_user("second")
    with transaction.atomic():
        erasure.erase(first)
        transaction.set_rollback(True)
    assert erasure.read_ledger(backups) == []
    with transaction.atomic():
        erasure.erase(second)
    erasure.erase(second)
    assert [entry.user_id for entry in erasure.read_ledger(backups)] == [second.pk]
    assert User.objects.filter(pk=first.pk).exists()


def test_a_damaged_ledger_is_read_as_far_as_it_goes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    good = erasure.Entry(7, datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC))
    erasure.ledger_of(tmp_path).write_text(f'{good.as_line()}\nnonsense\n{{"user": 1}}\n[]\n')
    assert erasure.read_ledger(tmp_path) == [good]
    assert caplog.text.count("is no erasure") == 3
    with erasure.ledger_of(tmp_path).open("ab") as ledger:
        ledger.write(b"\xff\x00\n")
    assert erasure.read_ledger(tmp_path) == [good]
    assert erasure.read_ledger(tmp_path / "nowhere") == []


def entry_of(number: int) -> erasure.Entry:
    return erasure.Entry(number, datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC))


@pytest.fixture
def backups(settings: Settings, tmp_path: Path) -> Path:
    """The folder of backups of this instance, which is not there yet."""
    settings.ENV = settings.ENV.model_copy(update={"data_dir": tmp_path})
    return tmp_path / "backups"


@pytest.mark.parametrize("torn", [1, 20, -1])
def test_a_line_that_a_crash_cut_takes_no_other_with_it(backups: Path, torn: int) -> None:
    for number in (1, 2):
        erasure.note(entry_of(number))
    last = entry_of(3).as_line()
    with erasure.ledger_of(backups).open("a") as ledger:
        ledger.write(last[:torn])
    erasure.note(entry_of(4))
    erasure.note_missing([entry_of(5), entry_of(2)])
    assert erasure.read_ledger(backups) == [entry_of(number) for number in (1, 2, 4, 5)]


def test_an_erasure_is_on_the_disk_when_it_is_noted(backups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[tuple[int, int]] = []
    sync = os.fsync

    def watch(descriptor: int) -> None:
        found = os.fstat(descriptor)
        synced.append((found.st_ino, found.st_size))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", watch)
    erasure.note(entry_of(1))
    ledger = erasure.ledger_of(backups).stat()
    assert synced[0] == (ledger.st_ino, ledger.st_size)
    assert synced[1][0] == backups.stat().st_ino, "its name, too"
    erasure.note(entry_of(2))
    assert synced[2:] == [(ledger.st_ino, erasure.ledger_of(backups).stat().st_size)]


def test_erasures_at_once_are_all_noted(backups: Path, caplog: pytest.LogCaptureFixture) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(erasure.note, map(entry_of, range(100))))
    assert sorted(entry.user_id for entry in erasure.read_ledger(backups)) == list(range(100))
    assert not caplog.records


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="tells by /proc what was read")
def test_what_was_noted_before_is_not_read_again(backups: Path) -> None:
    def read_so_far() -> int:
        return int(Path("/proc/self/io").read_text().split()[1])

    erasure.note(entry_of(0))
    with erasure.ledger_of(backups).open("a") as ledger:
        ledger.writelines(f"{entry_of(number).as_line()}\n" for number in range(1, 20_000))
    before = read_so_far()
    for number in range(20_000, 20_010):
        erasure.note(entry_of(number))
    assert read_so_far() - before < erasure.ledger_of(backups).stat().st_size / 2
    assert len(erasure.read_ledger(backups)) == 20_010


def test_an_account_that_is_noted_twice_is_erased_once(backups: Path, make_user: Callable[[str], User]) -> None:
    from backend.backups import erasures

    user = make_user("back")
    once, again = (erasure.Entry(user.pk, user.date_joined, datetime(2026, 1, day, tzinfo=UTC)) for day in (1, 2))
    erasure.note(once)
    erasure.note(again)
    entries = erasures.in_ledgers(backups)
    assert entries == [once, again]
    for erased in (1, 0):
        assert erasure.apply(entries) == erased
        erasure.note_missing(entries)
        assert erasure.read_ledger(backups) == [once, again], "there is no third line"


@pytest.mark.django_db(transaction=True)
def test_what_else_an_account_does_while_it_is_erased_is_done_before_or_finds_nobody(
    make_user: Callable[[str], User], client_of: Any, index: KnowledgeIndex
) -> None:
    asks: list[tuple[str, str, dict[str, Any]]] = [
        ("post", "/api-keys", {"name": "ci"}),
        ("post", "/conversations", {"title": "Leave"}),
        ("post", "/chat", {"message": "How long is parental leave?"}),
        ("patch", "/me", {"first_name": "Ada"}),
        ("delete", "/me", {}),
        ("delete", "/me", {}),
        ("post", "/chat", {"message": "Hello?"}),
        ("post", "/logout", {"everywhere": True}),
    ]
    for number in range(8):
        client = client_of(make_user(f"user{number}"))

        def ask(method: str, path: str, body: dict[str, Any], client: APIClient = client) -> Any:
            try:
                return getattr(client, method)(path, body)
            finally:
                connection.close()

        with ThreadPoolExecutor(len(asks)) as pool:
            answers = list(pool.map(lambda args: ask(*args), asks))
        seen = [(answer.status_code, answer.content[:200]) for answer in answers]
        assert {status for status, _ in seen} <= {200, 201, 204, 401, 404}, seen
        assert 204 in {status for status, _ in seen[4:6]}
    assert not User.objects.exists()
    assert not Conversation.objects.exists()


@pytest.mark.parametrize("belongings", [0, 300])
def test_the_number_of_statements_does_not_grow_with_what_is_erased(
    user: User, client: APIClient, index: KnowledgeIndex, belongings: int
) -> None:
    from django.test.utils import CaptureQueriesContext

    for number in range(belongings // 100):
        talk(user, f"Talk {number}", turns=100)
    with CaptureQueriesContext(connection) as queries:
        assert client.delete("/me").status_code == 204
    assert len(queries) <= 45


def test_a_restored_backup_does_not_bring_back_who_was_erased(
    person: APIClient, make_user: Any, tmp_path: Path, django_capture_on_commit_callbacks: Any
) -> None:
    from backend.backups import erasures

    user = User.objects.get(username=NAME)
    kept = {field.attname: getattr(user, field.attname) for field in User._meta.concrete_fields}
    with django_capture_on_commit_callbacks(execute=True):
        person.delete("/me")
    remembered = erasures.in_database()
    assert remembered == erasures.in_ledgers(tmp_path / "data" / "backups")
    User.objects.create(**kept)  # as a backup from before has it
    talk(User.objects.get(username=NAME), SAID)
    ledger = erasure.ledger_of(tmp_path / "data" / "backups").read_text()
    assert erasure.apply(remembered) == 1
    erasure.note_missing(remembered)
    assert rows_with(NAME, SAID) == []
    assert erasure.ledger_of(tmp_path / "data" / "backups").read_text() == ledger, "it is noted once"
