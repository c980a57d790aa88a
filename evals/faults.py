"""python -m evals.faults: the whole stack of `make up` under load, and each part of it stopped and back.

People ask and read their history all the while. Printed for each fault: what they saw while the part was away, how
long after its return it took until a chat was answered again, and whether what had been answered is in the histories.
PostgreSQL and Redis are stopped by the commands that are given (`--stop-postgresql "pg_ctlcluster 15 main stop -m
immediate"`), and left alone without.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx

from evals.model_server import running_model_server
from evals.processes import family
from evals.served import Footnote, FullStack, NotServing, serving

PAGE = "# Leave\n\nParental leave is 16 weeks.\n"
QUESTION = "How long is parental leave?"
PEOPLE = 6
PAUSE = 0.1  # seconds between an answer and the next request
AWAY = 8.0  # seconds that a part stays away which nobody starts again
CALM = 5.0  # seconds of answers before the next fault
SETTLES = 12.0  # seconds after a fault in which something may still go wrong
PATIENCE = 120.0
HISTORY_EVERY = 4  # requests
STALL = 2.0  # seconds in which nobody is answered
OK = 200


@dataclass(frozen=True, slots=True)
class Fault:
    """back: what brings it back; None where supervisord does."""

    part: str
    what: str
    stop: Callable[[], object]
    back: Callable[[], object] | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """One request. status: 0 where the connection broke. answer: the id of a chat's answer."""

    at: float
    path: str
    status: int
    answer: str = ""


class Crowd:
    """People who ask without end."""

    def __init__(self, server: Footnote) -> None:
        self.server = server
        self.seen: list[Seen] = []
        self.tokens = [server.sign_up(f"person{number}") for number in range(PEOPLE)]
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._live, args=[token], daemon=True) for token in self.tokens]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE)

    def since(self, moment: float) -> list[Seen]:
        return [seen for seen in list(self.seen) if seen.at >= moment]

    def kept(self) -> set[str]:
        """Ids of the answers in all histories."""
        found: set[str] = set()
        for token in self.tokens:
            url: str | None = f"{self.server.url}/chat-history?page_size=200"
            while url:
                page = httpx.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=PATIENCE).json()
                found |= {m["id"] for c in page["results"] for m in c["messages"] if m["role"] == "assistant"}
                url = page["next"]
        return found

    def _live(self, token: str) -> None:
        number = 0
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.Client(base_url=self.server.url, headers=headers, timeout=PATIENCE) as client:
            while not self._stop.wait(PAUSE):
                number += 1
                path = "/chat-history?page_size=1" if number % HISTORY_EVERY == 0 else "/chat"
                try:
                    answer = client.get(path) if "?" in path else client.post(path, json={"message": QUESTION})
                except httpx.TransportError:
                    self.seen.append(Seen(time.monotonic(), path, 0))
                    continue
                done = answer.json()["message_id"] if path == "/chat" and answer.status_code == OK else ""
                self.seen.append(Seen(time.monotonic(), path, answer.status_code, done))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m evals.faults", description=__doc__)
    parser.add_argument("--database", default="", help="an empty PostgreSQL database; SQLite without it")
    parser.add_argument("--redis", default="", help="redis://host:port/number")
    for part in ("postgresql", "redis"):
        parser.add_argument(f"--stop-{part}", default="", help="a command")
        parser.add_argument(f"--start-{part}", default="", help="a command")
    options = parser.parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="footnote-faults-") as home, running_model_server() as model:
            model.reply = lambda _: "Parental leave is 16 weeks. [1]"
            knowledge = Path(home) / "knowledge"
            knowledge.mkdir()
            (knowledge / "leave.md").write_text(PAGE, "utf-8")
            server = FullStack(
                Path(home),
                knowledge,
                DATABASE_URL=options.database,
                REDIS_URL=options.redis,
                CHAT_MODEL="openai:stand-in",
                OPENAI_BASE_URL=model.url,
                OPENAI_API_KEY="none",
            )

            def model_fails(how: int | None) -> None:
                model.fail_with = how

            faults = [
                *_of_processes(server),
                Fault("model", "503", lambda: model_fails(503), lambda: model_fails(None)),
            ]
            for part, stop, start in (
                ("PostgreSQL", options.stop_postgresql, options.start_postgresql),
                ("Redis", options.stop_redis, options.start_redis),
            ):
                if stop:
                    faults.append(Fault(part, "stopped", partial(_run, stop), partial(_run, start)))
            with serving(server):
                return _measure(server, faults)
    except NotServing as error:
        sys.stderr.write(f"{error}\n")
        return 2


def _of_processes(server: Footnote) -> Iterator[Fault]:
    for part, pid in (
        ("web process", lambda: family(_program(server, "serve"))[1]),
        ("web server", lambda: _program(server, "serve")),
        ("scheduler", lambda: _program(server, "run_scheduler")),
        ("Chroma", lambda: _program(server, "run")),
    ):
        yield Fault(part, "kill -9", lambda find=pid: os.kill(find(), signal.SIGKILL))  # type: ignore[misc]


def _program(server: Footnote, word: str) -> int:
    for pid in family(server.pid)[1:]:
        with contextlib.suppress(OSError):  # it has just ended
            if word in Path(f"/proc/{pid}/cmdline").read_text().split("\0"):
                return pid
    raise NotServing(f"There is no process {word}.")


def _measure(server: Footnote, faults: Sequence[Fault]) -> int:
    crowd = Crowd(server)
    crowd.start()
    print(f"{'part':12} {'fault':9} {'chats meanwhile':34} {'others':26} {'answered again after':20}", flush=True)
    for fault in faults:
        time.sleep(CALM)
        began = time.monotonic()
        fault.stop()
        if fault.back is not None:
            time.sleep(AWAY)
            fault.back()
        back = time.monotonic()
        again = _answered_again(crowd, began, back)
        meanwhile = [seen for seen in crowd.since(began) if seen.at <= again]
        chats = Counter(_word(seen.status) for seen in meanwhile if seen.path == "/chat")
        others = Counter(_word(seen.status) for seen in meanwhile if seen.path != "/chat")
        print(f"{fault.part:12} {fault.what:9} {_told(chats):34} {_told(others):26} {again - back:.1f} s", flush=True)
    time.sleep(CALM)
    crowd.stop()
    answered = {seen.answer for seen in crowd.seen if seen.answer}
    lost = answered - crowd.kept()
    print(
        f"{len(answered)} answers were given, {len(lost)} of them are not in the histories; {len(crowd.seen)} requests"
    )
    return 1 if lost else 0


def _answered_again(crowd: Crowd, began: float, back: float) -> float:
    """When the last request since the fault began was refused, cut off or kept waiting; or the patience ended."""
    deadline = back + PATIENCE
    while time.monotonic() < deadline:
        time.sleep(0.2)
        times = [began, *(seen.at for seen in crowd.since(began))]
        bad = [seen.at for seen in crowd.since(began) if seen.status != OK]
        stalls = [end for start, end in itertools.pairwise(times) if end - start > STALL]
        last = max([back, *bad, *stalls])
        if times[-1] - last > SETTLES:
            return last
    return deadline


def _word(status: int) -> str:
    return str(status) if status else "cut off"


def _told(counts: Counter[str]) -> str:
    return ", ".join(f"{number} {word}" for word, number in sorted(counts.items())) or "none"


def _run(command: str) -> None:
    subprocess.run(shlex.split(command), check=True, timeout=PATIENCE)  # noqa: S603


if __name__ == "__main__":
    sys.exit(main())
