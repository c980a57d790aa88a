"""python -m evals.timing: does the time of an answer tell whether somebody has an account?

The real server over HTTP, throttles off; known and unknown names in an order that is drawn by lot, so that whatever
else the machine does, and whatever a request leaves behind for the next one, meets both alike. What it leaves behind is
measured too: by a request for /healthz right after. Printed are the medians, the difference of the medians with its
95 % interval (bootstrap), and how well the time alone would tell the two apart: the area under the ROC curve, .5 for
not at all.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from evals.served import Footnote, NotServing, serving

SHIPPED = Path(__file__).resolve().parent.parent / "knowledge"
A_NAME = 5  # tries, before an account makes one wait
RESAMPLES = 2000
SEED = 11
WARM_UP = 10  # requests
KNOWN, UNKNOWN = "known", "other"

Request = tuple[str, dict[str, str]]
Times = np.ndarray[Any, np.dtype[np.float64]]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m evals.timing", description=__doc__)
    parser.add_argument("--tries", type=int, default=500, help="for known and for unknown names, each")
    options = parser.parse_args(arguments)
    limits = ("LOGIN", "LOGIN_FAILURES", "SIGNUP", "MAIL", "MAIL_TO")
    unlimited: Any = {f"THROTTLE_{name}": "1000000/second" for name in limits}
    try:
        with tempfile.TemporaryDirectory(prefix="footnote-timing-") as home:
            server = Footnote(Path(home), SHIPPED, **unlimited)
            with serving(server):
                _measure(server, options.tries)
    except NotServing as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _measure(server: Footnote, tries: int) -> None:
    names = range(-(-tries // A_NAME))
    for number in names:
        server.call(
            "/signup", {"username": f"known{number}", "email": f"known{number}@example.org", "password": "seven-g-b"}
        )
    print(f"{tries} tries each        known      unknown    difference of medians (95 %)      AUC     p")
    for title, make in (
        ("login by name", lambda who, n: ("/login", {"username": f"{who}{n // A_NAME}", "password": "wrong"})),
        (
            "login by address",
            lambda who, n: ("/login", {"email": f"{who}{n // A_NAME}@example.org", "password": "wrong"}),
        ),
        ("password/reset", lambda who, n: ("/password/reset", {"email": f"{who}{n // A_NAME}@example.org"})),
        ("verify-email/resend", lambda who, n: ("/verify-email/resend", {"email": f"{who}{n // A_NAME}@example.org"})),
    ):
        taken = _times(server, tries, make)
        print(f"{title:20}{_row(*taken[:2])}", flush=True)
        print(f"  what follows it   {_row(*taken[2:])}", flush=True)
        time.sleep(1)


def _times(server: Footnote, tries: int, make: Callable[[str, int], Request]) -> tuple[Times, Times, Times, Times]:
    """Milliseconds of a request for known and for unknown names, and of the request after it."""
    draws = random.Random(SEED)  # noqa: S311 (no secret)
    plan = [(who, number) for who in (KNOWN, UNKNOWN) for number in range(tries)]
    draws.shuffle(plan)
    taken: dict[str, list[float]] = {KNOWN: [], UNKNOWN: []}
    after: dict[str, list[float]] = {KNOWN: [], UNKNOWN: []}
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    for number in range(WARM_UP):
        _ask(connection, *make("nobody", number))
    for who, number in plan:
        taken[who].append(_ask(connection, *make(who, number)))
        after[who].append(_ask(connection, "/healthz"))
    return np.array(taken[KNOWN]), np.array(taken[UNKNOWN]), np.array(after[KNOWN]), np.array(after[UNKNOWN])


def _ask(connection: http.client.HTTPConnection, path: str, body: dict[str, str] | None = None) -> float:
    """Milliseconds until it is answered."""
    began = time.perf_counter()
    if body is None:
        connection.request("GET", path)
    else:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    response = connection.getresponse()
    response.read()
    if response.status not in (200, 202, 401, 429):
        raise NotServing(f"{path} answered {response.status}")
    return (time.perf_counter() - began) * 1000


def _row(known: Times, unknown: Times) -> str:
    draws = np.random.default_rng(SEED)
    differences = [
        np.median(draws.choice(known, len(known))) - np.median(draws.choice(unknown, len(unknown)))
        for _ in range(RESAMPLES)
    ]
    low, high = np.percentile(differences, [2.5, 97.5])
    test = stats.mannwhitneyu(known, unknown)
    area = test.statistic / (len(known) * len(unknown))
    middle = np.median(known) - np.median(unknown)
    return (
        f"{np.median(known):7.2f} ms {np.median(unknown):7.2f} ms   {middle:+6.2f} ms [{low:+.2f}, {high:+.2f}]"
        f"       {area:.3f}   {test.pvalue:.2f}"
    )


if __name__ == "__main__":
    sys.exit(main())
