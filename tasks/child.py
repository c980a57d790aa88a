"""`python -m tasks.child DOTTED.PATH [TRACEPARENT]`: one run of a job, in a process that can be killed; see
tasks/runs.py. With a traceparent it is part of that trace.

How it ended is told on stdout, as one JSON object. It ends, with all that it started, when its stdin is closed or
silent: that is when the process that wanted the run has died, or is frozen and may lose its lock.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import threading
from dataclasses import asdict

GENTLE = 5  # how much nicer than the server: requests come first
SILENCE_SECONDS = 12  # shorter than that of tasks/locks.py


def main() -> None:
    answers = os.dup(1)
    os.dup2(2, 1)  # whatever a job prints is no answer
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    os.nice(GENTLE)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "backend.settings")
    import django

    django.setup()
    from backend.api import tracing
    from tasks.runs import call

    path, *traceparent = sys.argv[1:]
    with tracing.running(path, *traceparent):
        ended = call(path)
    ending = json.dumps(asdict(ended), default=str)
    with os.fdopen(answers, "w") as stream:
        stream.write(ending)


def _end_with_the_parent() -> None:
    while select.select([0], [], [], SILENCE_SECONDS)[0] and os.read(0, 1000):
        pass
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
