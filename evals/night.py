"""python -m evals.night: several real processes, every job at a short interval, leaders that are killed; then every
slot is counted. Or `--messages 1000000`: what erasing so many old messages costs, and what others notice of it.

What was begun is told by the processes' logs, what was noted by the database; both must say the same: each slot once.
The folder with everything is kept where `--keep` says.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from backend.environment import BASE_DIR
from evals.served import Footnote, NotServing

SHIPPED = BASE_DIR / "knowledge"
SECONDS = "*/10 * * * * *"  # of the jobs that have a process of their own
SYNC_SECONDS = 5
SCHEDULES = ("HISTORY", "TOKENS", "RECONCILE", "COMPACT", "REPORT", "BACKUP")
BEGUN = re.compile(r"^(\S+ \S+) DEBUG tasks\.runs: begun: (\w+) (.+) attempt (\d+) in a (\w+)$")
LEADS = re.compile(r"^(\S+ \S+) INFO tasks\.leader: \S+:(\d+) runs the jobs")
PASSWORD = "seven-green-bicycles"  # noqa: S105 (of a user of a server that lives for minutes)
COLUMNS = ("slots", "begun once", "begun twice", "rows", "not begun", "went by", "tried again")
CLIENTS = 4
OTHERS_PAUSE = 0.1  # seconds between two requests of a client
ALONE_SECONDS = 30.0


@dataclass
class Night:
    """What was seen: the processes' logs, and when which leader was killed."""

    logs: list[Path]
    kills: list[tuple[float, int]] = field(default_factory=list)

    def lines(self, pattern: re.Pattern[str]) -> Iterator[tuple[float, tuple[str, ...]]]:
        """When it was said, and what, in order."""
        found = []
        for log in self.logs:
            for line in log.read_text("utf-8", "replace").splitlines():
                if match := pattern.match(line):
                    at, *rest = match.groups()
                    found.append((datetime.strptime(at, "%Y-%m-%d %H:%M:%S,%f").timestamp(), tuple(rest)))  # noqa: DTZ007
        return iter(sorted(found))

    def leader(self) -> int | None:
        """The process that has said last that it leads."""
        pids = [int(pid) for _, (pid,) in self.lines(LEADS)]
        return pids[-1] if pids else None


def count_slots(options: argparse.Namespace, home: Path) -> bool:
    settings = {f"SCHEDULE_{name}": SECONDS for name in SCHEDULES}
    settings |= {"SYNC_INTERVAL": str(SYNC_SECONDS), "LOG_LEVEL": "DEBUG", "DATABASE_URL": options.database}
    server = Footnote(home, SHIPPED, None, **settings)
    night = Night([server.log])
    with ExitStack() as running:
        running.callback(server.stop)
        server.start()
        for number in range(options.processes - 1):
            running.enter_context(_scheduler(server.environment, home / f"scheduler-{number}.log", night))
        end = time.monotonic() + options.minutes * 60
        while time.monotonic() < end:
            time.sleep(min(options.kill_every or options.minutes * 60, max(0.0, end - time.monotonic())))
            leader = night.leader()
            if options.kill_every and leader and time.monotonic() < end - 30:
                os.kill(leader, signal.SIGKILL)
                night.kills.append((time.time(), leader))
    _django(server.environment)
    return _report_slots(night)


@contextmanager
def _scheduler(environment: Mapping[str, str], log: Path, night: Night) -> Iterator[None]:
    """A `manage.py run_scheduler` that is started again when it ends, as a supervisor would."""
    told = threading.Event()
    night.logs.append(log)
    log.touch()

    def supervise() -> None:
        with log.open("ab") as stream:
            while not told.is_set():
                with subprocess.Popen(
                    [sys.executable, "manage.py", "run_scheduler"],
                    cwd=BASE_DIR,
                    env=environment,
                    stdout=stream,
                    stderr=stream,
                ) as process:
                    while process.poll() is None and not told.wait(0.2):
                        pass
                    process.terminate()

    thread = threading.Thread(target=supervise)
    thread.start()
    try:
        yield
    finally:
        told.set()
        thread.join()


