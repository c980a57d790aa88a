"""Backups by making and restoring them, on the database that the suite runs on: what comes back, what is refused, and
that nothing is ever half there."""

from __future__ import annotations

import contextlib
import errno
import gzip
import hashlib
import io
import json
import os
import resource
import sqlite3
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection, transaction
from filelock import FileLock
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from backend.accounts import erasure
from backend.accounts.models import Erasure, User
from backend.backups import archive, documents, journal
from backend.backups.errors import Damaged, NotMade, PutBack, Refused
from backend.backups.journal import STAGING, State, check_restore, record
from backend.backups.making import Made, backups_folder, make_backup, prune
from backend.backups.restoring import check_backup, restore, undo
from backend.chat.models import Citation, Conversation, Message
from backend.knowledge import services
from backend.knowledge.index import close_index, get_index
from backend.knowledge.models import Source, SyncState
from tasks.jobs import backup as backup_job
from tests.backend.chats import ANSWER, cite, say, talk
from tests.backend.conftest import Sync
from tests.backend.state import state
from tests.folder import write, write_pdf

pytestmark = pytest.mark.django_db(transaction=True)

PLAIN = archive.DATABASES["sqlite"]
ON_SQLITE = connection.vendor == "sqlite"
only_sqlite = pytest.mark.skipif(not ON_SQLITE, reason="of SQLite's files")
only_postgresql = pytest.mark.skipif(ON_SQLITE, reason="of PostgreSQL (TEST_DATABASE_URL)")

QUESTIONS = ["How long is parental leave?", "Who may sleep in room 3?", "When do whales sing?", "violins"]


@pytest.fixture
def another(tmp_path: Path, settings: Settings, folder: Path) -> Iterator[Callable[[], Path]]:
    """Go on as another instance, which holds nothing; returns its watched folder. On PostgreSQL the database is the
    same, emptied.
    """
    own = connection.settings_dict["NAME"]
    count = 0

    def make() -> Path:
        nonlocal count
        count += 1
        close_index()
        data = tmp_path / f"data-{count}"
        data.mkdir()
        (data / "models").symlink_to((tmp_path / "data" / "models").readlink())
        knowledge = tmp_path / f"knowledge-{count}"
        settings.ENV = settings.ENV.model_copy(update={"data_dir": data, "knowledge_dir": knowledge})
        if ON_SQLITE:
            connection.close()
            connection.settings_dict["NAME"] = str(data / "footnote.sqlite3")
        else:
            call_command("flush", interactive=False, verbosity=0)
        return knowledge

    yield make
    close_index()
    connection.close()
    connection.settings_dict["NAME"] = own


def fill(folder: Path) -> None:
    write(folder, "leave.md", "# Leave\n\nParental leave is 16 weeks.\n")
    write_pdf(folder, "hotel/rules.pdf", [f"Nobody sleeps in room {page}." for page in range(1, 5)])
    write(folder, "hotel/.footnote.yml", "tags: [hotel]\nlanguage: en\n")
    write(folder, "sea/Wale & Öl.md", "# Whales\n\nWhales sing for hours, at night.\n")
    write(folder, "broken.pdf", "not a PDF")
    write(folder, ".hidden", "nobody's business")
    write(folder, "x.tmp", "half written")


def searched(client: APIClient, *, scores: bool) -> Any:
    """What /search shows, with or without the scores."""
    found = {}
    for question in QUESTIONS:
        for filters in ({}, {"tag": "hotel"}, {"after": "2020-01-01"}):
            rows = client.get("/search", {"q": question, **filters}).json()["results"]
            found[question, str(filters)] = [{**row, "score": scores and round(row["score"], 4)} for row in rows]
    return found


def rows() -> Any:
    """Everything that users have, as the database holds it."""
    return [list(model.objects.order_by("pk").values()) for model in (User, Conversation, Message, Citation)]


