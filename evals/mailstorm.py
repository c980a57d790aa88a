"""python -m evals.mailstorm: a thousand signups while the mail server misbehaves and who sends the mail is killed.

The real server, and senders beside it (`manage.py outbox --send`), are SIGKILLed every few seconds; the mail server
refuses connections, puts off, drops, hangs, and accepts without saying so. Then it calms down, and every account is
counted: mail that no server accepted is lost, mail that it accepted more than once is doubled. One address in a hundred
is refused for good: its mail must be dead, with the reason, not gone. The exit code is 1 when something is lost.

Needs what the tests need (requirements-dev.txt). `--postgresql URL` makes a database there and drops it again.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg

from evals.processes import family
from evals.served import PASSWORD, ROOT, Footnote, NotServing, setting
from evals.smtp_server import Accepted, MailCatcher

CLIENTS = 8  # that sign up at once
SERVER_LIVES = 3  # times as long as a sender: it needs more to start
TIMEOUT = 2  # seconds that the mail server may be silent; a mail is taken again after 4 times that and 30 s
OUTAGE, BETWEEN = (1.0, 4.0), (5.0, 15.0)  # seconds that the mail server is away, and between two such times
REFUSED_FOR_GOOD = 100  # one address of so many
SETTLES = 900.0  # seconds that may pass until the last mail is out
MISDEEDS = {  # of so many mails each, in a hundred tries
    "450 not now": 5,
    "data 451 not now": 5,
    "drop": 5,
    "drop after": 3,
    "hang": 2,
    "421 enough": 3,
}


@dataclass(frozen=True, slots=True)
class Options:
    """seconds: between two kills of a sender, about. settings: of the server, beside its defaults."""

    signups: int = 1000
    senders: int = 2
    seconds: float = 4.0
    by: str = "http"
    postgresql: str = ""
    seed: int = 7
    settings: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Tally:
    """By mail. lost: of accounts whose address the server would take, without one that it took. unheard and killed: why
    copies were sent, see `count`."""

    accounts: int
    accepted: int
    dead: int
    pending: int
    lost: list[str]
    doubled: int
    unheard: int
    killed: int
    other_ids: int

    @property
    def good(self) -> bool:
        return not self.lost and not self.pending and not self.other_ids


@dataclass(frozen=True, slots=True)
class Outcome:
    options: Options
    tally: Tally
    kills: Mapping[str, int]
    outages: int
    misdeeds: Mapping[str, int]
    signup_seconds: float
    seconds: float
    most_tries: int


def is_refused(address: str) -> bool:
    """Whether the mail server refuses it for good."""
    number = "".join(c for c in address.partition("@")[0] if c.isdigit())
    return bool(number) and int(number) % REFUSED_FOR_GOOD == REFUSED_FOR_GOOD - 1


def count(stored: Mapping[str, Any], accepted: Sequence[Accepted]) -> Tally:
    """What came of every account.

    A copy follows either an acceptance that the server told nobody of (unheard), or one whose sender was killed before
    it had written it down (killed).
    """
    taken = Counter(mail.to for mail in accepted)
    by_id: dict[str, list[Accepted]] = {}
    for mail in accepted:
        by_id.setdefault(mail.message_id, []).append(mail)
    repeated = [mail for copies in by_id.values() for mail in sorted(copies, key=lambda one: one.at)[:-1]]
    states = Counter(mail["state"] for mail in stored["mails"])
    ids = Counter(mail.to for mail in accepted if mail is by_id[mail.message_id][0])
    return Tally(
        accounts=len(stored["accounts"]),
        accepted=len(taken),
        dead=states["dead"],
        pending=states["pending"],
        lost=sorted(address for address in stored["accounts"] if not taken[address] and not is_refused(address)),
        doubled=len(repeated),
        unheard=sum(not mail.told for mail in repeated),
        killed=sum(mail.told for mail in repeated),
        other_ids=sum(number - 1 for number in ids.values()),
    )


def storm(options: Options) -> Outcome:
    """Sign up, kill, misbehave; then calm down and count. NotServing where the server does not start."""
    began = time.monotonic()
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="footnote-mailstorm-")))
        (home / "knowledge").mkdir()
        (home / "knowledge" / "a.md").write_text("# Mail\n\nMail is sent.\n")
        logging.getLogger("mail.log").setLevel(logging.ERROR)  # aiosmtpd's, of clients that are gone
        catcher = MailCatcher()
        catcher.start()
        stack.callback(catcher.stop)
        # They all come from one address.
        given = {"EMAIL_URL": f"{catcher.url}?timeout={TIMEOUT}", "THROTTLE_SIGNUP": "100000/minute"}
        given |= options.settings
        if options.postgresql:
            given["DATABASE_URL"] = stack.enter_context(_database(options.postgresql))
        server = Footnote(home, home / "knowledge", None, **given)
        stack.callback(server.stop)
        server.start()
        weather = _Weather(catcher, options.seed)
        killers = [_Killer("server", options, server=server)]
        killers += [_Killer(f"sender {n + 1}", options, environment=server.environment) for n in range(options.senders)]
        for killer in killers:
            stack.callback(killer.stop)
            killer.start()
        weather.start()
        signing_up = time.monotonic()
        _sign_up(server, options)
        signup_seconds = time.monotonic() - signing_up
        _wait(lambda: _counted(server)["sent"] >= options.signups // 2, "half of the mails")
        weather.calm_down()
        for killer in killers:
            killer.spare()
        _wait(lambda: _counted(server)["pending"] == 0, "the last mail")
        stored = json.loads(_run(server.environment, "-m", "evals.mailstorm_accounts", "count"))
        tally = count(stored, catcher.accepted)
        return Outcome(
            options=options,
            tally=tally,
            kills={killer.name: killer.kills for killer in killers},
            outages=weather.outages,
            misdeeds=weather.misdeeds,
            signup_seconds=signup_seconds,
            seconds=time.monotonic() - began,
            most_tries=max((mail["attempts"] for mail in stored["mails"]), default=0),
        )


def report(outcome: Outcome) -> Iterator[str]:
    tally, options = outcome.tally, outcome.options
    where = "PostgreSQL" if options.postgresql else "SQLite"
    took = f"in {outcome.signup_seconds:.0f} s; all in {outcome.seconds:.0f} s"
    yield f"{options.signups} signups by {options.by} on {where} {took}"
    yield f"kills: {', '.join(f'{name} {number}' for name, number in outcome.kills.items())}"
    misdeeds = ", ".join(f"{name} {number}" for name, number in sorted(outcome.misdeeds.items()))
    yield f"the mail server was away {outcome.outages} times; {misdeeds}"
    yield f"accounts {tally.accounts}: mail accepted for {tally.accepted}, refused for good (dead) {tally.dead}"
    yield f"lost {len(tally.lost)}, still pending {tally.pending}, under another Message-ID {tally.other_ids}"
    yield (
        f"doubled {tally.doubled}: {tally.unheard} whose acceptance the server told nobody of, {tally.killed} whose "
        f"sender was killed before it wrote the acceptance down; at the most {outcome.most_tries} tries"
    )
    if tally.lost:
        yield f"lost: {', '.join(tally.lost[:20])}"


class _Weather:
    """Misbehaves by chance until it calms down."""

    def __init__(self, catcher: MailCatcher, seed: int) -> None:
        self.catcher = catcher
        self.outages = 0
        self.misdeeds: Counter[str] = Counter()
        self._chance = random.Random(seed)  # noqa: S311 (the same storm every time)
        self._calm = threading.Event()
        self._thread = threading.Thread(target=self._work, name="weather", daemon=True)
        catcher.behave = self._behave

    def start(self) -> None:
        self._thread.start()

    def calm_down(self) -> None:
        self._calm.set()
        self._thread.join()

    def _behave(self, to: str, times: int) -> str:
        if is_refused(to):
            return "550 5.1.1 no such user"
        if self._calm.is_set():
            return ""
        well = 100 - sum(MISDEEDS.values())
        fate = self._chance.choices(["", *MISDEEDS], [well, *MISDEEDS.values()])[0]
        if fate:
            self.misdeeds[fate] += 1
        return fate

    def _work(self) -> None:
        while not self._calm.wait(self._chance.uniform(*BETWEEN)):
            self.catcher.stop()
            self.outages += 1
            self._calm.wait(self._chance.uniform(*OUTAGE))
            self.catcher.start()


class _Killer:
    """Kills a process again and again, and sees that it is there again: the server's worker, or a sender of its own."""

    def __init__(
        self,
        name: str,
        options: Options,
        server: Footnote | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.kills = 0
        self._options = options
        self._server = server
        self._environment = environment
        self._chance = random.Random(f"{options.seed} {name}")  # noqa: S311
        self._spare = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._work, name=f"kills {name}", daemon=True)

    def start(self) -> None:
        self._begin()
        self._thread.start()

    def spare(self) -> None:
        """Kill no more; what was killed last is there again."""
        self._spare.set()
        self._thread.join()

    def stop(self) -> None:
        self.spare()
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _work(self) -> None:
        seconds = self._options.seconds * (SERVER_LIVES if self._server is not None else 1)
        while not self._spare.wait(seconds * self._chance.uniform(0.5, 1.5)):
            if self._server is not None:
                for child in family(self._server.pid)[1:]:
                    with suppress(ProcessLookupError):
                        os.kill(child, signal.SIGKILL)
                self.kills += 1
                self._await_server(self._server)
            elif self._process is not None:
                self._process.kill()
                self._process.wait()
                self.kills += 1
                self._begin()

    def _begin(self) -> None:
        if self._environment is None:
            return
        command = [sys.executable, "manage.py", "outbox", "--send"]
        self._process = subprocess.Popen(  # noqa: S603
            command, cwd=ROOT, env=self._environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def _await_server(self, server: Footnote) -> None:
        """A process that is killed before it works shows nothing."""
        while not self._spare.is_set():
            with suppress(httpx.HTTPError):
                if httpx.get(server.url + "/healthz", timeout=1).status_code == 200:
                    return
            time.sleep(0.1)


def _sign_up(server: Footnote, options: Options) -> None:
    if options.by == "script":
        _run(server.environment, "-m", "evals.mailstorm_accounts", "make", str(options.signups))
        return
    with ThreadPoolExecutor(CLIENTS) as pool, httpx.Client(base_url=server.url, timeout=30) as client:
        list(pool.map(lambda number: _sign_one_up(client, number), range(options.signups)))


def _sign_one_up(client: httpx.Client, number: int) -> None:
    """Until the account is there. A server that was killed may have made it without saying so."""
    account = {"username": f"user{number}", "email": f"user{number}@example.org", "password": PASSWORD}
    deadline = time.monotonic() + SETTLES
    asked = 0
    while True:
        with suppress(httpx.TransportError):
            asked += 1
            answer = client.post("/signup", json=account)
            if answer.is_success or (answer.status_code == 400 and asked > 1):
                return
            if answer.status_code < 500 and answer.status_code != 429:
                raise NotServing(f"POST /signup answered {answer.status_code}: {answer.text[:500]}")
            time.sleep(min(5.0, float(answer.headers.get("Retry-After", 0))))
        if time.monotonic() > deadline:
            raise NotServing(f"{account['username']} could not sign up within {SETTLES:.0f} s")
        time.sleep(0.2)


def _counted(server: Footnote) -> dict[str, int]:
    counts: dict[str, int] = json.loads(_run(server.environment, "manage.py", "outbox", "--json"))
    return counts


def _run(environment: Mapping[str, str], *arguments: str) -> str:
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise NotServing(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return done.stdout


def _wait(condition: Any, what: str) -> None:
    deadline = time.monotonic() + SETTLES
    while not condition():
        if time.monotonic() > deadline:
            print(f"{what}: not within {SETTLES:.0f} s", file=sys.stderr)
            return
        time.sleep(2)


@contextmanager
def _database(url: str) -> Iterator[str]:
    """The URL of a new database beside that of this URL, dropped at the end."""
    name = f"footnote_mailstorm_{os.getpid()}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    try:
        server, _, query = url.partition("?")
        yield f"{server.rpartition('/')[0]}/{name}{'?' if query else ''}{query}"
    finally:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def main(arguments: Sequence[str] | None = None) -> int:
    standard = Options()
    parser = argparse.ArgumentParser(prog="python -m evals.mailstorm", description="Signups in a storm; then count.")
    parser.add_argument("--signups", type=int, default=standard.signups)
    parser.add_argument("--senders", type=int, default=standard.senders, help="processes that send beside the server")
    parser.add_argument("--seconds", type=float, default=standard.seconds, help="between two kills of a sender, about")
    parser.add_argument("--by", choices=["http", "script"], default=standard.by, help="how accounts are made")
    parser.add_argument("--postgresql", default="", metavar="URL", help="a database beside which one can be made")
    parser.add_argument("--seed", type=int, default=standard.seed)
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", type=setting, help="a setting of the server"
    )
    given = vars(parser.parse_args(arguments))
    settings = dict(given.pop("set"))
    try:
        outcome = storm(Options(settings=settings, **given))
    except NotServing as error:
        print(error, file=sys.stderr)
        return 2
    for line in report(outcome):
        print(line)
    return 0 if outcome.tally.good else 1


if __name__ == "__main__":
    sys.exit(main())
