"""The chat part of `make bench`: the real server and evals/plain_app.py over HTTP, each in a process of its own.

Both ask the same stand-in for a model (evals/stand_in.py), read the same files and answer the same client. They take
turns, the first one changing from point to point. What is told of time is over the model's own time, which the same
client measures against the stand-in itself. CPU is that of the server's processes, by /proc: clocks suffer from
whatever else the machine does, and from the client and the model, which share it.

For latencies, clients come evenly, RATE of them a second, so that neither side is measured by its queue: the model
takes its time accordingly. The first round of each client warms up and is counted in CPU alone.
"""

from __future__ import annotations

import asyncio
import functools
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from evals.load import Call, Reading, keep_asking, quantile, streamed
from evals.processes import load, memory_mb
from evals.scale import make_questions, read_sentences
from evals.served import Footnote, NotServing, Served, free_port
from evals.stand_in import Pace, StandIn, running_stand_in

RATE = 10  # clients a second
USERS = 8
K = 4
SETTLES = 3.0  # seconds after a question, until memory is read
FIRST_SPREAD = 2.0  # seconds over which the model itself is asked for its first tokens


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured; the tests take less. long: tokens, beside `streamed`, for what a token costs."""

    plain: int = 20
    streamed: int = 50
    long: int = 250
    chats: tuple[int, ...] = (1, 32, 200)
    streams: tuple[int, ...] = (1, 32, 100, 200)
    alone: int = 20  # rounds of a single client; several have two
    crowd: int = 32
    crowded: int = 6  # rounds of them with a model that answers at once
    costly: int = 4  # rounds of eight clients, for what a token costs
    reads: int = 150
    history: int = 50  # messages
    shortest: float = 0.3  # seconds of an answer
    shortest_stream: float = 1.5


@dataclass(frozen=True, slots=True)
class Row:
    """more: more of it is better."""

    name: str
    ours: float
    theirs: float
    more: bool = False


@dataclass(frozen=True, slots=True)
class _Side:
    """A server, and how it is asked."""

    server: Served
    questions: Sequence[str]
    tokens: Sequence[str] = ("",)

    def chat(self, i: int, number: int, **more: Any) -> Call:
        question = self.questions[(i * 7 + number) % len(self.questions)]
        return Call("/chat", {"message": question, **more}, self.tokens[i % len(self.tokens)])


@dataclass(frozen=True, slots=True)
class _Run:
    """What one side did at one point."""

    readings: Sequence[Reading]
    seconds: float
    cpu: float

    @property
    def counted(self) -> list[Reading]:
        return [reading for reading in self.readings if reading.ok]

    @property
    def warm(self) -> list[Reading]:
        """Without the first round of each client."""
        return [reading for reading in self.counted if reading.number]

    @property
    def cpu_ms(self) -> float:
        return self.cpu / max(1, len(self.counted)) * 1000


def compare_serving(folder: Path, plan: Plan | None = None, models: Path | None = None) -> Iterator[Row]:
    """The rows of the table, as they are measured. NotServing where a server does not start. models: see Footnote."""
    plan = plan or Plan()
    questions = questions_about(folder)
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="footnote-bench-")))
        model = stack.enter_context(running_stand_in())
        ours = Footnote(
            home / "footnote",
            folder,
            models,
            CHAT_MODEL="openai:bench",
            OPENAI_BASE_URL=model.url,
            OPENAI_API_KEY="none",
        )
        theirs = _plain(folder, home, models, model)
        for server in (ours, theirs):
            stack.callback(server.stop)
        yield from _starts(ours, theirs)
        token = ours.sign_up("first")
        yield from _memory(_Side(ours, questions, [token]), _Side(theirs, questions))
        tokens = [token, *(ours.sign_up(f"user{i}") for i in range(1, USERS))]
        measure = _Measure(plan, model, _Side(ours, questions, tokens), _Side(theirs, questions))
        yield from measure.chats()
        yield from measure.crowd()
        yield from measure.streams()
        yield from measure.tokens()
        yield from measure.searches()
        yield from measure.history()


def questions_about(folder: Path) -> list[str]:
    """Words in a row from the folder's sentences. NotServing where there is too little text."""
    if sentences := read_sentences(folder):
        return make_questions(sentences)
    raise NotServing(f"{folder} holds too little text to make questions of.")