def _report_slots(night: Night) -> bool:
    from backend.jobs.models import JobRun

    begun: dict[str, Counter[str]] = defaultdict(Counter)
    again: Counter[str] = Counter()
    for _, (job, slot, attempt, _) in night.lines(BEGUN):
        if attempt == "1":
            begun[job][slot] += 1
        else:
            again[job] += 1
    good = True
    print(f"{'job':<20}" + "".join(f"{name:>13}" for name in COLUMNS))
    for job in sorted(begun):
        rows = JobRun.objects.filter(job=job, slot__isnull=False)
        missed = sum(run.counts.get("slots", 1) for run in rows.filter(state="missed"))
        taken = {str(slot) for slot in rows.exclude(state="missed").values_list("slot", flat=True)}
        times = Counter(begun[job].values())
        more = sum(number for count, number in times.items() if count > 1)
        silent = len(taken - set(begun[job]))
        numbers = (len(taken) + missed, times[1], more, len(taken), silent, missed, again[job])
        print(f"{job:<20}" + "".join(f"{number:>13}" for number in numbers))
        states = Counter(rows.values_list("state", flat=True))
        print(" " * 21 + ", ".join(f"{number} {state}" for state, number in sorted(states.items())))
        good &= not more and len(taken) == len(begun[job])
    leads = list(night.lines(LEADS))
    waits = []
    for at, killed in night.kills:
        later = [moment - at for moment, (pid,) in leads if moment > at and int(pid) != killed]
        if later:
            waits.append(later[0])
    print(f"leaders killed: {len(night.kills)}, replaced: {len(waits)}")
    if waits:
        print(f"take-over, s: median {np.median(waits):.1f}, longest {max(waits):.1f}")
    return good and len(waits) == len(night.kills)


def _django(environment: Mapping[str, str]) -> None:
    """The database of the server, in this process."""
    os.environ.update(environment)
    os.environ["DJANGO_SETTINGS_MODULE"] = "backend.settings"
    import django

    django.setup()


def erase_messages(options: argparse.Namespace, home: Path) -> bool:
    settings = {"SYNC_INTERVAL": "0", "DATABASE_URL": options.database}
    server = Footnote(home, SHIPPED, None, **settings)
    server.start()
    try:
        token = server.sign_up("reader")
        token = server.call("/api-keys", {"name": "night", "scopes": ["chat"]}, token)["key"]  # which lasts
        _django(server.environment)
        began = time.perf_counter()
        _fill(options.messages)
        print(f"{options.messages} old messages in {time.perf_counter() - began:.0f} s")
        alone = _Others(server.url, token)
        alone.run_for(ALONE_SECONDS)
        print(f"others alone:       {alone}")
        beside = _Others(server.url, token)
        beside.start()
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "manage.py", "run_job", "old_conversations"],
            cwd=BASE_DIR,
            env=server.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        took = time.perf_counter() - began
        beside.stop()
        print(f"others meanwhile:   {beside}")
        print(f"{done.stdout.strip()}{done.stderr.strip()} in {took:.0f} s")
        from backend.chat.models import Conversation, Message

        left = Message.objects.filter(user_is_old()).count()
        print(f"left: {left} messages, {Conversation.objects.exclude(title='mine').count()} conversations")
        return done.returncode == 0 and left == 0 and not beside.failed
    finally:
        server.stop()


def user_is_old() -> Any:
    from django.db.models import Q

    return Q(conversation__user__username="old")


