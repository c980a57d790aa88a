"""After a sync the stores hold what a fresh index of the same folder would, and only what is new was embedded."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from backend.knowledge import services
from backend.knowledge.index import KnowledgeIndex
from backend.knowledge.models import Chunk, Source, SourceVersion, SyncRun, SyncState
from backend.knowledge.selectors import read_chunks, search
from tests.backend.conftest import Sync
from tests.backend.state import state
from tests.folder import settle, write, write_pdf

LEAVE = "# Leave\n\nParental leave is 16 weeks.\n\n# Office\n\nThe office opens at 8.\n"


def texts(path: str) -> list[str]:
    return list(Chunk.objects.current().filter(source__path=path).order_by("position").values_list("text", flat=True))


def found(index: KnowledgeIndex, question: str) -> set[str]:
    return {result["source"] for result in search(index, question, 5, None)}


def test_a_new_file_is_indexed_with_places_that_hold_its_text(folder: Path, sync: Sync, index: KnowledgeIndex) -> None:
    write(folder, "hr/leave.md", LEAVE)
    report = sync().report
    assert (report["added"], report["failed"]) == (1, 0)
    source = Source.objects.select_related("current_version").get(path="hr/leave.md")
    assert source.state == "indexed"
    assert source.current_version is not None
    assert source.current_version.text == LEAVE
    for chunk in Chunk.objects.filter(source=source):
        assert LEAVE[chunk.start : chunk.end] == chunk.text
    assert "hr/leave.md" in found(index, "How long is parental leave?")
    state(index)


def test_a_second_sync_of_the_same_folder_changes_nothing(folder: Path, sync: Sync, index: KnowledgeIndex) -> None:
    write(folder, "leave.md", LEAVE)
    write_pdf(folder, "a.pdf", ["Page one speaks of apples.", "Page two speaks of pears."])
    sync()
    before = state(index), list(SourceVersion.objects.values_list("pk"))
    report = sync().report
    assert report["unchanged"] == 2
    assert (report["added"], report["changed"], report["removed"], report["chunks_embedded"]) == (0, 0, 0, 0)
    assert (state(index), list(SourceVersion.objects.values_list("pk"))) == before


def test_an_edited_file_replaces_its_chunks_and_embeds_only_what_is_new(
    folder: Path, sync: Sync, index: KnowledgeIndex
) -> None:
    write(folder, "leave.md", LEAVE)
    sync()
    write(folder, "leave.md", LEAVE.replace("16 weeks", "20 weeks"))
    report = sync().report
    assert (report["changed"], report["chunks_embedded"], report["chunks_reused"]) == (1, 1, 1)
    assert not any("16 weeks" in text for text in texts("leave.md"))
    assert any("20 weeks" in text for text in texts("leave.md"))
    assert SourceVersion.objects.filter(source__path="leave.md").count() == 1
    state(index)


def test_a_removed_file_leaves_nothing_behind(folder: Path, sync: Sync, index: KnowledgeIndex) -> None:
    write(folder, "leave.md", LEAVE)
    write(folder, "other.md", "# Other\n\nCats sleep.\n")
    sync()
    (folder / "leave.md").unlink()
    assert sync().report["removed"] == 1
    source = Source.objects.get(path="leave.md")
    assert (source.state, source.current_version) == ("removed", None)
    assert not Chunk.objects.filter(source=source).exists()
    assert "leave.md" not in found(index, "How long is parental leave?")
    state(index)


def test_a_removed_file_stops_answering_before_any_sync_sees_it(
    folder: Path, sync: Sync, index: KnowledgeIndex
) -> None:
    write(folder, "leave.md", LEAVE)
    sync()
    ids = list(Chunk.objects.values_list("id", flat=True))
    assert len(read_chunks(ids)) == len(ids)
    (folder / "leave.md").unlink()
    assert read_chunks(ids) == {}
    assert found(index, "How long is parental leave?") == set()


def test_a_moved_file_embeds_nothing_and_answers_under_its_new_path(
    folder: Path, sync: Sync, index: KnowledgeIndex
) -> None:
    write(folder, "leave.md", LEAVE)
    sync()
    (folder / "hr").mkdir()
    (folder / "leave.md").rename(folder / "hr" / "leave.md")
    report = sync().report
    assert (report["moved"], report["removed"], report["chunks_embedded"]) == (1, 0, 0)
    assert found(index, "How long is parental leave?") == {"hr/leave.md"}
    state(index)


def test_a_renamed_file_is_what_a_fresh_index_would_hold(folder: Path, sync: Sync, index: KnowledgeIndex) -> None:
    write(folder, "leave.md", LEAVE)
    sync()
    (folder / "leave.md").rename(folder / "parental.md")
    sync()
    assert found(index, "How long is parental leave?") == {"parental.md"}
    state(index)


def test_identical_files_are_two_sources_that_share_embeddings(folder: Path, sync: Sync, index: KnowledgeIndex) -> None:
    write(folder, "a.md", LEAVE)
    first = sync().report
    write(folder, "copy/a.md", LEAVE)
    second = sync().report
    assert first["chunks_embedded"] == 2
    assert (second["added"], second["chunks_embedded"], second["chunks_reused"]) == (1, 0, 2)
    (folder / "a.md").unlink()
    sync()
    assert found(index, "How long is parental leave?") == {"copy/a.md"}
    state(index)


def test_a_file_that_comes_back_answers_again(folder: Path, sync: Sync, index: KnowledgeIndex) -> None:
    write(folder, "leave.md", LEAVE)
    sync()
    (folder / "leave.md").unlink()
    sync()
    write(folder, "leave.md", LEAVE)
    assert sync().report["added"] == 1
    assert Source.objects.get(path="leave.md").state == "indexed"
    state(index)


def test_a_touched_file_is_hashed_and_not_read_again(folder: Path, sync: Sync) -> None:
    path = write(folder, "leave.md", LEAVE)
    sync()
    settle(path)
    report = sync().report
    assert (report["unchanged"], report["changed"]) == (1, 0)


def test_the_same_size_and_time_with_other_content_is_found_by_a_full_sync(folder: Path, sync: Sync) -> None:
    path = write(folder, "leave.md", LEAVE)
    sync()
    stat = path.stat()
    with path.open("r+") as file:
        file.write(LEAVE.replace("16", "20"))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert sync().report["unchanged"] == 1
    assert sync(full=True).report["changed"] == 1
    assert any("20 weeks" in text for text in texts("leave.md"))


def test_a_file_that_is_still_being_written_waits(folder: Path, sync: Sync) -> None:
    (folder / "growing.md").write_text("# Half")
    report = sync().report
    assert (report["waiting"], report["added"]) == (1, 0)
    source = Source.objects.get(path="growing.md")
    assert source.state == "pending"
    assert "being written" in source.error
    settle(folder / "growing.md")
    assert sync().report["added"] == 1
    source.refresh_from_db()
    assert (source.state, source.error) == ("indexed", "")


BAD = {
    "empty.md": (b"", "empty"),
    "fake.pdf": (b"just text", "not a PDF"),
    "blob.bin": (bytes(range(256)) * 20, ""),
}


def test_bad_files_are_listed_with_their_reason_and_the_rest_goes_on(
    folder: Path, sync: Sync, index: KnowledgeIndex
) -> None:
    for name, (content, _) in BAD.items():
        write(folder, name, content)
    write(folder, "-née 🙂 leave.md", LEAVE)
    (folder / "out.md").symlink_to("/etc/hostname")
    report = sync().report
    assert (report["added"], report["failed"]) == (1 + len(BAD), len(BAD) + 1)
    errors = dict(Source.objects.filter(state="failed").values_list("path", "error"))
    assert set(errors) == {*BAD, "out.md"}
    assert all(errors.values())
    for name, (_, reason) in BAD.items():
        assert reason in errors[name]
    assert "outside" in errors["out.md"]
    assert found(index, "How long is parental leave?") == {"-née 🙂 leave.md"}
    assert sync().report["failed"] == 0, "a file that failed and did not change is not read again"


def test_a_file_that_turns_bad_stops_answering_until_it_is_good_again(
    folder: Path, sync: Sync, index: KnowledgeIndex
) -> None:
    write_pdf(folder, "leave.pdf", ["Parental leave is 16 weeks."])
    sync()
    whole = (folder / "leave.pdf").read_bytes()
    write(folder, "leave.pdf", whole[:300])
    assert sync().report["failed"] == 1
    source = Source.objects.get(path="leave.pdf")
    assert source.state == "failed"
    assert source.error
    assert found(index, "How long is parental leave?") == set(), "what was replaced is not answered from"
    state(index)
    write(folder, "leave.pdf", whole)
    sync()
    assert found(index, "How long is parental leave?") == {"leave.pdf"}
    state(index)


def test_an_emptied_folder_is_emptied_in_the_index(folder: Path, sync: Sync, index: KnowledgeIndex) -> None:
    write(folder, "leave.md", LEAVE)
    sync()
    (folder / "leave.md").unlink()
    sync()
    assert state(index) == ({}, {})


@pytest.mark.parametrize("comes_back", [False, True], ids=["vanished", "replaced by an empty one"])
def test_a_folder_that_vanished_or_was_unmounted_removes_nothing(
    folder: Path, sync: Sync, index: KnowledgeIndex, comes_back: bool
) -> None:
    write(folder, "leave.md", LEAVE)
    sync()
    shutil.move(folder, folder.with_name("elsewhere"))
    if comes_back:
        folder.mkdir()
    run = services.sync("test")
    assert run.state == SyncState.FAILED
    assert str(folder) in run.error
    assert found(index, "How long is parental leave?") == {"leave.md"}
    if comes_back:
        folder.rmdir()
    shutil.move(folder.with_name("elsewhere"), folder)
    assert sync().report["unchanged"] == 1


class Crash(BaseException):
    """Stands for the end of the process: nothing after it runs."""


STEPS: list[tuple[str, Callable[[KnowledgeIndex], tuple[object, str]]]] = [
    ("before the vectors", lambda index: (index.vectors, "upsert")),
    ("before the words", lambda index: (index.lexical, "add")),
    ("before the words are committed", lambda index: (index.lexical, "commit")),
    ("before the vectors of old chunks go", lambda index: (index.vectors, "delete")),
    ("before the words of old chunks go", lambda index: (index.lexical, "delete")),
]


@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize("where", [where for _, where in STEPS], ids=[name for name, _ in STEPS])
def test_a_crash_between_two_writes_ends_in_the_state_of_an_undisturbed_run(
    folder: Path,
    sync: Sync,
    index: KnowledgeIndex,
    monkeypatch: pytest.MonkeyPatch,
    where: Callable[[KnowledgeIndex], tuple[object, str]],
    nth: int,
) -> None:
    write(folder, "a.md", LEAVE)
    write(folder, "b.md", "# B\n\nBees make honey.\n")
    write(folder, "c.md", "# C\n\nCats sleep.\n")
    sync()
    write(folder, "a.md", LEAVE.replace("16 weeks", "20 weeks"))
    (folder / "b.md").unlink()
    write(folder, "d.md", "# D\n\nDogs bark.\n")

    part, name = where(index)
    original = getattr(part, name)
    calls = iter(range(1, 100))

    def crash(*args: object, **kwargs: object) -> object:
        if next(calls) == nth:
            raise Crash
        return original(*args, **kwargs)

    monkeypatch.setattr(type(part), name, lambda self, *args, **kwargs: crash(*args, **kwargs))
    with contextlib.suppress(Crash):
        services.sync("test")
    monkeypatch.undo()
    assert "b.md" not in found(index, "What do bees make?"), "a removed file answers after a crash"

    sync()
    chunks, states = state(index)
    assert states == {"a.md": "indexed", "c.md": "indexed", "d.md": "indexed"}
    assert {text for _, text, _ in chunks} == {
        *texts("a.md"),
        *texts("c.md"),
        *texts("d.md"),
    }
    assert any("20 weeks" in text for text in texts("a.md"))
    assert not any("16 weeks" in text for text in texts("a.md"))


def test_lost_and_foreign_index_entries_are_mended_by_the_next_sync(
    folder: Path, sync: Sync, index: KnowledgeIndex
) -> None:
    write(folder, "leave.md", LEAVE)
    sync()
    ids = sorted(index.vectors.ids())
    index.vectors.delete(ids[:1])
    index.lexical.clear()
    index.lexical.commit()
    sync()
    state(index)


def test_runs_are_recorded_and_those_of_a_killed_process_are_closed(folder: Path, sync: Sync) -> None:
    SyncRun.objects.create(trigger="killed", state=SyncState.RUNNING)
    services.close_interrupted_runs()
    assert SyncRun.objects.get(trigger="killed").state == SyncState.FAILED
    assert sync().finished_at is not None


def test_a_preview_says_what_would_happen_and_changes_nothing(folder: Path, sync: Sync, index: KnowledgeIndex) -> None:
    write(folder, "a.md", LEAVE)
    write(folder, "b.md", LEAVE)
    sync()
    before = state(index)
    write(folder, "a.md", LEAVE + "More.\n")
    (folder / "b.md").unlink()
    write(folder, "new.md", "# New\n\nNews.\n")
    changes = services.preview()
    assert (changes["added"], changes["changed"], changes["removed"]) == (["new.md"], ["a.md"], ["b.md"])
    assert state(index) == before


def test_the_parsing_process_is_kept_for_a_while_and_then_ended(folder: Path, sync: Sync) -> None:
    write(folder, "one.md", LEAVE)
    sync()
    first = services._get_parser()._process
    write(folder, "two.md", LEAVE)
    sync()
    assert first is not None
    assert services._get_parser()._process is first
    services.end_idle_parser()
    assert first.poll() is None, "it was used a moment ago"
    services.end_idle_parser(0)
    assert first.poll() is not None
    write(folder, "three.md", LEAVE)
    assert sync().report["added"] == 1


def test_a_path_that_is_too_long_is_listed_once(folder: Path, sync: Sync) -> None:
    write(folder, "/".join(["a" * 200] * 6) + "/deep.md", LEAVE)
    first, second = sync().report, sync().report
    assert (first["failed"], first["added"]) == (1, 0)
    assert (second["failed"], second["removed"], second["unchanged"]) == (0, 0, 1)
    assert "1024 characters" in Source.objects.get().error
