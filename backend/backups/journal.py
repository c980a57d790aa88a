"""How far a restore is, on the disk, so that one that was killed can be repeated or undone.

Everything new is first made whole beside the instance, in a folder `.footnote-restore` on the same disk as what it
replaces (a scan passes over such names). Then three states, each of which can be entered again:

    aside    what was there is being moved to `before`; nothing new is there yet
    placing  all of it is in `before`; whatever is in its place is new, and perhaps not all of it
    done     all that is new is in its place; what is in `before` may go
"""

from __future__ import annotations

import os
import shutil
from enum import StrEnum
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error

from vectorstore.disk import sync_folder

STAGING = ".footnote-restore"


class State(StrEnum):
    NOTHING = ""
    ASIDE = "aside"
    PLACING = "placing"
    DONE = "done"


def staging(root: Path) -> Path:
    """Where what replaces something in `root` is made, and what it replaces is kept."""
    return root / STAGING


def state() -> State:
    try:
        return State(_file().read_text().strip())
    except FileNotFoundError:
        return State.NOTHING


def record(new: State) -> None:
    """It holds after a power cut too."""
    file = _file()
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = file.with_suffix(".draft")
    with draft.open("w") as writing:
        writing.write(new)
        writing.flush()
        os.fsync(writing.fileno())
    draft.replace(file)
    sync_folder(file.parent)


def forget(roots: list[Path]) -> None:
    """Delete all staging folders; the one with the state is the last."""
    for root in sorted(roots, key=lambda root: root == settings.ENV.data_dir):
        shutil.rmtree(staging(root), ignore_errors=True)


def is_under_way() -> bool:
    """Whether the instance is neither the one before a restore nor the one after it."""
    return state() in (State.ASIDE, State.PLACING)


def check_restore(**_: Any) -> list[CheckMessage]:
    """Django's system check: nothing starts on an instance that is half restored."""
    if not is_under_way():
        return []
    hint = "Repeat `manage.py restore FILE`, or have what was there before with `manage.py restore --undo`."
    return [Error("A restore did not come to its end.", hint, id="backups.E001")]


def _file() -> Path:
    return Path(staging(settings.ENV.data_dir) / "state")
