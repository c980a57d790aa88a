"""Another release's parser: all files answer as it reads them from one moment on, and as before until then."""

from __future__ import annotations

import os
import threading
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import connection

from backend.knowledge import rebuild, reconcile, services
from backend.knowledge.index import KnowledgeIndex, get_index
from backend.knowledge.models import Chunk, Source, SourceVersion, SyncRun, SyncState, Task
from backend.knowledge.rebuild import Rebuild, needs_rebuild
from backend.knowledge.selectors import search
from backend.knowledge.services import parse_limits
from loaders import registry
from loaders.errors import Damaged
from loaders.parser import Parser
from tests.backend.conftest import Sync
from tests.backend.state import state
from tests.folder import write
from vectorstore.embeddings import tokenizer_path

QUESTION = "How long is parental leave?"


@pytest.fixture
def filled(folder: Path, sync: Sync) -> Path:
    write(folder, "leave.md", "# Leave\n\nParental leave is 16 weeks.\n")
    write(folder, "office.md", "# Office\n\nThe office opens at eight.\n")
    write(folder, "cats.md", "# Cats\n\nCats sleep all day.\n")
    sync()
    return folder


@pytest.fixture
def next_release(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "PARSER_VERSION", "of-the-next-release")


def change_over() -> SyncRun:
    return services.sync_or_request("test", task=Task.REINDEX)


def parsers() -> list[str]:
    """Whose reading answers, file by file."""
    return [recipe for (recipe,) in Source.objects.order_by("path").values_list("current_version__recipe")]


def work_of(folder: Path, index: KnowledgeIndex, parser: Parser) -> Rebuild:
    return Rebuild(folder, index, parser, SyncRun.objects.create(trigger="test", task=Task.REINDEX))


def test_a_sync_leaves_what_another_release_has_read(
    filled: Path, index: KnowledgeIndex, sync: Sync, next_release: None
) -> None:
    before = parsers()
    write(filled, "new.md", "# Dogs\n\nDogs bark.\n")
    report = sync(full=True).report
    assert (report["added"], report["changed"], report["unchanged"], report["outdated"]) == (1, 0, 3, 3)
    assert parsers() == [*before[:2], "parser-of-the-next-release", *before[2:]], "a new file has nothing to wait for"
    assert services.needs_reindex()
    assert not reconcile.compare(filled, index)
    out = StringIO()
    call_command("sync", stdout=out)
    assert "3 files answer as another release read them" in out.getvalue()


def test_all_files_switch_at_once_and_nothing_is_embedded_again(
    filled: Path, index: KnowledgeIndex, next_release: None
) -> None:
    before, ids = parsers(), set(Chunk.objects.values_list("id", flat=True))
    done = change_over()
    assert (done.state, done.report["read"], done.report["embedded"]) == (SyncState.DONE, 3, 0)
    assert parsers() == ["parser-of-the-next-release"] * 3 != before
    assert not ids & set(Chunk.objects.values_list("id", flat=True))
    assert SourceVersion.objects.count() == 3
    assert not services.needs_reindex()
    state(index)
    assert not reconcile.compare(filled, index, full=True)
    assert change_over().report["read"] == 0


