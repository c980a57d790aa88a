"""Random file operations, syncs, kills and restarts: after every complete sync the stores hold exactly what a fresh
index of the folder would; at no moment does anything answer that may not.

A kill strikes before any chosen write, be it a statement to the database, a write to Chroma or to the word index, and
from then on none gets through, as if the process were gone; then everything is opened again. Real SIGKILLs are at the
end of this file. FOOTNOTE_STEPS and FOOTNOTE_KILLS ask for more of both than the few of an ordinary run.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import connection, connections
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from backend.knowledge import services
from backend.knowledge.index import close_index, get_index
from backend.knowledge.models import Chunk, Source, SourceState, SyncRun, SyncState, Task
from backend.knowledge.selectors import search
from loaders import registry
from loaders.errors import LoadError
from loaders.parser import Limits, Parser
from tests.backend.state import state
from vectorstore.embeddings import Embedder, tokenizer_path
from vectorstore.lexical import LexicalIndex
from vectorstore.stores.chroma import ChromaStore

STEPS = int(os.environ.get("FOOTNOTE_STEPS", "150"))
KILLS = int(os.environ.get("FOOTNOTE_KILLS", "5"))
STEPS_AT_ONCE = 50

NAMES = ("a.md", "b.md", "B.md", "sub/a.md", "sub/deep/c.txt", "faq.csv", "sub/faq.csv")
LINES = (
    "Whales sing for hours.",
    "The ferry leaves at eight.",
    "Parental leave is 16 weeks.",
    "Parental leave is 18 weeks.",
    "Krill is small and red.",
    "The tower was never lit.",
)
QUESTIONS = ("How long is parental leave?", "When does the ferry leave?", "Do whales sing?")
_ticks = itertools.count(1)


class Killed(BaseException):
    """The process is gone."""


def content_of(name: str, lines: tuple[int, ...]) -> bytes:
    texts = [LINES[i] for i in lines]
    if name.endswith(".csv"):
        return (
            "question,answer\n" + "".join(f"What about {i}?,{text}\n" for i, text in zip(lines, texts, strict=True))
        ).encode()
    return "".join(f"# Part {i}\n\n{text}\n\n" for i, text in zip(lines, texts, strict=True)).encode()


@contextmanager
def kill_before_write(number: int) -> Iterator[None]:
    """The `number`-th write, and every one after it, does not happen."""
    left = number

    def strike() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed

    def statement(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.lstrip().split(None, 1)[0].upper() in ("INSERT", "UPDATE", "DELETE"):
            strike()
        return execute(sql, params, many, context)

    def striking(original: Callable[..., Any]) -> Callable[..., Any]:
        def write(*args: Any, **kwargs: Any) -> Any:
            strike()
            return original(*args, **kwargs)

        return write

    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        for kind, names in ((ChromaStore, ("upsert", "delete")), (LexicalIndex, ("add", "delete", "commit"))):
            for name in names:
                patch.setattr(kind, name, striking(getattr(kind, name)))
        stack.enter_context(connection.execute_wrapper(statement))
        yield


class Folder(RuleBasedStateMachine):
    """What the folder holds, what was indexed of it last, and what may answer meanwhile."""

    root: Path
    parser: Parser

    def __init__(self) -> None:
        super().__init__()
        self.files: dict[str, bytes] = {}
        self.may_answer: dict[str, set[bytes]] = {}
        self.complete = False
        self.texts_of: dict[tuple[str, bytes], list[str]] = {}

    @initialize()
    def start_empty(self) -> None:
        close_index()
        for path in self.root.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        SyncRun.objects.all().delete()
        Source.objects.all().delete()
        data = django_settings.ENV.data_dir
        shutil.rmtree(data / "chroma", ignore_errors=True)
        shutil.rmtree(data / "lexical", ignore_errors=True)
        self._keep("keep.md", b"# Keep\n\nThis file stays.\n")  # an empty folder looks unmounted

    def _keep(self, name: str, content: bytes) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            return
        path.write_bytes(content)
        moment = time.time() - 1_000_000 + next(_ticks)
        os.utime(path, (moment, moment))
        self.files[name] = content
        self.complete = False

    @rule(name=st.sampled_from(NAMES), lines=st.lists(st.integers(0, 5), max_size=4).map(tuple))
    def write(self, name: str, lines: tuple[int, ...]) -> None:
        self._keep(name, content_of(name, lines))

    @rule(name=st.sampled_from(NAMES), lines=st.permutations([0, 1, 2, 3, 4, 5]))
    def replace_with_same_size_and_time(self, name: str, lines: list[int]) -> None:
        """Only a full sync can know."""
        path = self.root / name
        if name in self.files:
            before = path.stat()
            path.write_bytes(bytes(reversed(self.files[name])))
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
            self.files[name] = path.read_bytes()
            self.complete = False
            self.unseen = True

    @rule(name=st.sampled_from(NAMES))
    def delete(self, name: str) -> None:
        if self.files.pop(name, None) is not None:
            (self.root / name).unlink()
            self.complete = False

    @rule(name=st.sampled_from(NAMES), other=st.sampled_from(NAMES))
    def rename(self, name: str, other: str) -> None:
        if name in self.files and name != other:
            (self.root / other).parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).rename(self.root / other)
            self.files[other] = self.files.pop(name)
            self.complete = False

    @rule(name=st.sampled_from(NAMES), other=st.sampled_from(NAMES))
    def copy(self, name: str, other: str) -> None:
        if name in self.files and name != other:
            self._keep(other, self.files[name])

    @rule()
    def move_folder(self) -> None:
        moved = [name for name in self.files if name.startswith("sub/")]
        if moved and not (self.root / "other").exists():
            (self.root / "sub").rename(self.root / "other")
        elif (self.root / "other").exists() and not (self.root / "sub").exists():
            (self.root / "other").rename(self.root / "sub")
        else:
            return
        self.files = {p.relative_to(self.root).as_posix(): p.read_bytes() for p in self.root.rglob("*") if p.is_file()}
        self.complete = False

    @rule(name=st.sampled_from(NAMES), back=st.integers(1, 10**6))
    def set_the_clock_back(self, name: str, back: int) -> None:
        if name in self.files:
            moment = time.time() - 2_000_000 - back
            os.utime(self.root / name, (moment, moment))

    unseen = False

    @rule(full=st.booleans())
    def sync(self, full: bool) -> None:
        run = services.sync("test", full=full or self.unseen)
        assert run.state == SyncState.DONE, run.error
        if services.needs_reindex():
            run = services.carry_out(SyncRun.objects.create(trigger="test", task=Task.REINDEX))
            assert run.state == SyncState.DONE, run.error
        self.unseen = False
        self.complete = True
        self.may_answer = {name: {content} for name, content in self.files.items()}

    @rule(number=st.integers(0, 60), full=st.booleans())
    def sync_and_be_killed(self, number: int, full: bool) -> None:
        try:
            with kill_before_write(number):
                run = services.sync("test", full=full or self.unseen)
                assert run.state == SyncState.DONE, run.error
        except Killed:
            self.complete = False
        else:
            self.complete = not services.needs_reindex()
            self.may_answer = {}
            self.unseen = False
        for name, content in self.files.items():
            self.may_answer.setdefault(name, set()).add(content)
        self.restart()

    @rule(number=st.integers(0, 60))
    def upgrade_and_be_killed(self, number: int) -> None:
        """Another release: its parser reads everything anew, unless the process is killed before that."""
        registry.PARSER_VERSION = "odd" if registry.PARSER_VERSION != "odd" else "even"
        try:
            with kill_before_write(number):
                services.carry_out(SyncRun.objects.create(trigger="test", task=Task.REINDEX))
        except Killed:
            self.complete = False
        self.restart()

    @rule()
    def restart(self) -> None:
        close_index()
        connections.close_all()
        get_index()

    @precondition(lambda self: self.complete)
    @invariant()
    def the_stores_hold_what_a_fresh_index_would(self) -> None:
        expected = {(name, text) for name, content in self.files.items() for text in self._texts(name, content)}
        rows = list(Chunk.objects.current().values_list("source__path", "text"))
        assert set(rows) == expected
        assert len(rows) == sum(len(self._texts(name, content)) for name, content in self.files.items())
        assert Chunk.objects.count() == len(rows)
        state(get_index())
        failed = set(Source.objects.filter(state=SourceState.FAILED).values_list("path", flat=True))
        assert failed == {name for name, content in self.files.items() if not self._texts(name, content)}
        assert not Source.objects.filter(dirty=True).exists()

    @invariant()
    def nothing_answers_that_may_not(self) -> None:
        for question in QUESTIONS:
            for result in search(get_index(), question, 10, None):
                name = result["source"]
                assert name in self.files, "its file is gone"
                allowed = {text for content in self.may_answer.get(name, ()) for text in self._texts(name, content)}
                assert result["text"] in allowed, "it was never in this file, or was replaced"

    def _texts(self, name: str, content: bytes) -> list[str]:
        """The passages of this content, as the loaders make them; none of what cannot be read."""
        key = (Path(name).suffix, content)
        if key not in self.texts_of:
            path = django_settings.ENV.data_dir / f"expected{key[0]}"
            path.write_bytes(content)
            try:
                self.texts_of[key] = [chunk.text for chunk in self.parser.parse(path, path.name).chunks]
            except LoadError:
                self.texts_of[key] = []
        return self.texts_of[key]


@pytest.mark.django_db(transaction=True)
def test_no_sequence_of_changes_kills_and_restarts_breaks_it(
    folder: Path, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedder.embed_query("the model is converted before a test depends on it")
    monkeypatch.setattr(registry, "PARSER_VERSION", "even")  # put back at the end, whatever the rules made of it
    with Parser(tokenizer_path(), Limits()) as parser:
        Folder.root, Folder.parser = folder, parser
        try:
            run_state_machine_as_test(
                Folder,
                settings=settings(
                    max_examples=max(1, STEPS // STEPS_AT_ONCE),
                    stateful_step_count=STEPS_AT_ONCE,
                    deadline=None,
                    suppress_health_check=list(HealthCheck),
                    database=None,
                    print_blob=True,
                ),
            )
        finally:
            close_index()


@pytest.mark.django_db(transaction=True)
def test_real_kills_at_any_moment(
    folder: Path, embedder: Embedder, record_property: Callable[[str, object], None]
) -> None:
    """A process that syncs is killed by SIGKILL; after the last of many, one complete sync makes everything right."""
    if not hasattr(os, "fork"):
        pytest.skip("this system has no fork")
    embedder.embed_query("the model is converted before a test depends on it")
    chance = random.Random(7)
    close_index()
    killed = 0
    for round_number in range(KILLS):
        for _ in range(4):
            name = chance.choice(NAMES)
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if chance.random() < 0.25 and path.exists():
                path.unlink()
            else:
                path.write_bytes(
                    content_of(name, tuple(chance.choices(range(6), k=4))) + f"\n{round_number}\n".encode()
                )
                moment = time.time() - 1_000_000 + next(_ticks)
                os.utime(path, (moment, moment))
        connections.close_all()
        child = os.fork()
        if child == 0:  # pragma: no cover (it is killed)
            try:
                services.sync("test")
                os._exit(0)
            except BaseException:  # noqa: BLE001 (nothing of the test's own may run in here)
                os._exit(3)
        time.sleep(chance.uniform(0.0, 0.6))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        killed += os.WIFSIGNALED(status)
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    try:
        run = services.sync("test")
        assert run.state == SyncState.DONE, run.error
        index = get_index()
        first = state(index)
        close_index()
        # A fresh index of the same folder, in new stores.
        data = django_settings.ENV.data_dir
        shutil.rmtree(data / "chroma")
        shutil.rmtree(data / "lexical")
        Source.objects.all().delete()
        SyncRun.objects.all().delete()
        assert services.sync("test").state == SyncState.DONE
        assert state(get_index()) == first
    finally:
        close_index()
    record_property("killed while they worked", f"{killed} of {KILLS}")
