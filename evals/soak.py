"""python -m evals.soak: many people talk with the real server for a while; then every message is counted.

Streams and plain requests, new questions and follow-ups, and some who hang up in the middle. At the end each question
that was acknowledged must be in the database once, with one answer: the text that was sent, or, where somebody hung up,
what there was of it. Memory, threads and open files are looked at all the while.

`--streams 500 --seconds 20 --minutes 1` asks for more at once than a small machine may carry. What cannot be
served must be refused at once: 503 with Retry-After. Anything else that goes wrong is an error, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from evals.load import Call, Client, Reading, quantile, streamed
from evals.processes import load, memory_mb, usage
from evals.served import Footnote, NotServing, serving, setting
from evals.serving import pace_of, questions_about
from evals.stand_in import running_stand_in

SHIPPED = Path(__file__).resolve().parent.parent / "knowledge"
STREAMED, FOLLOWED, CUT = 0.8, 0.4, 0.1  # shares of the questions
TURNS = 6  # of a conversation, at the most
NEW_TOKEN = 600.0  # seconds, within the life of an access token
LOOK = 2.0  # seconds between two looks at the server
SETTLES = 5.0  # seconds at the end, until the server has noticed who hung up
LOG_LINES = 12
WARM_UP = 0.2  # of the time, after which memory counts
LONGEST_WAIT = 5.0  # seconds that a client waits when it is told to come back later


@dataclass(frozen=True, slots=True)
class Options:
    """seconds: of an answer, in `tokens` pieces. settings: of the server, beside its defaults."""

    streams: int = 50
    minutes: float = 20.0
    seconds: float = 5.0
    tokens: int = 20
    users: int = 10
    settings: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Look:
    """At the server, `at` seconds after the beginning."""

    at: float
    memory_mb: float
    threads: int
    files: int
    cpu: float


@dataclass(frozen=True, slots=True)
class Asked:
    question: str
    stream: bool
    reading: Reading

    @property
    def follows(self) -> bool:
        """In a conversation that had begun: the model is asked twice, first to make it a question of its own."""
        return "conversation_id" in self.reading.call.data


@dataclass(frozen=True, slots=True)
class Stored:
    """What the database holds, beside what was acknowledged. All but `questions`, `whole` and `cut` should be 0."""

    questions: int
    whole: int
    cut: int
    lost_questions: int
    doubled_questions: int
    lost_answers: int
    doubled_answers: int
    other_texts: int

    @property
    def faults(self) -> int:
        return (
            self.lost_questions + self.doubled_questions + self.lost_answers + self.doubled_answers + self.other_texts
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    options: Options
    asked: Sequence[Asked]
    before: Look
    looks: Sequence[Look]
    after: Look
    most_open: int
    stored: Stored
    log: Sequence[str] = ()  # the last lines of the server's

    @property
    def errors(self) -> list[Asked]:
        """Neither answered nor refused in the way it should be."""
        return [one for one in self.asked if not one.reading.ok and not one.reading.refused]

    @property
    def good(self) -> bool:
        return not self.errors and not self.stored.faults


def soak(folder: Path, options: Options, models: Path | None = None) -> Outcome:
    """Start a server over the folder, talk with it, and count. NotServing where it does not start, or ends. models: see
    Footnote.
    """
    questions = questions_about(folder)
    pace = pace_of(options.tokens, options.seconds)
    with tempfile.TemporaryDirectory(prefix="footnote-soak-") as home, running_stand_in() as model:
        given = {"CHAT_MODEL": "openai:soak", "OPENAI_BASE_URL": model.url, "OPENAI_API_KEY": "none"}
        server = Footnote(Path(home) / "footnote", folder, models, **(given | options.settings))
        with serving(server):
            server.wait_until_indexed()
            names = [f"user{i}" for i in range(options.users)]
            tokens = [server.sign_up(name) for name in names]
            server.call("/chat", {"message": questions[0]}, tokens[0])
            model.pace(pace)
            crowd = _Crowd(server, options, questions, names, tokens)
            before = crowd.look()
            asyncio.run(crowd.talk())
            time.sleep(SETTLES + options.seconds / options.tokens)
            after = crowd.look()
            most_open = model.counts()["most_open"]
            stored = count_stored(server.database, crowd.asked)
            log = server.log.read_text("utf-8", "replace").splitlines()[-LOG_LINES:]
            return Outcome(options, crowd.asked, before, crowd.looks, after, most_open, stored, log)


class _Crowd:
    def __init__(
        self, server: Footnote, options: Options, questions: Sequence[str], names: Sequence[str], tokens: list[str]
    ) -> None:
        self.server = server
        self.options = options
        self.questions = questions
        self.names = names
        self.tokens = tokens
        self.asked: list[Asked] = []
        self.looks: list[Look] = []
        self.began = time.perf_counter()
        self.until = self.began + options.minutes * 60

    async def talk(self) -> None:
        """Until the time is over, and everybody has the answer to the last question."""
        beside = [asyncio.create_task(self._watch()), asyncio.create_task(self._renew_tokens())]
        await asyncio.gather(*(self._person(i) for i in range(self.options.streams)))
        for task in beside:
            task.cancel()

    def look(self) -> Look:
        used = usage(self.server.pid)
        at = time.perf_counter() - self.began
        return Look(at, memory_mb(self.server.pid), used.threads, used.files, used.cpu)

    async def _person(self, number: int) -> None:
        chance = random.Random(number)  # noqa: S311 (nothing secret)
        client = Client(self.server.port)
        conversation: dict[str, Any] = {}
        turns = 0
        await asyncio.sleep(self.options.seconds * number / self.options.streams)
        while time.perf_counter() < self.until:
            if turns >= TURNS or chance.random() > FOLLOWED:
                conversation, turns = {}, 0
            question = f"{chance.choice(self.questions)} ({number}-{client.asked})"
            call = Call("/chat", {"message": question, **conversation}, self.tokens[number % len(self.tokens)])
            stream = chance.random() < STREAMED
            if stream:
                cut = chance.randrange(1, self.options.tokens // 2) if chance.random() < CUT / STREAMED else None
                call = streamed(Call(call.path, call.data, call.token, cut))
            reading = await client.ask(call)
            self.asked.append(Asked(question, stream, reading))
            if reading.ok:
                conversation = {"conversation_id": reading.said["conversation_id"]}
                turns += 1
            else:
                await asyncio.sleep(min(LONGEST_WAIT, float(reading.retry_after or 1)))
        client.close()

    async def _watch(self) -> None:
        while True:
            self.looks.append(self.look())
            await asyncio.sleep(LOOK)

    async def _renew_tokens(self) -> None:
        while True:
            await asyncio.sleep(NEW_TOKEN)
            for i, name in enumerate(self.names):
                self.tokens[i] = await asyncio.to_thread(self.server.log_in, name)


def count_stored(database: Path, asked: Sequence[Asked]) -> Stored:
    """Compare what was said to the clients with the messages in the server's database."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        rows = connection.execute("SELECT id, conversation_id, role, content, cut FROM chat_message").fetchall()
    questions = Counter(content for _, _, role, content, _ in rows if role == "user")
    answers = {str(pk).replace("-", ""): (content, cut) for pk, _, role, content, cut in rows if role == "assistant"}
    balance: Counter[str] = Counter()  # answers over questions, by conversation
    for _, conversation, role, _, _ in rows:
        balance[conversation] += 1 if role == "assistant" else -1
    found: Counter[str] = Counter()
    for one in asked:
        reading = one.reading
        found["doubled_questions"] += questions[one.question] > 1
        if not reading.ok:
            continue
        found["questions"] += 1
        found["lost_questions"] += not questions[one.question]
        answer = answers.get(str(reading.said["message_id"]).replace("-", ""))
        if answer is None:
            found["lost_answers"] += 1
            continue
        content, cut = answer
        found["cut" if cut else "whole"] += 1
        if not reading.hung_up:
            found["other_texts"] += bool(cut) or content != reading.said["answer"]
    return Stored(
        questions=found["questions"],
        whole=found["whole"],
        cut=found["cut"],
        lost_questions=found["lost_questions"],
        doubled_questions=found["doubled_questions"],
        lost_answers=found["lost_answers"],
        doubled_answers=sum(over for over in balance.values() if over > 0),
        other_texts=found["other_texts"],
    )