def _plain(folder: Path, home: Path, models: Path | None, model: StandIn) -> Served:
    port = free_port()
    own = home / "plain"
    own.mkdir()
    if models is not None:
        (own / "models").symlink_to(models)
    environment = os.environ | {"OPENAI_BASE_URL": model.url, "OPENAI_API_KEY": "none"}
    command = [sys.executable, "-m", "evals.plain_app", str(folder), str(own), str(port)]
    return Served(command, environment, port, "/readyz", home / "plain.log")


def _starts(ours: Footnote, theirs: Served) -> Iterator[Row]:
    """Both read the folder at their first start; what is told is the second."""
    for server in (ours, theirs):
        server.start()
        if isinstance(server, Footnote):
            server.wait_until_indexed()
        server.stop()
    yield Row("second start, s", ours.start(), theirs.start())


def _memory(ours: _Side, theirs: _Side) -> Iterator[Row]:
    sides = (ours, theirs)
    yield _row("memory at the start, MB", (memory_mb(side.server.pid) for side in sides))
    for side in sides:
        asyncio.run(keep_asking(side.server.port, 1, functools.partial(_first, side)))
    time.sleep(SETTLES)
    yield _row("memory after a chat, MB", (memory_mb(side.server.pid) for side in sides))


def _first(side: _Side, i: int, number: int) -> Call | None:
    return side.chat(i, number) if number == 0 else None


