"""python -m evals.backups: how large a backup is, how long making and restoring it take, and what others notice of it.

An instance is filled with conversations and files, its server is asked by a few clients, quietly at first and then
while backups are made beside it; the last backup is restored into another instance, whose indexes a sync then makes.
With --database-url and --into, two empty PostgreSQL databases, it is measured on those.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from evals.scale import read_sentences
from evals.served import ROOT, Footnote, NotServing

SHIPPED = ROOT / "knowledge"
CLIENTS = 3
QUIET = 30.0  # seconds
PAUSE = 0.3  # seconds that a client waits between two calls: the machine is not full without a backup
BACKUPS = 5
USERS = 200
TURNS = 10  # questions of a conversation
BATCH = 2_000  # conversations written together


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m evals.backups", description="What backup and restore take.")
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--files", type=int, default=1_000)
    parser.add_argument("--database-url", default="", metavar="URL", help="an empty PostgreSQL database")
    parser.add_argument("--into", default="", metavar="URL", help="another one, to restore into")
    parser.add_argument("--fill", action="store_true", help=argparse.SUPPRESS)  # this instance's database
    options = parser.parse_args(arguments)
    if options.fill:
        _fill(options.messages)
        return 0
    try:
        with tempfile.TemporaryDirectory(prefix="footnote-backups-") as home:
            _measure(Path(home), options)
    except NotServing as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _measure(home: Path, options: argparse.Namespace) -> None:
    sentences = list(itertools.chain.from_iterable(read_sentences(SHIPPED)))
    folder = home / "files"
    size = write_files(folder, sentences, options.files)
    print(f"{options.messages} messages, {options.files} files of {size / 1e6:.1f} MB, {CLIENTS} clients")
    one = Footnote(home / "one", folder, DATABASE_URL=options.database_url)
    _manage(one, "migrate", "-v0")
    _run(one, "-m", "evals.backups", "--fill", "--messages", str(options.messages))
    _row("first sync: s, CPU s", *_manage(one, "sync"))
    one.start()
    try:
        token = one.sign_up("asks")
        noticed: dict[str, Mapping[str, list[float]]] = {}
        with _asked(one, token, sentences) as noticed["quiet"]:
            time.sleep(QUIET)
        made, spent = home / "made.tar.gz", []
        with _asked(one, token, sentences) as noticed["meanwhile"]:
            for _ in range(BACKUPS):
                made.unlink(missing_ok=True)
                spent.append(_manage(one, "backup", "--output", str(made)))
    finally:
        one.stop()
    _row("database, MB", one.database.stat().st_size / 1e6 if one.database.exists() else float("nan"))
    _row("backup, MB", made.stat().st_size / 1e6)
    _row("backup: s, CPU s (medians)", *(float(value) for value in np.median(spent, axis=0)))
    for kind in noticed["quiet"]:
        for name, calls in noticed.items():
            p50, p95 = np.quantile(calls[kind], [0.5, 0.95]) * 1000
            _row(f"{kind}, {name}: p50, p95, slowest, ms", p50, p95, max(calls[kind]) * 1000, len(calls[kind]))
    two = Footnote(home / "two", home / "restored", one.database.parent / "models", DATABASE_URL=options.into)
    _row("verify (restore --check): s, CPU s", *_manage(two, "restore", "--check", str(made)))
    _row("restore: s, CPU s", *_manage(two, "restore", str(made)))
    _row("sync after it (all vectors anew): s, CPU s", *_manage(two, "sync"))


def write_files(folder: Path, sentences: Sequence[str], count: int) -> int:
    """Markdown of three sections each, settled; returns the bytes of all."""
    chance = random.Random(0)  # noqa: S311 (nothing secret)
    size = 0
    for number in range(count):
        path = folder / f"{number % 20}" / f"{number}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        parts = [f"## Part {part} of {number}\n\n" + " ".join(chance.choices(sentences, k=5)) for part in range(3)]
        size += path.write_text(f"# File {number}\n\n" + "\n\n".join(parts) + "\n")
        os.utime(path, (1_700_000_000, 1_700_000_000))
    return size


def _fill(messages: int) -> None:
    """Users, conversations, and messages with citations, as they would be after some talk."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "backend.settings"
    import django

    django.setup()
    from django.utils import timezone

    from backend.accounts.models import User
    from backend.chat.models import Citation, Conversation, Message

    chance = random.Random(0)  # noqa: S311
    sentences = list(itertools.chain.from_iterable(read_sentences(SHIPPED)))
    users = User.objects.bulk_create([User(username=f"u{n}", email=f"u{n}@example.org") for n in range(USERS)])
    wanted = -(-messages // (2 * TURNS))
    for start in range(0, wanted, BATCH):
        conversations = Conversation.objects.bulk_create(
            Conversation(user=users[n % USERS], title=chance.choice(sentences)[:80], updated_at=timezone.now())
            for n in range(start, min(start + BATCH, wanted))
        )
        rows = []
        for conversation in conversations:
            for _ in range(TURNS):
                rows.append(Message(conversation=conversation, role="user", content=chance.choice(sentences)))
                text = " ".join(chance.choices(sentences, k=3))
                retrieved = [{"source": "a.md", "text": chance.choice(sentences), "score": 0.5} for _ in range(4)]
                answer = Message(conversation=conversation, role="assistant", content=text, retrieved=retrieved)
                answer.outcome = "grounded"
                rows.append(answer)
        Message.objects.bulk_create(rows, batch_size=500)
        Citation.objects.bulk_create(
            [
                Citation(message=row, n=1, source="a.md", start=0, end=9, quote=row.content[:200], score=1)
                for row in rows
                if row.role == "assistant"
            ],
            batch_size=500,
        )


@contextmanager
def _asked(server: Footnote, token: str, questions: Sequence[str]) -> Iterator[Mapping[str, list[float]]]:
    """Meanwhile, clients search, chat and read their history; by kind, the seconds of each call. NotServing."""
    spent: dict[str, list[float]] = defaultdict(list)
    stop = threading.Event()
    failed: list[NotServing] = []

    def ask(client: int) -> None:
        chance = random.Random(client)  # noqa: S311
        while not stop.is_set() and not failed:
            question = chance.choice(questions)[:200]
            for kind, path, data in (
                ("search", "/search?q=when+are+messages+erased", None),
                ("chat", "/chat", {"message": question}),
                ("history", "/chat-history?page_size=5", None),
            ):
                began = time.perf_counter()
                try:
                    server.call(path, data, token)
                except NotServing as error:
                    failed.append(error)
                spent[kind].append(time.perf_counter() - began)
                stop.wait(PAUSE)

    threads = [threading.Thread(target=ask, args=[number]) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        yield spent
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    if failed:
        raise failed[0]


def _manage(server: Footnote, *arguments: str) -> tuple[float, float]:
    return _run(server, "manage.py", *arguments)


def _run(server: Footnote, *arguments: str) -> tuple[float, float]:
    """Seconds by the clock and of the processor. NotServing with what it said when it fails."""
    began, began_cpu = time.perf_counter(), _cpu()
    done = subprocess.run(  # noqa: S603
        [sys.executable, *arguments], cwd=ROOT, env=server.environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise NotServing(f"{' '.join(arguments)} failed:\n{done.stderr}")
    return time.perf_counter() - began, _cpu() - began_cpu


def _cpu() -> float:
    """Of children that have ended."""
    used = os.times()
    return used.children_user + used.children_system


def _row(name: str, *values: float) -> None:
    print(f"{name:<44}" + "".join(f"{value:>10.1f}" for value in values), flush=True)


if __name__ == "__main__":
    sys.exit(main())
