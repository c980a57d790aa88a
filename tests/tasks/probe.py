"""Jobs whose runs leave a line in the file that PROBE names; `python -m tests.tasks.probe` is a process that runs them.

A line is the job's name, the process that led (or its parent), and when the run began and ended.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from zoneinfo import ZoneInfo

TAKES = 0.3  # seconds


def leave_a_line(name: str, leader: int, seconds: float = TAKES) -> None:
    began = time.time()
    time.sleep(seconds)
    line = f"{name} {leader} {began:.3f} {time.time():.3f}\n"
    descriptor = os.open(os.environ["PROBE"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def tick() -> dict[str, int]:
    leave_a_line("tick", os.getpid())
    return {"ticks": 1}


def tock() -> None:
    leave_a_line("tock", os.getppid())


def nap() -> None:
    """Until it is told to stop."""
    from tasks.runs import stopping

    while not stopping():
        time.sleep(0.05)


def sleep_for_ever() -> None:
    """With a child that must not outlive it; its process is named in the file."""
    import subprocess

    child = subprocess.Popen(["sleep", "600"])
    with open(os.environ["PROBE"], "a") as file:  # noqa: PTH123 (as short as it can be)
        file.write(f"{child.pid}\n")
    time.sleep(600)


def fail() -> None:
    raise ValueError("as the test wants")


def fail_with_counts() -> None:
    from tasks.errors import JobFailed

    raise JobFailed("half of it could not be done", half=1)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def print_much() -> dict[str, int]:
    print("x" * 1_000_000)  # noqa: T201 (as a job might)
    return {"printed": 1}


def main() -> None:
    import django

    django.setup()
    from backend.jobs.schedules import parse_cron
    from backend.jobs.table import Job
    from tasks.leader import Candidate
    from tasks.scheduler import Clock

    zone = ZoneInfo("UTC")
    table = [
        Job("tick", "", "tests.tasks.probe.tick", parse_cron("* * * * * *", zone), 60, inside=True),
        Job("tock", "", "tests.tasks.probe.tock", parse_cron("*/2 * * * * *", zone), 60, retries=2),
    ]
    told = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: told.set())
    candidate = Candidate(lambda: Clock({job.name: job for job in table}))
    candidate.start()
    told.wait()
    candidate.stop()


if __name__ == "__main__":
    main()