def _fill(messages: int) -> None:
    """Conversations of twenty messages; every answer has a citation and what was retrieved for it."""
    from django.db import connection
    from django.utils import timezone

    from backend.accounts.models import User
    from backend.chat.models import Citation, Conversation, Message

    user = User.objects.create_user("old", "old@example.org")
    start = timezone.now() - timedelta(days=400)
    retrieved: list[Any] = [{"source": "a.md", "page": None, "heading": [], "snippet": "s" * 150, "score": 0.5}] * 3
    per_lot = 5_000
    for first in range(0, messages, per_lot):
        number = min(per_lot, messages - first)
        when = start + timedelta(days=300) * (first / messages)
        conversations = [Conversation(user=user, title="old", updated_at=when) for _ in range(-(-number // 20))]
        rows = [
            Message(
                conversation=conversations[i // 20],
                role="assistant" if i % 2 else "user",
                content="What was said a long time ago. " * (10 if i % 2 else 3),
                created_at=when + timedelta(seconds=i),
                retrieved=retrieved if i % 2 else [],
            )
            for i in range(number)
        ]
        cited = [
            Citation(
                message=row, n=1, source="a.md", source_version="0" * 64, start=0, end=90, quote="q" * 90, score=0.5
            )
            for row in rows[1::2]
        ]
        Conversation.objects.bulk_create(conversations)
        Message.objects.bulk_create(rows)
        Citation.objects.bulk_create(cited)
    connection.close()


class _Others:
    """Clients that list, open, read and rename conversations meanwhile."""

    def __init__(self, url: str, token: str) -> None:
        self.url, self.token = url, token
        self.reads: list[float] = []
        self.writes: list[float] = []
        self.failed: list[str] = []
        self._told = threading.Event()
        self._threads = [threading.Thread(target=self._work) for _ in range(CLIENTS)]

    def run_for(self, seconds: float) -> None:
        self.start()
        time.sleep(seconds)
        self.stop()

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._told.set()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        with httpx.Client(base_url=self.url, timeout=60, headers={"Authorization": f"Bearer {self.token}"}) as client:
            while not self._told.wait(OTHERS_PAUSE):
                opened = self._ask(self.writes, client, "POST", "/conversations", json={"title": "mine"})
                self._ask(self.reads, client, "GET", "/conversations", params={"page_size": 20})
                if opened is not None:
                    self._ask(self.writes, client, "DELETE", f"/conversations/{opened.json()['id']}")

    def _ask(
        self, times: list[float], client: httpx.Client, method: str, path: str, **options: Any
    ) -> httpx.Response | None:
        began = time.perf_counter()
        try:
            answer = client.request(method, path, **options)
        except httpx.TransportError as error:
            self.failed.append(repr(error))
            return None
        times.append(time.perf_counter() - began)
        if answer.status_code >= 400:
            self.failed.append(answer.text)
            return None
        return answer

    def __str__(self) -> str:
        told = []
        for name, times in (("reads", self.reads), ("writes", self.writes)):
            p50, p95, most = (1000 * np.quantile(times or [0.0], q) for q in (0.5, 0.95, 1.0))
            told.append(f"{len(times)} {name} p50 {p50:.0f} p95 {p95:.0f} longest {most:.0f} ms")
        return ", ".join([*told, f"{len(self.failed)} failed {self.failed[:1] or ''}"])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m evals.night", description="Do jobs run once, and cost nobody much?"
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--processes", type=int, default=4, help="that would run the jobs; one of them is the server")
    parser.add_argument(
        "--kill-every", type=float, default=60.0, help="seconds between two kills of the leader; 0: none"
    )
    parser.add_argument("--database", default="", help="an empty one: postgresql:///name; SQLite without it")
    parser.add_argument("--messages", type=int, help="erase so many old messages instead")
    parser.add_argument("--keep", type=Path, help="where logs and data are kept")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="footnote-night-") as temporary:
        home = options.keep or Path(temporary)
        try:
            good = erase_messages(options, home) if options.messages else count_slots(options, home)
        except NotServing as error:
            print(error, file=sys.stderr)
            return 2
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