def in_folder(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Content and time of every file, by path; of what a restore keeps for itself too."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def sync_again() -> None:
    get_index()
    run = services.sync("test")
    assert run.state == SyncState.DONE, run.error


# --- There and back ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("edited", [False, True])
def test_users_chats_citations_and_after_a_sync_the_same_search_results(
    folder: Path, client: APIClient, sync: Sync, another: Callable[[], Path], edited: bool
) -> None:
    """Of an index that was edited the scores differ a little from those of a new one: the word index counts passages
    that are gone until it is compacted.
    """
    fill(folder)
    sync()
    answer = client.post("/chat", {"message": "How long is parental leave?"}).json()
    assert answer["citations"]
    if edited:
        write(folder, "leave.md", "# Leave\n\nParental leave is 20 weeks now.\n")
        sync()
    client.post("/chat", {"message": "Who may sleep in room 3?"})
    before, shown, held = rows(), searched(client, scores=not edited), in_folder(folder)
    states = dict(Source.objects.values_list("path", "state"))
    history = client.get("/chat-history").json()
    (folder.parent / "data" / "calibration.json").write_text("{}")
    made = make_backup()
    assert (made.documents, made.left_out) == (5, {})
    assert made.path.stat().st_mode & 0o777 == 0o600
    assert oct(made.path.parent.stat().st_mode & 0o777) == "0o700"

    knowledge = another()
    done = restore(made.path)
    assert done.manifest.counts["chat_message"] == 4
    assert rows() == before
    kept = {name: content for name, content in held.items() if name not in (".hidden", "x.tmp")}
    assert in_folder(knowledge) == kept
    assert (knowledge.parent / "data-1" / "calibration.json").read_text() == "{}"
    assert not (knowledge.parent / "data-1" / STAGING).exists()
    (knowledge.parent / "data-1" / "calibration.json").unlink()
    sync_again()
    state(get_index())  # that indexes and rows hold the same
    assert dict(Source.objects.values_list("path", "state")) == states
    assert searched(client, scores=not edited) == shown
    assert client.get("/chat-history").json() == history
    shown_citation = client.get(f"/messages/{answer['message_id']}/citations/1/verify").json()
    assert (shown_citation["valid"], shown_citation["source_state"]) == (True, "changed" if edited else "current")
    assert User.objects.create_user("new", "new@example.org", "x").pk > before[0][-1]["id"], "ids go on"


def test_standard_tools_read_it(folder: Path, db: None) -> None:
    fill(folder)
    made = make_backup()
    subprocess.run(["gzip", "-t", made.path], check=True)
    listed = subprocess.run(["tar", "tzf", made.path, "--quoting-style=literal"], check=True, capture_output=True)
    names = listed.stdout.decode().splitlines()
    database = archive.DATABASES[connection.vendor]
    assert names == [
        database,
        "files/broken.pdf",
        "files/hotel/rules.pdf",
        "files/leave.md",
        "files/sea/Wale & Öl.md",
        "files/hotel/.footnote.yml",
        "manifest.json",
    ]


def test_exchanges_that_are_written_meanwhile_are_whole_or_absent(
    folder: Path, user: User, another: Callable[[], Path], settings: Settings
) -> None:
    fill(folder)
    first = talk(user)
    cite(Message.objects.filter(role="assistant").get())
    stop = threading.Event()
    failures: list[Exception] = []

    def write_exchanges() -> None:
        try:
            while not stop.is_set():
                with transaction.atomic():
                    conversation = Conversation.objects.create(user=user, title="Load", updated_at=first.updated_at)
                    say(conversation, "Question?")
                    answer = say(conversation, "Answer. [1][2][3]", **ANSWER)
                    for n in (1, 2, 3):
                        cite(answer, n)
        except Exception as error:  # noqa: BLE001
            failures.append(error)
        finally:
            connection.close()

    writers = [threading.Thread(target=write_exchanges) for _ in range(4)]
    for writer in writers:
        writer.start()
    made: list[Made] = []
    try:
        while len(made) < 4:
            written = Conversation.objects.count()
            made.append(make_backup(folder.parent / f"{len(made)}.tar.gz"))
            assert Conversation.objects.count() > written, "it held nobody up"
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert not failures, failures
    counted = []
    for one in made:
        another()
        restore(one.path)
        conversations = Conversation.objects.filter(title="Load")
        counted.append(conversations.count())
        for conversation in conversations:
            assert [m.role for m in conversation.messages.all()] == ["user", "assistant"]
        answers = Message.objects.filter(conversation__in=conversations, role="assistant")
        assert set(answers.values_list("pk", flat=True)) == set(
            Citation.objects.filter(n=3).values_list("message", flat=True)
        )
        assert Citation.objects.count() == 3 * counted[-1] + 1
    assert counted == sorted(counted)
    assert counted[-1] > counted[0]


def test_what_was_deleted_is_not_in_the_copy(folder: Path, user: User) -> None:
    talk(user, title="unmistakably-secret-title")
    Conversation.objects.all().delete()
    made = make_backup()
    with tarfile.open(made.path) as tar:
        content = tar.extractfile(archive.DATABASES[connection.vendor])
        assert content is not None
        assert b"unmistakably-secret-title" not in content.read()


def test_a_file_that_is_written_to_all_the_time_is_left_out_and_named(
    folder: Path, db: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(documents, "PAUSE", 0.01)
    fill(folder)
    busy = write(folder, "busy.md", "# Busy\n")

    def write_when_it_is_opened(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and still and str(arguments[0]) == str(busy) and arguments[1] != "a":
            with busy.open("a") as file:
                file.write("more\n")

    still = [True]
    sys.addaudithook(write_when_it_is_opened)  # there is no way to remove it: it stays, and does nothing
    try:
        call_command("backup")
    finally:
        still.clear()
    [made] = backups_folder().glob("*.tar.gz")
    assert "left out: busy.md: it was being written to all the time" in capsys.readouterr().err
    assert "busy.md" not in check_backup(made).documents
    call_command("backup", output=folder.parent / "quiet.tar.gz")
    assert "busy.md" in check_backup(folder.parent / "quiet.tar.gz").documents


def test_links_are_followed_inside_the_folder_only(
    folder: Path, db: None, another: Callable[[], Path], tmp_path: Path
) -> None:
    fill(folder)
    (tmp_path / "secret.md").write_text("# Outside\n")
    (folder / "out.md").symlink_to(tmp_path / "secret.md")
    (folder / "same.md").symlink_to("leave.md")
    (folder / "lobby").symlink_to("hotel")
    made = make_backup()
    assert made.left_out == {"out.md": "it links to a place outside the folder, which is never read"}
    knowledge = another()
    restore(made.path)
    assert (knowledge / "same.md").read_text() == (folder / "leave.md").read_text()
    assert (knowledge / "lobby" / "rules.pdf").is_file()
    assert not (knowledge / "out.md").exists()


def test_a_data_dir_in_the_watched_folder_is_not_backed_up_with_it(
    folder: Path, db: None, settings: Settings, another: Callable[[], Path]
) -> None:
    write(folder, "a.md", "# A\n")
    settings.ENV = settings.ENV.model_copy(update={"data_dir": folder / "data"})
    write(folder, "data/calibration.json", "{}")
    make_backup()
    restored = make_backup(folder.parent / "out.tar.gz")
    assert set(check_backup(restored.path).documents) == {"a.md"}
    restore(restored.path, force=True)
    assert (folder / "data" / "calibration.json").read_text() == "{}"
    assert len(list((folder / "data" / "backups").glob("*.tar.gz"))) == 1


# --- When none is made ------------------------------------------------------------------------------------------------


def test_a_full_disk_leaves_nothing_behind(folder: Path, user: User) -> None:
    """The limit of a process on the size of its files ends a write as a full disk does."""
    fill(folder)
    write(folder, "large.md", os.urandom(3_000_000))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in (100_000, 2_000_000):  # less than the database, more than it
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
        try:
            with pytest.raises(NotMade):
                make_backup()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert [path.name for path in backups_folder().iterdir()] == [".lock"]
    assert make_backup().documents == 6


def test_what_a_killed_backup_left_goes_with_the_next(folder: Path, db: None) -> None:
    fill(folder)
    write(folder, "large.md", os.urandom(60_000_000))
    code = "import sys, django; django.setup(); from backend.backups.making import make_backup; make_backup()"
    env = settings_of_a_process(folder)
    if not ON_SQLITE:
        env["DATABASE_URL"] = url_of_the_test_database()
    else:
        subprocess.run([sys.executable, "manage.py", "migrate", "-v0"], env=env, check=True)
    process = subprocess.Popen([sys.executable, "-c", code], env=env)
    deadline = time.monotonic() + 60
    archives = backups_folder()
    while not any(path.stat().st_size > 10_000_000 for path in archives.glob(".*/archive")):
        assert process.poll() is None
        assert time.monotonic() < deadline
    process.kill()
    process.wait()
    assert not list(archives.glob("*.tar.gz"))
    assert list(archives.glob(".footnote-backup-*"))
    made = make_backup()
    assert sorted(path.name for path in archives.iterdir()) == [".lock", made.path.name]


def settings_of_a_process(folder: Path) -> dict[str, str]:
    own = {"DATA_DIR": str(folder.parent / "data"), "KNOWLEDGE_DIR": str(folder)}
    return {**os.environ, **own, "DJANGO_SETTINGS_MODULE": "backend.settings"}


def url_of_the_test_database() -> str:
    given = connection.settings_dict
    login = f"{given['USER']}:{given['PASSWORD']}@" if given["USER"] else ""
    port = f":{given['PORT']}" if given["PORT"] else ""
    return f"postgresql://{login}{given['HOST']}{port}/{given['NAME']}"


def test_one_backup_at_a_time_and_none_over_another_file(folder: Path, db: None) -> None:
    fill(folder)
    made = make_backup()
    with pytest.raises(NotMade, match="is there already"):
        make_backup(made.path)
    with FileLock(backups_folder() / ".lock"), pytest.raises(NotMade, match="Another backup"):
        make_backup(folder.parent / "other.tar.gz")
    with pytest.raises(CommandError, match="cannot be written: No such file or directory"):
        call_command("backup", output=folder.parent / "nowhere" / "x.tar.gz")


def test_a_folder_that_is_gone_is_no_reason_for_an_empty_backup(folder: Path, sync: Sync, settings: Settings) -> None:
    fill(folder)
    sync()
    folder.rename(folder.with_name("unmounted"))
    with pytest.raises(NotMade, match="cannot be read"):
        make_backup()
    folder.mkdir()
    with pytest.raises(NotMade, match="is not the folder of the last sync"):
        make_backup()
    settings.ENV = settings.ENV.model_copy(update={"knowledge_dir": settings.ENV.data_dir})
    with pytest.raises(NotMade, match="the same folder"):
        make_backup()


@only_sqlite
def test_a_damaged_database_is_not_backed_up(another: Callable[[], Path], folder: Path) -> None:
    another().mkdir()
    call_command("migrate", verbosity=0)
    for number in range(50):
        User.objects.create_user(f"user{number}", f"user{number}@example.org", "x")
    connection.close()
    path = Path(connection.settings_dict["NAME"])
    content = bytearray(path.read_bytes())
    page = content.index(b"user20@example.org") // 4096 * 4096
    content[page : page + 12] = b"\xff" * 12
    path.write_bytes(content)
    with pytest.raises(NotMade, match=r"damaged|malformed"):
        make_backup()
    assert not list(backups_folder().glob("*.tar.gz"))


@only_postgresql
def test_pg_dump_must_be_there_and_not_older_than_the_server(
    folder: Path, db: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, another: Callable[[], Path]
) -> None:
    fill(folder)
    made = make_backup(tmp_path / "made.tar.gz")
    tools = tmp_path / "tools"
    tools.mkdir()
    monkeypatch.setenv("PATH", str(tools))
    with pytest.raises(NotMade, match="pg_dump is not installed"):
        make_backup()
    another()
    with pytest.raises(Refused, match="pg_restore is not installed"):
        restore(made.path)
    for name in ("pg_dump", "pg_restore"):
        (tools / name).write_text(f'#!/bin/sh\necho "{name} (PostgreSQL) 9.6.24"\n')
        (tools / name).chmod(0o755)
    with pytest.raises(NotMade, match=r"9\.6\.24 is older than the server"):
        make_backup()
    with pytest.raises(Refused, match=r"9\.6\.24 is older than the server"):
        restore(made.path)


# --- The weekly job ---------------------------------------------------------------------------------------------------


def test_the_job_keeps_the_newest_and_touches_nothing_else(folder: Path, db: None, settings: Settings) -> None:
    fill(folder)
    settings.ENV = settings.ENV.model_copy(update={"backups_kept": 3})
    kept = backups_folder()
    kept.mkdir()
    for day in range(1, 7):
        (kept / f"footnote-2020010{day}T010000Z.tar.gz").write_bytes(b"old")
    others = ["erasures.jsonl", "footnote-before-the-move.tar.gz", "footnote-20200101T010000Z.tar.gz.part"]
    for name in others:
        (kept / name).write_bytes(b"kept")
    backup_job.run()
    found = sorted(path.name for path in kept.iterdir() if path.name not in (*others, ".lock"))
    assert found[:2] == ["footnote-20200105T010000Z.tar.gz", "footnote-20200106T010000Z.tar.gz"]
    assert len(found) == 3
    assert all((kept / name).is_file() for name in others)
    folder.rename(folder.with_name("gone"))
    with pytest.raises(NotMade):
        backup_job.run()
    assert len(list(kept.glob("footnote-2*Z.tar.gz"))) == 3, "without a new one, no old one goes"
    assert prune(100) == []


# --- What is refused --------------------------------------------------------------------------------------------------


def small(path: Path, **members: bytes) -> Path:
    """An archive of the right form, as small as can be."""
    with path.open("wb") as file:
        writer = archive.Writer(file)
        writer.add(PLAIN, io.BytesIO(b"a database"))
        for name, content in members.items():
            writer.add(name, io.BytesIO(content), mtime_ns=1)
        writer.close(manifest_of(writer.members))
    return path


def manifest_of(members: dict[str, archive.Member], **told: Any) -> archive.Manifest:
    values: dict[str, Any] = {
        "version": "0",
        "made_at": "2026-01-01T00:00:00+00:00",
        "vendor": "sqlite",
        "server": 0,
        "schema_name": "",
        "migrations": [],
        "counts": {},
        "members": members,
        "left_out": {},
    }
    return archive.Manifest(**values | told)


def forged(path: Path, entries: list[tuple[tarfile.TarInfo, bytes]], manifest: Any = None, after: bytes = b"") -> Path:
    """An archive whose checksum is right, whatever it holds: what a liar could write."""
    packed = io.BytesIO()
    listed = {}
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for entry, content in entries:
            entry.size = len(content) if entry.isreg() else 0
            tar.addfile(entry, io.BytesIO(content))
            listed[entry.name] = archive.Member(
                size=len(content),
                sha256=hashlib.sha256(content).hexdigest(),
                mtime_ns=1 if entry.name.startswith("files/") else None,
            )
        told = manifest if isinstance(manifest, bytes) else (manifest or manifest_of)(listed).model_dump_json().encode()
        last = tarfile.TarInfo("manifest.json")
        last.size = len(told)
        tar.addfile(last, io.BytesIO(told))
    body = gzip.compress(packed.getvalue() + after)
    path.write_bytes(body + archive._end(hashlib.sha256(body).hexdigest()))
    return path


def entry(name: str, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type = kind
    made.linkname = "/etc/passwd" if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
    return made


DATABASE = (entry(PLAIN), b"a database")
ROOM = 10_000_000


def test_every_flipped_byte_and_every_cut_is_noticed(tmp_path: Path) -> None:
    path = small(tmp_path / "small.tar.gz", **{"files/a.md": b"text"})
    whole = path.read_bytes()
    assert archive.verify(path, ROOM).documents.keys() == {"a.md"}
    for place in range(len(whole)):
        for flipped in (1, 128):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ flipped]) + whole[place + 1 :])
            with pytest.raises(Damaged):
                archive.verify(path, ROOM)
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(Damaged):
            archive.verify(path, ROOM)
    path.write_bytes(whole + b"\0")
    with pytest.raises(Damaged):
        archive.verify(path, ROOM)


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04 a zip", gzip.compress(b"a gzip", mtime=0), b"\0" * 10_000, b"SQLite format 3\0" * 100]
)
def test_what_is_no_backup_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other"
    path.write_bytes(content)
    with pytest.raises(Damaged, match=r"^other is "):
        archive.verify(path, ROOM)
    with pytest.raises(Refused, match="cannot be read"):
        archive.verify(tmp_path / "missing", ROOM)
    with pytest.raises(Refused, match="cannot be read"):
        archive.verify(tmp_path, ROOM)