@pytest.mark.django_db(transaction=True)
def test_until_the_switch_the_old_reading_answers(
    filled: Path, index: KnowledgeIndex, next_release: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen from another thread, at any moment: all of the one, then all of the other."""
    seen: list[tuple[str, ...]] = []
    found: set[tuple[str, ...]] = set()
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            seen.append(tuple(parsers()))
            found.add(tuple(result["text"] for result in search(get_index(), QUESTION, 1, None)))
        connection.close()

    monkeypatch.setattr(rebuild, "BATCH_CHUNKS", 1)
    before = tuple(parsers())
    thread = threading.Thread(target=look)
    thread.start()
    try:
        assert change_over().report["read"] == 3
    finally:
        stop.set()
        thread.join()
    assert set(seen) <= {before, ("parser-of-the-next-release",) * 3}
    assert found == {("Parental leave is 16 weeks.",)}


def test_what_comes_and_goes_between_the_steps_is_right_after_the_switch(
    filled: Path, index: KnowledgeIndex, sync: Sync, next_release: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuild, "BATCH_CHUNKS", 1)
    with Parser(tokenizer_path(), parse_limits()) as parser:
        work = work_of(filled, index, parser)
        assert work.step(), "cats.md"
        (filled / "cats.md").unlink()
        sync()
        assert work.step(), "leave.md"
        assert not reconcile.compare(filled, index), "what waits for the switch is no difference"
        write(filled, "leave.md", "# Leave\n\nParental leave is 18 weeks.\n")
        write(filled, "new.md", "# Dogs\n\nDogs bark.\n")
        sync()
        (filled / "office.md").rename(filled / "bureau.md")
        sync()
        while work.step():
            pass
        work.switch()
    sync()
    assert not needs_rebuild()
    state(index)
    assert set(parsers()) - {None} == {"parser-of-the-next-release"}
    assert "18 weeks" in search(index, QUESTION, 1, None)[0]["text"]
    assert not reconcile.compare(filled, index, full=True)


def test_a_rebuild_that_was_stopped_goes_on_where_it_was(
    filled: Path, index: KnowledgeIndex, next_release: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuild, "BATCH_CHUNKS", 1)
    with Parser(tokenizer_path(), parse_limits()) as parser:
        assert work_of(filled, index, parser).step()
        before = parsers()
        ready = set(Chunk.objects.exclude(pk__in=Chunk.objects.current()).values_list("id", flat=True))
        assert len(ready) == 1
        again = work_of(filled, index, parser)
        assert again.step()
        assert not again.step()
        assert again.done == 2, "the third was read before"
        assert parsers() == before
        assert again.switch() == 3
    assert ready <= set(Chunk.objects.current().values_list("id", flat=True))
    state(index)


def test_the_way_back_embeds_nothing_and_leaves_nothing(
    filled: Path, index: KnowledgeIndex, next_release: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = set(Chunk.objects.values_list("id", flat=True))
    with Parser(tokenizer_path(), parse_limits()) as parser:
        work_of(filled, index, parser).step()
    monkeypatch.undo()
    assert services.needs_reindex(), "what was made for the switch is to be dropped"
    assert change_over().report["read"] == 0
    assert set(Chunk.objects.values_list("id", flat=True)) == ids
    state(index)
    monkeypatch.setattr(registry, "PARSER_VERSION", "of-the-next-release")
    assert change_over().report["read"] == 3
    monkeypatch.undo()
    assert change_over().report == {"read": 3, "embedded": 0, "model": "minilm"}
    assert set(Chunk.objects.values_list("id", flat=True)) == ids
    state(index)


def test_a_file_that_the_new_parser_refuses_stops_answering_at_the_switch(
    filled: Path, index: KnowledgeIndex, sync: Sync, next_release: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Parser(tokenizer_path(), parse_limits()) as parser:
        parse = parser.parse

        def strict(path: Path, *args: object) -> object:
            if path.name == "leave.md":
                raise Damaged("it is not what it seems")
            return parse(path, *args)  # type: ignore[arg-type]

        monkeypatch.setattr(parser, "parse", strict)
        work = work_of(filled, index, parser)
        while work.step():
            pass
        assert search(index, QUESTION, 1, None)[0]["source"] == "leave.md"
        assert work.switch() == 2
    failed = Source.objects.get(path="leave.md")
    assert (failed.state, failed.error, failed.current_version) == ("failed", "it is not what it seems", None)
    assert all(result["source"] != "leave.md" for result in search(index, QUESTION, 5, None))
    state(index)
    assert not needs_rebuild()


def test_a_file_with_other_content_than_the_catalogue_knows_is_left_to_the_sync(
    filled: Path, index: KnowledgeIndex, next_release: None
) -> None:
    """Its content is another one with the same size and time: that is a full sync's affair."""
    path = filled / "cats.md"
    before = path.stat()
    path.write_text("# Cats\n\nCats sleep no day.\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert change_over().report["read"] == 2
    assert Source.objects.get(path="cats.md").current_version is not None
    assert services.needs_reindex()