def report(outcome: Outcome) -> Iterator[str]:
    """The lines that are printed."""
    options, asked, stored = outcome.options, outcome.asked, outcome.stored
    kinds = Counter(_kind(one) for one in asked)
    yield (
        f"{options.streams} clients of {options.users} users for {options.minutes:g} minutes, answers of "
        f"{options.seconds:g} s in {options.tokens} tokens; load of the machine {load():.1f}"
    )
    yield f"asked {len(asked)}: " + ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    for text, count in Counter(one.reading.error[:160] for one in outcome.errors).most_common(5):
        yield f"  {count} x {text}"
    yield f"open at the model at once, at the most: {outcome.most_open}"
    done = [one for one in asked if one.reading.ok]
    opening = [one for one in done if not one.follows]
    pace = pace_of(options.tokens, options.seconds)
    firsts = [s - pace.first for one in opening if one.stream and (s := one.reading.to_first_token) is not None]
    yield _line("first token, over the model's, s", firsts)
    pauses = [float(gap) - pace.each for one in done for gap in np.diff(one.reading.tokens)]
    yield _line("from token to token, over the model's, s", pauses)
    wholes = [one.reading.seconds - options.seconds for one in opening if not one.stream]
    yield _line("unstreamed answers, over the model's, s", wholes)
    yield _line(
        "refused with 503 and Retry-After after, s", [one.reading.seconds for one in asked if one.reading.refused]
    )
    used = outcome.after.cpu - outcome.before.cpu
    if done:
        yield f"CPU: {used / len(done) * 1000:.1f} ms an answer, {used / outcome.after.at:.2f} cores on average"
    yield from _about_memory(outcome)
    for name in ("threads", "files"):
        before, after, *rest = (getattr(look, name) for look in [outcome.before, outcome.after, *outcome.looks])
        yield f"{name}: {before} before, {after} after, {max(after, *rest)} at the most"
    yield f"stored: {stored.questions} acknowledged questions, {stored.whole} whole answers, {stored.cut} cut"
    yield (
        f"lost questions {stored.lost_questions}, doubled {stored.doubled_questions}; lost answers "
        f"{stored.lost_answers}, doubled {stored.doubled_answers}; with another text {stored.other_texts}"
    )
    if not outcome.good:
        yield from ("The server's last lines:", *(f"  {line[:300]}" for line in outcome.log))
    yield "good" if outcome.good else "NOT GOOD"