class _Measure:
    def __init__(self, plan: Plan, model: StandIn, ours: _Side, theirs: _Side) -> None:
        self.plan = plan
        self.model = model
        self.ours = ours
        self.theirs = theirs
        self.turn = 0

    def chats(self) -> Iterator[Row]:
        """Unstreamed: what is added to the model's time, and what it takes of the processor."""
        for clients in self.plan.chats:
            pace = pace_of(self.plan.plain, max(self.plan.shortest, clients / RATE))
            self.model.pace(pace)
            own = self._own(clients, stream=False)
            name = f"chat, {clients} at once"
            yield from self._over(name, own, *self._both(clients, pace.seconds), lambda reading: reading.seconds)

    def crowd(self) -> Iterator[Row]:
        """As many as come with a model that answers at once."""
        plan = self.plan
        self.model.pace(Pace(plan.plain))
        ours, theirs = self._both(plan.crowd, 0.0, rounds=plan.crowded)
        speeds = (len(run.counted) / run.seconds for run in (ours, theirs))
        yield _row(f"chats/s, {plan.crowd} at once", speeds, more=True)
        yield from self._cpu(f"chat in full load, {plan.crowd}", ours, theirs)

    def streams(self) -> Iterator[Row]:
        for clients in self.plan.streams:
            pace = pace_of(self.plan.streamed, max(self.plan.shortest_stream, clients / RATE))
            self.model.pace(pace)
            own = self._own(clients, stream=True)
            name = f"stream, {clients} at once"
            first = self._both(clients, pace.seconds, stream=True)
            yield from self._over(f"{name}, first token", own, *first, lambda reading: reading.to_first_token)

    def tokens(self) -> Iterator[Row]:
        """What one more token of a stream takes of the processor."""
        plan = self.plan
        runs = []
        for tokens in (plan.streamed, plan.long):
            pace = pace_of(tokens, plan.shortest_stream)
            self.model.pace(pace)
            runs.append(self._both(8, pace.seconds, rounds=plan.costly, stream=True))
        more = plan.long - plan.streamed
        costs = [(long.cpu_ms - short.cpu_ms) / more for short, long in zip(*runs, strict=True)]
        yield _row("a streamed token, CPU ms", costs)

    def searches(self) -> Iterator[Row]:
        def call(side: _Side, i: int, number: int) -> Call:
            asked = {"q": side.questions[number % len(side.questions)], "k": K}
            if side is self.theirs:
                return Call("/search", asked)
            return Call(f"/search?{urlencode(asked)}", None, side.tokens[0])

        yield from self._reads("search", call)

    def history(self) -> Iterator[Row]:
        """Of a conversation of `history` messages with their citations."""
        self.model.pace(Pace(self.plan.streamed))
        paths = {}
        for side, path in ((self.ours, "/chat-history"), (self.theirs, "/history")):
            conversation: dict[str, str] = {}
            for number in range(self.plan.history // 2):
                said = side.server.call("/chat", side.chat(0, number, **conversation).data, side.tokens[0])
                conversation = {"conversation_id": said["conversation_id"]}
            paths[id(side)] = f"{path}?{urlencode(conversation)}"
        yield from self._reads("history", lambda side, i, number: Call(paths[id(side)], None, side.tokens[0]))

    def _reads(self, name: str, call: Callable[[_Side, int, int], Call]) -> Iterator[Row]:
        def rounds(side: _Side, i: int, number: int) -> Call | None:
            return call(side, i, number) if number < self.plan.reads else None

        ours, theirs = self._in_turn(lambda side: self._run(side, 4, functools.partial(rounds, side)))
        yield _row(f"{name}, requests/s", (len(run.counted) / run.seconds for run in (ours, theirs)), more=True)
        yield _row(f"{name}, p50 ms", (_p(run.counted, 0.5) for run in (ours, theirs)))
        yield from self._cpu(name, ours, theirs)

    def _both(
        self, clients: int, spread: float, *, rounds: int | None = None, stream: bool = False
    ) -> tuple[_Run, _Run]:
        def call(side: _Side, i: int, number: int) -> Call | None:
            last = rounds or (self.plan.alone if clients == 1 else 2)
            if number >= last:
                return None
            asked = side.chat(i, number)
            return streamed(asked) if stream else asked

        return self._in_turn(lambda side: self._run(side, clients, functools.partial(call, side), spread))

    def _in_turn(self, run: Callable[[_Side], _Run]) -> tuple[_Run, _Run]:
        self.turn += 1
        if self.turn % 2:
            ours = run(self.ours)
            return ours, run(self.theirs)
        theirs = run(self.theirs)
        return run(self.ours), theirs

    def _run(self, side: _Side, clients: int, calls: Callable[[int, int], Call | None], spread: float = 0.0) -> _Run:
        before, began = side.server.usage().cpu, time.perf_counter()
        readings = asyncio.run(keep_asking(side.server.port, clients, calls, spread=spread))
        seconds = time.perf_counter() - began
        return _Run(readings, seconds, side.server.usage().cpu - before)

    def _own(self, clients: int, *, stream: bool) -> list[float]:
        """The model's own seconds, when the client asks it as the servers do."""
        messages = [{"role": "user", "content": " ".join(self.ours.questions)[:4000]}]
        call = Call("/v1/chat/completions", {"model": "bench", "messages": messages, "stream": stream})
        if stream:
            call = replace(call, hang_up_after=1)
        rounds = 5 if clients == 1 else 1
        readings = asyncio.run(
            keep_asking(
                self.model.port, clients, lambda _, number: call if number < rounds else None, spread=FIRST_SPREAD
            )
        )
        seconds = [reading.to_first_token if stream else reading.seconds for reading in readings if reading.ok]
        return [one for one in seconds if one is not None]

    def _over(
        self, name: str, own: Sequence[float], ours: _Run, theirs: _Run, seconds: Callable[[Reading], float | None]
    ) -> Iterator[Row]:
        """What is added at the median and at the 95th of a hundred."""
        for q in (0.5, 0.95):
            base = quantile(own, q)
            added = [
                (quantile([s for one in run.warm if (s := seconds(one)) is not None], q) - base) * 1000
                for run in (ours, theirs)
            ]
            yield _row(f"{name}, +ms p{q * 100:.0f}", added)
        yield from self._cpu(name.partition(", first")[0], ours, theirs)

    def _cpu(self, name: str, ours: _Run, theirs: _Run) -> Iterator[Row]:
        yield Row(f"{name}, CPU ms", ours.cpu_ms, theirs.cpu_ms)
        failed = [len(run.readings) - len(run.counted) for run in (ours, theirs)]
        if any(failed):
            yield _row(f"{name}, not answered", failed)
            for run in (ours, theirs):
                for error in {reading.error[:200] for reading in run.readings if not reading.ok}:
                    print(f"  {error}", file=sys.stderr)


def _row(name: str, values: Iterable[float], *, more: bool = False) -> Row:
    ours, theirs = values
    return Row(name, ours, theirs, more)


def pace_of(tokens: int, seconds: float) -> Pace:
    """A fifth of the time until it begins, at the most half a second."""
    first = min(0.5, seconds / 5)
    return Pace(tokens, first, (seconds - first) / (tokens - 1))


def _p(readings: Sequence[Reading], q: float) -> float:
    return quantile([reading.seconds for reading in readings], q) * 1000


def describe_conditions() -> str:
    return f"(load of the machine over the last minute, all of it: {load():.1f}; {os.cpu_count()} cores)"
