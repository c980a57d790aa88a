"""Where the processes of one server count together: each in files of its own, in a folder that any of them adds up.

prometheus_client decides when it is imported whether it counts in files, so `begin` comes before Django.
"""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from pathlib import Path
from typing import IO

from backend.environment import read_environment, share_counts

_kept: list[IO[str]] = []  # locked for as long as this process, or one that it forked, lives


def begin() -> None:
    """For a server that is to have several processes; for one process nothing is changed."""
    env = read_environment()
    if env.web_workers > 1:
        share(env.data_dir)


def share(data_dir: Path) -> None:
    """Count in a new folder below this one, from now on. What servers that have ended left there is removed."""
    above = data_dir / "metrics"
    above.mkdir(parents=True, exist_ok=True)
    with (above / "lock").open("a") as alone:
        fcntl.flock(alone, fcntl.LOCK_EX)
        for folder in above.iterdir():
            if folder.is_dir() and _take(folder):
                shutil.rmtree(folder)
        folder = Path(tempfile.mkdtemp(dir=above))
        _take(folder, keep=True)
    share_counts(folder)


def _take(folder: Path, *, keep: bool = False) -> bool:
    """Whether no process uses the folder."""
    file = (folder / "lock").open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return False
    if keep:
        _kept.append(file)
    else:
        file.close()
    return True