def _kind(one: Asked) -> str:
    reading = one.reading
    if reading.refused:
        return "refused"
    if not reading.ok:
        return "errors"
    if reading.hung_up:
        return "hung up"
    return "streamed" if one.stream else "unstreamed"


def _line(name: str, values: Sequence[float]) -> str:
    if not values:
        return f"{name}: none"
    p50, p95, p99 = (quantile(values, q) for q in (0.5, 0.95, 0.99))
    return f"{name}: p50 {p50:.3f}, p95 {p95:.3f}, p99 {p99:.3f}, at the most {max(values):.3f}"


def _about_memory(outcome: Outcome) -> Iterator[str]:
    """Pages that processes share are counted once; the slope is the straight line through what was seen."""
    warm = [look for look in outcome.looks if look.at > outcome.options.minutes * 60 * WARM_UP]
    if len(warm) < 3:
        return
    slope = float(np.polyfit([look.at / 3600 for look in warm], [look.memory_mb for look in warm], 1)[0])
    most = max(look.memory_mb for look in outcome.looks)
    yield (
        f"memory, MB: {outcome.before.memory_mb:.0f} before, {warm[0].memory_mb:.0f} warm, "
        f"{outcome.after.memory_mb:.0f} after, {most:.0f} at the most; slope {slope:+.0f} an hour"
    )
    tenths = [outcome.looks[i * (len(outcome.looks) - 1) // 10].memory_mb for i in range(11)]
    yield f"  by tenths of the time: {', '.join(f'{memory:.0f}' for memory in tenths)}"


def main(arguments: Sequence[str] | None = None) -> int:
    standard = Options()
    parser = argparse.ArgumentParser(prog="python -m evals.soak", description="Many clients for a while; then count.")
    parser.add_argument(
        "folder", nargs="?", type=Path, default=SHIPPED, help="files to ask about (default: knowledge/)"
    )
    parser.add_argument("--streams", type=int, default=standard.streams, help="clients at once")
    parser.add_argument("--minutes", type=float, default=standard.minutes)
    parser.add_argument("--seconds", type=float, default=standard.seconds, help="that the model takes for an answer")
    parser.add_argument("--tokens", type=int, default=standard.tokens, help="of an answer")
    parser.add_argument("--users", type=int, help="default: one to five clients")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", type=setting, help="a setting of the server"
    )
    given = parser.parse_args(arguments)
    options = Options(
        streams=given.streams,
        minutes=given.minutes,
        seconds=given.seconds,
        tokens=given.tokens,
        users=given.users or max(1, given.streams // 5),
        settings=dict(given.set),
    )
    try:
        outcome = soak(given.folder, options)
    except NotServing as error:
        print(error, file=sys.stderr)
        return 2
    for line in report(outcome):
        print(line)
    return 0 if outcome.good else 1


if __name__ == "__main__":
    sys.exit(main())