@pytest.mark.parametrize(
    "name",
    [
        "files/../evil.md",
        "files/a/../../evil.md",
        "files//etc/passwd",
        "files/",
        "files/a//b.md",
        "files/./a.md",
        "files/.git/hooks/pre-commit",
        "files/.footnote-restore/state",
        "files/.env",
        "files/a\nb.md",
        "/etc/passwd",
        "../evil.md",
        "secret_key",
        "chroma/x",
        "database.pgdump",
        "files",
    ],
)
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    path = forged(tmp_path / "forged.tar.gz", [DATABASE, (entry(name), b"evil")])
    with pytest.raises(Damaged):
        archive.verify(path, ROOM)


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.GNUTYPE_SPARSE],
)
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    path = forged(tmp_path / "forged.tar.gz", [DATABASE, (entry("files/a.md", kind), b"")])
    with pytest.raises(Damaged):
        archive.verify(path, ROOM)


def test_archives_that_are_not_what_their_manifest_says_are_refused(tmp_path: Path) -> None:
    document = (entry("files/a.md"), b"text")

    def without(name: str) -> Callable[[dict[str, archive.Member]], archive.Manifest]:
        return lambda listed: manifest_of({key: value for key, value in listed.items() if key != name})

    def other(**told: Any) -> Callable[[dict[str, archive.Member]], archive.Manifest]:
        return lambda listed: manifest_of(listed | told)

    member = archive.Member(size=4, sha256="0" * 64, mtime_ns=1)
    below = [document, (entry("files/a.md/b.md"), b"text")]
    cases: dict[str, tuple[Any, ...]] = {
        "no manifest's": ([DATABASE, document], b"[]"),
        "no JSON": ([DATABASE], b"\xff{"),
        "deep": ([DATABASE], b"[" * 100_000),
        "unlisted": ([DATABASE, document], without("files/a.md")),
        "missing": ([DATABASE], other(**{"files/a.md": member})),
        "other content": ([DATABASE, document], other(**{"files/a.md": member})),
        "no database": ([document], None),
        "of another kind": ([DATABASE], lambda listed: manifest_of(listed, vendor="postgresql")),
        "of no kind": ([DATABASE], lambda listed: manifest_of(listed, vendor="mysql")),
        "twice": ([DATABASE, document, document], None),
        "two manifests": ([DATABASE, (entry("manifest.json"), b"{}")], None),
        "below a file": ([DATABASE, *below], None),
        "a table's name": (
            [DATABASE],
            manifest_of({}).model_dump_json().replace('"counts":{}', '"counts":{"a\\"b":1}'),
        ),
    }
    for what, (entries, manifest) in cases.items():
        told = manifest.encode() if isinstance(manifest, str) else manifest
        path = forged(tmp_path / "forged.tar.gz", entries, told)
        with pytest.raises(Damaged):
            raise AssertionError(f"{what} was taken: {archive.verify(path, ROOM)}")
    path = forged(tmp_path / "forged.tar.gz", [DATABASE], after=b"more")
    with pytest.raises(Damaged):
        archive.verify(path, ROOM)


