"""python -m tasks.bound PROGRAM ...: run a program that ends when the process that started it ends, however that does.

So `kill -9` of a supervisor leaves nothing behind that still holds ports and files. Linux only: elsewhere the program
is just run.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # prctl(2)


def main(command: list[str]) -> None:
    """Never returns: this process becomes the program."""
    end_with_parent()
    os.execvp(command[0], command)  # noqa: S606  # nosec B606 (the command of tasks.up)


def end_with_parent() -> None:
    """Have this process told to end (SIGTERM) when the one that started it has ended. It survives exec, not fork."""
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:  # it ended before this one could be told
            sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
