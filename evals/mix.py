"""python -m evals.mix: people who do what people do, against a server of its own and, beside it, other ones.

They sign in, ask, ask further, read along, look at their history, search, and put a file into the folder now and then,
with pauses. Printed by kind: how many, p50, p95, errors; and the CPU of a request of this mix and of a chat alone.

`--set` starts a second server with these settings, a database of its own among them, and `--up` makes it the processes
of `make up`; `--beside` asks one that runs already, with whatever model it has. The servers that are started here have
a model that speaks OpenAI's protocol at a set pace.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import urlencode

from evals.load import Call, Client, Reading, quantile, streamed
from evals.processes import load, usage
from evals.served import PASSWORD, ROOT, Footnote, FullStack, NotServing, Served, serving, setting
from evals.serving import pace_of, questions_about
from evals.stand_in import running_stand_in

Kind = Literal["sign in", "question", "follow-up", "stream", "history", "search", "upload"]
KINDS: tuple[Kind, ...] = get_args(Kind)
SHARES: dict[Kind, float] = {
    "sign in": 4,
    "question": 24,
    "follow-up": 20,
    "stream": 28,
    "history": 12,
    "search": 11,
    "upload": 1,
}
CHATS: tuple[Kind, ...] = ("question", "follow-up", "stream")
SHIPPED = ROOT / "knowledge"
STAFF = "operator"
ALONE = 0.25  # share of the time in which nothing is asked but chats, for what one costs


@dataclass(frozen=True, slots=True)
class Options:
    """people: at once. pause: seconds from an answer to their next request, on average. answer: of the model's."""

    people: int = 30
    seconds: float = 60.0
    pause: float = 1.0
    answer: float = 1.0
    tokens: int = 20
    seed: int = 7


@dataclass(frozen=True, slots=True)
class Stack:
    """A server that runs. staff: a token of somebody who may upload; without one nobody does. pid: of its first
    process, where its CPU can be read.
    """

    name: str
    port: int
    tokens: Sequence[str]
    people: Sequence[str]
    staff: str = ""
    pid: int | None = None

    def cpu(self) -> float:
        """Seconds so far, of all its processes; NaN where they are not known."""
        return float("nan") if self.pid is None else usage(self.pid).cpu


@dataclass(slots=True)
class Column:
    """What one stack did. of_a_request and of_a_chat: CPU in ms."""

    stack: str
    readings: dict[Kind, list[Reading]] = field(default_factory=dict)
    seconds: float = 0.0
    of_a_request: float = float("nan")
    of_a_chat: float = float("nan")

    @property
    def count(self) -> int:
        return sum(map(len, self.readings.values()))

    @property
    def errors(self) -> list[Reading]:
        return [reading for readings in self.readings.values() for reading in readings if not reading.ok]


def run_mix(stack: Stack, questions: Sequence[str], options: Options) -> Column:
    """Chats alone for a while, then the mix."""
    alone = {kind: share for kind, share in SHARES.items() if kind in CHATS}
    mixed = {kind: share for kind, share in SHARES.items() if kind != "upload" or stack.staff}
    chats = _measure(stack, questions, options, alone, options.seconds * ALONE)
    column = _measure(stack, questions, options, mixed, options.seconds)
    column.of_a_chat = chats.of_a_request
    return column


def _measure(
    stack: Stack, questions: Sequence[str], options: Options, shares: dict[Kind, float], seconds: float
) -> Column:
    column = Column(stack.name, {kind: [] for kind in shares})
    before, began = stack.cpu(), time.perf_counter()
    asyncio.run(_talk(_Crowd(stack, questions, options, shares, began + seconds, column)))
    column.seconds = time.perf_counter() - began
    column.of_a_request = (stack.cpu() - before) / max(1, column.count) * 1000
    return column


@dataclass(frozen=True, slots=True)
class _Crowd:
    stack: Stack
    questions: Sequence[str]
    options: Options
    shares: dict[Kind, float]
    until: float
    column: Column