def test_bombs_end_at_the_room_there_is(tmp_path: Path) -> None:
    large = forged(tmp_path / "large.tar.gz", [DATABASE, (entry("files/a.md"), bytes(20_000_000))])
    assert large.stat().st_size < 50_000
    with pytest.raises(Refused, match="more than there is room"):
        archive.verify(large, ROOM)
    header = tarfile.TarInfo("files/" + "x" * 5_000_000 + ".md")  # its name in a header of its own
    with pytest.raises(Damaged, match="header is too long"):
        archive.verify(forged(tmp_path / "header.tar.gz", [DATABASE, (header, b"")]), ROOM)


def test_nothing_is_touched_by_a_restore_that_is_refused(
    folder: Path, user: User, another: Callable[[], Path], settings: Settings, tmp_path: Path
) -> None:
    fill(folder)
    talk(user)
    made = make_backup()
    knowledge = another()
    if ON_SQLITE:
        call_command("migrate", verbosity=0)
    User.objects.create_user("bea", "bea@example.org", "x")
    write(knowledge, "mine.md", "# Mine\n")
    data = settings.ENV.data_dir
    (data / "calibration.json").write_text("mine")
    database = Path(connection.settings_dict["NAME"])
    connection.close()

    def everything() -> Any:
        held = in_folder(knowledge), (data / "calibration.json").read_text(), rows()
        connection.close()
        return held, database.read_bytes() if ON_SQLITE else None, sorted(path.name for path in data.iterdir())

    (data / "index.lock").touch()
    (data / "used.lock").touch()
    before = everything()
    content = made.path.read_bytes()
    (tmp_path / "flipped").write_bytes(content[:5000] + bytes([content[5000] ^ 1]) + content[5001:])
    (tmp_path / "cut").write_bytes(content[: len(content) // 2])
    (tmp_path / "text").write_text("not a backup")
    for name, said in (
        ("flipped", "damaged"),
        ("cut", "damaged"),
        ("text", "not a backup"),
        ("none", "cannot be read"),
    ):
        for force in (False, True):
            with pytest.raises(CommandError, match=said) as caught:
                call_command("restore", tmp_path / name, force=force)
            assert "\n" not in str(caught.value)
    with pytest.raises(CommandError, match="not empty, it has 1 accounts"):
        call_command("restore", made.path)
    with FileLock(data / "index.lock"), pytest.raises(CommandError, match="is using"):
        call_command("restore", made.path, force=True)
    with pytest.raises(CommandError, match="no restore that did not come to its end"):
        call_command("restore", undo=True)
    with pytest.raises(CommandError, match="Give a FILE"):
        call_command("restore")
    assert everything() == before
    User.objects.all().delete()
    with pytest.raises(CommandError, match=r"1 files .* 'mine.md'"):
        call_command("restore", made.path)
    call_command("restore", made.path, check=True)
    assert not User.objects.exists()
    (knowledge / "mine.md").unlink()
    write(knowledge, "leave.md", (folder / "leave.md").read_bytes())
    call_command("restore", made.path)
    assert User.objects.get() == user


def test_later_releases_and_other_databases_are_refused(
    folder: Path, db: None, another: Callable[[], Path], tmp_path: Path
) -> None:
    fill(folder)
    made = make_backup()
    manifest = check_backup(made.path)
    other = "postgresql" if ON_SQLITE else "sqlite"
    own = archive.DATABASES[connection.vendor]

    def rewritten(database: str = own, **told: Any) -> Path:
        changed = manifest.model_copy(update=told)
        return forged(
            tmp_path / f"rewritten-{len(list(tmp_path.iterdir()))}.tar.gz",
            [(entry(database), b"x")],
            lambda listed: changed.model_copy(update={"members": listed}),
        )

    another()
    cases = [
        (rewritten(archive.DATABASES[other], vendor=other), "only be restored into its own kind"),
        (rewritten(migrations=[*manifest.migrations, "chat.9999_of_next_year"]), "chat.9999_of_next_year"),
        (rewritten(migrations=["unheard_of.0001_initial"]), "unheard_of"),
    ]
    for path, said in cases:
        with pytest.raises(Refused, match=said):
            restore(path)
    told = json.dumps({"format": 2, "version": "9.0", "anything": []}).encode()
    with pytest.raises(Refused, match=r"later release of Footnote \(9\.0\)"):
        restore(forged(tmp_path / "next.tar.gz", [(entry(own), b"x")], told))
    if not ON_SQLITE:
        with pytest.raises(Refused, match="The backup is of PostgreSQL 99"):
            restore(rewritten(server=99))
        with pytest.raises(Refused, match="in the schema elsewhere"):
            restore(rewritten(schema_name="elsewhere"))
        with pytest.raises(Damaged, match="pg_restore failed"):
            restore(rewritten())
    else:
        with pytest.raises(Damaged, match="cannot be used"):
            restore(rewritten())


@only_postgresql
def test_a_database_that_others_use_is_left_alone(folder: Path, db: None, another: Callable[[], Path]) -> None:
    import psycopg

    fill(folder)
    made = make_backup()
    another()
    asked = connection.get_connection_params() | {"application_name": "somebody's psql"}
    with psycopg.connect(**asked), pytest.raises(Refused, match="somebody's psql"):
        restore(made.path)
    with connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA footnote_before_restore; CREATE TABLE footnote_before_restore.theirs (id int)")
    with pytest.raises(Refused, match="another DATA_DIR"):
        restore(made.path)
    with connection.cursor() as cursor:
        cursor.execute("DROP SCHEMA footnote_before_restore CASCADE; CREATE TABLE theirs (id int)")
    restore(made.path)
    assert "theirs" in connection.introspection.table_names()
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE theirs")


def test_a_disk_without_room_changes_nothing(
    folder: Path, db: None, another: Callable[[], Path], tmp_path: Path
) -> None:
    fill(folder)
    write(folder, "large.md", os.urandom(300_000))
    made = make_backup()
    another()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(Refused, match=os.strerror(errno.EFBIG)):
            restore(made.path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    restore(made.path)


# --- Over an instance, and interrupted --------------------------------------------------------------------------------


class Killed(BaseException):
    """As kill -9: from here on this thread changes nothing on the disk any more."""


class Killer:
    """Raises Killed at the n-th change of the disk after `arm(n)`, and at every one that is tried after it."""

    WRITES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.utime")

    def __init__(self) -> None:
        self.left: int | None = None
        self.seen = 0
        sys.addaudithook(self._hook)  # there is no way to remove it: it stays, and does nothing

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.left is None or not (event in self.WRITES or self._writes(event, arguments)):
            return
        if self.left <= 0:
            raise Killed
        self.left -= 1
        self.seen += 1

    def _writes(self, event: str, arguments: tuple[Any, ...]) -> bool:
        if event == "open":
            _, mode, flags = arguments
            return bool(mode and set(mode) & set("wax+")) or bool(not mode and flags & (os.O_WRONLY | os.O_RDWR))
        return False

    @contextlib.contextmanager
    def after(self, steps: int) -> Iterator[None]:
        self.left, self.seen = steps, 0
        try:
            yield
        finally:
            self.left = None


_killer: list[Killer] = []


@pytest.fixture
def killer() -> Killer:
    if not _killer:
        _killer.append(Killer())
    return _killer[0]


@pytest.fixture
def replaced(
    folder: Path, user: User, another: Callable[[], Path], settings: Settings
) -> tuple[Path, Callable[[], str]]:
    """A backup, an instance with other users and files that it is to replace, and what tells which of both it is."""
    fill(folder)
    talk(user)
    made = make_backup(folder.parent / "old.tar.gz")
    knowledge = another()
    if ON_SQLITE:
        call_command("migrate", verbosity=0)
    for name in ("bea", "cleo"):
        talk(User.objects.create_user(name, f"{name}@example.org", "x"))
    write(knowledge, "mine.md", "# Mine\n")
    write(knowledge, "leave.md", "# Leave\n\nOther leave.\n")
    write(knowledge, "own/deep/below.md", "# Below\n")
    write(knowledge, ".git/config", "untouched")
    (knowledge / "link.md").symlink_to("mine.md")
    data = settings.ENV.data_dir
    write(data, "chroma/x", "of the other")
    write(data, "calibration.json", "of the other")
    write(data, "secret_key", "k" * 50)

    def which() -> str:
        assert (knowledge / ".git/config").read_text() == "untouched"
        names = sorted(User.objects.values_list("username", flat=True))
        files = set(documents.present(knowledge, data))
        own = sorted(name for name in ("chroma", "calibration.json", "secret_key") if (data / name).exists())
        assert not (knowledge / STAGING).exists()
        assert not (data / STAGING).exists()
        found = names, files, own
        if found == (
            ["bea", "cleo"],
            {"mine.md", "leave.md", "own/deep/below.md", "link.md"},
            ["calibration.json", "chroma", "secret_key"],
        ):
            assert "Other" in (knowledge / "leave.md").read_text()
            return "as before"
        assert found == (["ada"], set(check_backup(made.path).documents), [])
        assert "16 weeks" in (knowledge / "leave.md").read_text()
        assert not (knowledge / "own").exists()
        return "restored"

    return made.path, which


def test_a_restore_replaces_an_instance_and_leaves_nothing_of_it(
    replaced: tuple[Path, Callable[[], str]], settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    file, which = replaced
    assert which() == "as before"
    with pytest.raises(Refused, match="2 accounts"):
        restore(file)
    call_command("restore", file, force=True, sync=True)
    said = capsys.readouterr().out
    assert "1 accounts, 1 conversations, 2 messages, 5 documents" in said
    assert "SECRET_KEY" not in said
    close_index()
    assert Source.objects.filter(state="indexed").count() == 3
    for name in ("chroma", "lexical"):
        assert (settings.ENV.data_dir / name).is_dir(), "made anew by the sync"


def test_a_restore_that_is_killed_anywhere_can_be_repeated_or_undone(
    replaced: tuple[Path, Callable[[], str]], killer: Killer
) -> None:
    file, which = replaced
    with killer.after(10_000):
        restore(file, force=True)
    steps = killer.seen
    assert which() == "restored"
    assert steps > 40
    found = set()
    for number, step in enumerate(range(1, steps, steps // 14)):
        with killer.after(step), contextlib.suppress(Killed):
            restore(file, force=True)
            break  # the first one had more to set aside
        left = journal.state()
        found.add(left)
        if left in (State.ASIDE, State.PLACING):
            assert [error.id for error in check_restore()] == ["backups.E001"]
            if number % 2:
                undo()
            else:
                restore(file)  # without --force: it is the one that was begun
        else:
            assert not check_restore()
            restore(file, force=True)
        assert which() == "restored"
    assert found >= {State.NOTHING, State.ASIDE, State.PLACING}


def test_who_was_erased_stays_erased_when_a_restore_is_killed_and_repeated(
    replaced: tuple[Path, Callable[[], str]], killer: Killer, user: User
) -> None:
    """Also when the database alone knew of it, which the killed restore has set aside."""
    file, _ = replaced
    Erasure.objects.create(user_id=user.pk, joined=user.date_joined)
    assert not erasure.ledger_of(backups_folder()).exists()
    for step in range(5, 200, 5):
        with killer.after(step), contextlib.suppress(Killed):
            restore(file, force=True)
        if journal.state() == State.PLACING:
            break
        if journal.is_under_way():
            undo()
    restore(file)
    assert not User.objects.filter(username="ada").exists()


def test_an_undone_restore_leaves_the_instance_before_it(
    replaced: tuple[Path, Callable[[], str]], killer: Killer, tmp_path: Path, settings: Settings
) -> None:
    file, which = replaced
    stops = 0
    for step in range(0, 200, 8):
        with killer.after(step), contextlib.suppress(Killed):
            restore(file, force=True)
        if journal.state() == State.DONE:
            break
        if not journal.is_under_way():
            continue
        stops += 1
        with pytest.raises(Refused):  # what cannot be restored does not take the way back
            restore(small(tmp_path / f"{step}.tar.gz"))
        with killer.after(stops * 2), contextlib.suppress(Killed):
            undo()
        if journal.is_under_way():  # undoing was killed too
            undo()
        assert which() == "as before"
    assert stops > 3


def test_a_restore_that_fails_half_way_puts_back_what_was_there(
    replaced: tuple[Path, Callable[[], str]], settings: Settings
) -> None:
    file, which = replaced
    (settings.ENV.knowledge_dir / "hotel").symlink_to("/nonexistent/.x")
    (settings.ENV.knowledge_dir / "sea").mkdir()
    (settings.ENV.knowledge_dir / "sea" / "Wale & Öl.md").mkdir()
    write(settings.ENV.knowledge_dir, "sea/Wale & Öl.md/.ignored", "in the way, and nobody's but its owner's")
    with pytest.raises(PutBack, match=r"is there again"):
        restore(file, force=True)
    assert (settings.ENV.knowledge_dir / "hotel").is_symlink()
    (settings.ENV.knowledge_dir / "hotel").unlink()
    assert which() == "as before"


def test_nothing_starts_on_a_half_restored_instance(folder: Path, db: None) -> None:
    fill(folder)
    assert not check_restore()
    record(State.PLACING)
    from django.core.management.base import SystemCheckError

    with pytest.raises(SystemCheckError, match="did not come to its end"):
        call_command("sync", skip_checks=False)
    record(State.DONE)
    assert not check_restore()


@only_sqlite
def test_a_damaged_database_can_be_replaced(replaced: tuple[Path, Callable[[], str]], settings: Settings) -> None:
    file, which = replaced
    connection.close()
    database = Path(connection.settings_dict["NAME"])
    database.write_bytes(b"SQLite format 3\0" + os.urandom(5000))
    with pytest.raises(Refused, match="--force"):
        restore(file)
    restore(file, force=True)
    assert which() == "restored"
    with contextlib.closing(sqlite3.connect(database)) as restored:
        assert restored.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@only_sqlite
def test_a_database_elsewhere_is_replaced_where_it_is(
    folder: Path, user: User, another: Callable[[], Path], tmp_path: Path
) -> None:
    fill(folder)
    made = make_backup()
    another()
    connection.close()
    elsewhere = tmp_path / "elsewhere" / "db.sqlite3"
    connection.settings_dict["NAME"] = str(elsewhere)
    restore(made.path)
    assert User.objects.get() == user
    assert [path.name for path in elsewhere.parent.iterdir() if not path.name.startswith("db")] == []
