"""A temporary instance of the same product: the same sync, the same retrieval, the same chain, in folders of its own.

Nothing of the real instance is read or written: not its DATA_DIR, its database, its Chroma server, its watched folder.
Settings of the model and the prompt are kept, because they are what is being evaluated. Django reads its settings once,
so one process can have one such instance.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evals.product import ProductClient

# An empty value counts as unset, and still keeps `.env` from setting the variable.
NOT_INHERITED = (
    "DATABASE_URL",
    "VECTOR_STORE",
    "CHROMA_URL",
    "PINECONE_API_KEY",
    "REDIS_URL",
    "EMAIL_URL",
    "TASKS",
    "CELERY_BROKER_URL",
)
SETTLED = 1_700_000_000  # seconds since 1970

Files = Mapping[str, Path | bytes]  # content, or where it is, by path in the watched folder


class Instance:
    """Made when its client is first asked for: a run whose answers are all known does without one."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        self._settings = settings
        self._stack = ExitStack()
        self._client: ProductClient | None = None
        self._wanted: Files = {}
        self._placed: dict[str, Path | bytes] = {}
        self._age = 0

    def use(self, files: Files) -> None:
        """Let the watched folder hold these files and no others, from the next `client` on."""
        self._wanted = files

    def client(self) -> ProductClient:
        """The product, after it has indexed the files. CannotServe (evals/product.py) says why it cannot."""
        if self._client is None:
            self._folder = self._prepare()
            self._place()
            from evals.product import booted  # Django comes with it, so not before the environment is set

            self._client = self._stack.enter_context(booted())
        elif dict(self._wanted) != self._placed:
            self._place()
            self._client.sync()
        return self._client

    def close(self) -> None:
        self._stack.close()

    def _prepare(self) -> Path:
        home = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="footnote-eval-")))
        data_dir, knowledge_dir = home / "data", home / "knowledge"
        data_dir.mkdir()
        knowledge_dir.mkdir()
        before = dict(os.environ)
        os.environ.update(isolated_settings(data_dir, knowledge_dir) | dict(self._settings))
        self._stack.callback(_restore, before)
        return knowledge_dir

    def _place(self) -> None:
        """Write what is not there yet and remove what is not wanted; links out of a watched folder are not followed.

        The files are of old dates, so that none waits to settle; a file that is replaced gets another date.
        """
        for name in self._placed.keys() - self._wanted.keys():
            (self._folder / name).unlink()
            del self._placed[name]
        self._age += 1
        for name, content in self._wanted.items():
            if self._placed.get(name) == content:
                continue
            target = self._folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                target.write_bytes(content)
            else:
                shutil.copyfile(content, target)
            os.utime(target, (SETTLED, SETTLED + self._age))
            self._placed[name] = content


@contextmanager
def temporary_instance(settings: Mapping[str, str] | None = None) -> Iterator[Instance]:
    """A new instance, gone at the end. settings: environment variables of the model and the prompt, over those of this
    process.
    """
    instance = Instance(settings or {})
    try:
        yield instance
    finally:
        instance.close()


def isolated_settings(data_dir: Path, knowledge_dir: Path) -> dict[str, str]:
    """The environment variables that keep an instance away from every other one."""
    own = {"DATA_DIR": str(data_dir), "KNOWLEDGE_DIR": str(knowledge_dir), "HOST": "127.0.0.1", "DEBUG": "on"}
    return dict.fromkeys(NOT_INHERITED, "") | own


def _restore(environment: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