async def _talk(crowd: _Crowd) -> None:
    await asyncio.gather(*(_person(crowd, number) for number in range(crowd.options.people)))


async def _person(crowd: _Crowd, number: int) -> None:
    chance = random.Random(crowd.options.seed * 1000 + number)  # noqa: S311 (nothing secret)
    client = Client(crowd.stack.port)
    conversation = ""
    await asyncio.sleep(chance.random() * crowd.options.pause)
    while time.perf_counter() < crowd.until:
        kind: Kind = chance.choices(list(crowd.shares), list(crowd.shares.values()))[0]
        if kind == "follow-up" and not conversation:
            kind = "question"
        reading = await client.ask(_call(crowd, kind, number, chance, conversation))
        crowd.column.readings[kind].append(reading)
        if kind in CHATS and reading.ok:
            conversation = reading.said["conversation_id"]
        await asyncio.sleep(chance.random() * 2 * crowd.options.pause)
    client.close()


def _call(crowd: _Crowd, kind: Kind, number: int, chance: random.Random, conversation: str) -> Call:
    stack = crowd.stack
    who = number % len(stack.tokens)
    token, question = stack.tokens[who], chance.choice(crowd.questions)
    match kind:
        case "sign in":
            return Call("/login", {"username": stack.people[who], "password": PASSWORD})
        case "question":
            return Call("/chat", {"message": question}, token)
        case "follow-up":
            return Call("/chat", {"message": question, "conversation_id": conversation}, token)
        case "stream":
            return streamed(Call("/chat", {"message": question}, token))
        case "history":
            return Call("/chat-history?page_size=20", token=token)
        case "search":
            return Call(f"/search?{urlencode({'q': question, 'k': 8})}", token=token)
        case "upload":
            text = f"# Note {number}\n\nThe {number}th shelf was counted at {chance.random()} of the day.\n"
            return Call("/sources", token=stack.staff, file=(f"note-{number}.md", text.encode()))


