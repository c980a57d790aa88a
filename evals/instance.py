"""A temporary instance of the same product: the same sync, the same retrieval, the same chain, in folders of its own.

Nothing of the real instance is read or written: not its DATA_DIR, its database, its Chroma server, its watched folder.
Settings of the model and the prompt are kept, because they are what is being evaluated. Django reads its settings once,
so one process can have one such instance.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from evals.runner import Client

# An empty value counts as unset, and still keeps `.env` from setting the variable.
NOT_INHERITED = ("DATABASE_URL", "CHROMA_URL", "REDIS_URL", "EMAIL_URL")
SETTLED = 1_700_000_000  # seconds since 1970


@contextmanager
def temporary_instance(
    folder: Path, names: Sequence[str], settings: Mapping[str, str] | None = None
) -> Iterator[Client]:
    """A client of a new instance that has indexed copies of the files `names` of `folder`; gone at the end.

    settings: environment variables of the model and the prompt, over those of this process.
    """
    with tempfile.TemporaryDirectory(prefix="footnote-eval-") as home:
        data_dir, knowledge_dir = Path(home, "data"), Path(home, "knowledge")
        data_dir.mkdir()
        _copy(folder, names, knowledge_dir)
        before = dict(os.environ)
        os.environ.update(isolated_settings(data_dir, knowledge_dir) | dict(settings or {}))
        try:
            with _booted() as client:
                yield client
        finally:
            os.environ.clear()
            os.environ.update(before)


def isolated_settings(data_dir: Path, knowledge_dir: Path) -> dict[str, str]:
    """The environment variables that keep an instance away from every other one."""
    own = {"DATA_DIR": str(data_dir), "KNOWLEDGE_DIR": str(knowledge_dir), "HOST": "127.0.0.1", "DEBUG": "on"}
    return dict.fromkeys(NOT_INHERITED, "") | own


def _copy(folder: Path, names: Sequence[str], target: Path) -> None:
    """Copy the files `names` of `folder` to `target`: links out of a watched folder are not followed.

    The copies are of an old date, so that none waits to settle.
    """
    target.mkdir()
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / name, target / name)
        os.utime(target / name, (SETTLED, SETTLED))


@contextmanager
def _booted() -> Iterator[Client]:
    """The product over the folders that the environment names; Django comes with it, so not before it is set."""
    from evals.product import booted

    with booted() as client:
        yield client