@contextmanager
def own(
    name: str,
    folder: Path,
    options: Options,
    settings: Mapping[str, str],
    models: Path | None = None,
    *,
    kind: type[Footnote] = Footnote,
) -> Iterator[Stack]:
    """A server (or the full stack) that is started for it, over a copy of the folder; the other settings are the
    defaults. models: see Footnote.
    """
    with tempfile.TemporaryDirectory(prefix="footnote-mix-") as home, running_stand_in() as model:
        files = shutil.copytree(folder, Path(home) / "files")
        given = {"CHAT_MODEL": "openai:mix", "OPENAI_BASE_URL": model.url, "OPENAI_API_KEY": "none", **settings}
        server = kind(Path(home) / "footnote", files, models, **given)
        with serving(server):
            server.wait_until_indexed()
            _make_staff(server)
            people = [f"person{i}" for i in range(max(1, options.people // 4))]
            tokens = [server.sign_up(name) for name in people]
            server.call("/chat", {"message": "Is it ready?"}, tokens[0])
            model.pace(pace_of(options.tokens, options.answer))
            yield Stack(name, server.port, tokens, people, server.log_in(STAFF), server.pid)


def _make_staff(server: Served) -> None:
    environment = {**server.environment, "DJANGO_SUPERUSER_PASSWORD": PASSWORD}
    command = [sys.executable, "manage.py", "createsuperuser", "--noinput", "--username", STAFF]
    made = subprocess.run(  # noqa: S603
        [*command, "--email", f"{STAFF}@example.org"], cwd=ROOT, env=environment, capture_output=True, check=False
    )
    if made.returncode:
        raise NotServing(f"No account for staff: {made.stderr.decode()}")


def running(port: int, options: Options, staff: str = "", pid: int | None = None) -> Stack:
    """A server on this machine that somebody else started. staff: NAME:PASSWORD."""
    server = Served([], {}, port, "/readyz", Path(os.devnull))
    run = f"{time.time():.0f}"
    people = [f"mix{run}-{i}" for i in range(max(1, options.people // 4))]
    for name in people:
        server.call("/signup", {"username": name, "email": f"{name}@example.org", "password": PASSWORD})
    tokens = [server.call("/login", {"username": name, "password": PASSWORD})["access"] for name in people]
    name, _, password = staff.partition(":")
    token = server.call("/login", {"username": name, "password": password})["access"] if staff else ""
    return Stack("beside", port, tokens, people, token, pid)


def report(columns: Sequence[Column]) -> Iterator[str]:
    """The table, the stacks side by side, and what went wrong."""
    head = f"{'':10}" + "".join(
        f"{column.stack + ': n':>14}{'p50 ms':>9}{'p95 ms':>9}{'errors':>8}" for column in columns
    )
    yield head
    for kind in KINDS:
        yield f"{kind:10}" + "".join(_cells(column.readings.get(kind, [])) for column in columns)
    for column in columns:
        yield (
            f"{column.stack}: {column.count / column.seconds:.1f} requests/s; CPU {column.of_a_request:.1f} ms a "
            f"request, {column.of_a_chat:.1f} ms a chat; load of the machine {load():.1f}"
        )
        firsts = [s * 1000 for one in column.readings.get("stream", []) if (s := one.to_first_token) is not None]
        p50, p95 = quantile(firsts, 0.5), quantile(firsts, 0.95)
        yield f"{column.stack}: first token of a stream, p50 {p50:.0f} ms, p95 {p95:.0f} ms"
        for error in sorted({reading.error[:160] for reading in column.errors}):
            yield f"  {column.stack}: {error}"


def _cells(readings: Sequence[Reading]) -> str:
    times = [reading.seconds * 1000 for reading in readings if reading.ok]
    errors = sum(not reading.ok for reading in readings)
    return f"{len(readings):>14}{quantile(times, 0.5):>9.0f}{quantile(times, 0.95):>9.0f}{errors:>8}"


def main(arguments: Sequence[str] | None = None) -> int:
    standard = Options()
    parser = argparse.ArgumentParser(prog="python -m evals.mix", description="A realistic mix of requests.")
    parser.add_argument("folder", nargs="?", type=Path, default=SHIPPED, help="files to ask about")
    parser.add_argument("--people", type=int, default=standard.people, help="at once")
    parser.add_argument("--seconds", type=float, default=standard.seconds)
    parser.add_argument("--pause", type=float, default=standard.pause, help="seconds between a person's requests")
    parser.add_argument("--answer", type=float, default=standard.answer, help="seconds that the model takes")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", type=setting, help="of a second server beside it"
    )
    parser.add_argument("--up", action="store_true", help="the second server is the processes of `make up`")
    parser.add_argument("--beside", type=int, metavar="PORT", help="a server that runs, to be measured as well")
    parser.add_argument("--beside-pid", type=int, metavar="PID", help="its first process, for its CPU")
    parser.add_argument("--beside-staff", default="", metavar="NAME:PASSWORD", help="who uploads there")
    given: Any = parser.parse_args(arguments)
    options = Options(given.people, given.seconds, given.pause, given.answer)
    try:
        questions = questions_about(given.folder)
        columns: list[Column] = []
        with own("embedded", given.folder, options, {}) as stack:
            columns.append(run_mix(stack, questions, options))
        if given.set or given.up:
            name, kind = ("make up", FullStack) if given.up else ("as set", Footnote)
            with own(name, given.folder, options, dict(given.set), kind=kind) as stack:
                columns.append(run_mix(stack, questions, options))
        if given.beside:
            columns.append(
                run_mix(running(given.beside, options, given.beside_staff, given.beside_pid), questions, options)
            )
    except NotServing as error:
        print(error, file=sys.stderr)
        return 2
    for line in report(columns):
        print(line)
    return 1 if any(column.errors for column in columns) else 0


if __name__ == "__main__":
    sys.exit(main())
