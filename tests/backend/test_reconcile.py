"""Whatever was planted in disk, catalogue, word index or vector index is found, and mended."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from backend.knowledge import reconcile
from backend.knowledge.index import KnowledgeIndex
from backend.knowledge.models import Chunk, Source, SourceVersion, SyncRun, Task
from backend.knowledge.selectors import latest_sync
from tests.backend.conftest import Sync
from tests.folder import write
from vectorstore.lexical import LexicalEntry

Plant = Callable[[Path, KnowledgeIndex], object]


@pytest.fixture
def filled(folder: Path, sync: Sync) -> Path:
    write(folder, "whales.md", "# Whales\n\nWhales sing.\n\n## Food\n\nThey eat krill.\n")
    write(folder, "sub/faq.csv", "question,answer\nIs it free?,Yes.\nIs it blue?,No.\n")
    sync()
    return folder


def chunk(text: str) -> Chunk:
    found: Chunk = Chunk.objects.get(text__contains=text)
    return found


def delete_words(folder: Path, index: KnowledgeIndex) -> None:
    index.lexical.delete([chunk("krill").id])
    index.lexical.commit()


def add_words(folder: Path, index: KnowledgeIndex) -> None:
    index.lexical.add([LexicalEntry("planted", "nobody", "", "planted words")])
    index.lexical.commit()


def turn_vector(folder: Path, index: KnowledgeIndex) -> None:
    row = chunk("krill")
    index.vectors.upsert([row.id], np.eye(1, 384, dtype=np.float32), [str(row.source_id)])


def misplace_vector(folder: Path, index: KnowledgeIndex) -> None:
    row = chunk("krill")
    index.vectors.upsert([row.id], index.embedder.embed_array([row.embed_text]), ["another"])


def alter_row(**values: Any) -> Plant:
    return lambda folder, index: Chunk.objects.filter(pk=chunk("krill").pk).update(**values)


def orphan(folder: Path, index: KnowledgeIndex) -> None:
    source = Source.objects.get(path="whales.md")
    Source.objects.filter(pk=source.pk).update(current_version=None, state="removed")
    (folder / "whales.md").unlink()


PLANTED: dict[str, tuple[Plant, dict[str, int]]] = {
    "a file that no sync has seen": (lambda folder, index: write(folder, "new.md", "New."), {"not_indexed": 1}),
    "a file with other content": (lambda folder, index: write(folder, "whales.md", "Other."), {"not_indexed": 1}),
    "a file that is gone": (lambda folder, index: (folder / "whales.md").unlink(), {"not_on_disk": 1}),
    "a file that moved": (
        lambda folder, index: (folder / "whales.md").rename(folder / "sub" / "whales.md"),
        {"not_on_disk": 1, "not_indexed": 1},
    ),
    "a passage that was deleted": (lambda folder, index: chunk("krill").delete(), {"damaged_rows": 1}),
    "a passage with another text": (alter_row(text="They eat plastic."), {"damaged_rows": 1}),
    "a passage with other words to search": (alter_row(embed_text="plastic"), {"damaged_rows": 1}),
    "a passage at another place": (alter_row(start=0), {"damaged_rows": 1}),
    "a source text that was altered": (
        lambda folder, index: SourceVersion.objects.filter(source__path="whales.md").update(text="x" * 80),
        {"damaged_rows": 1},
    ),
    "passages of a removed source": (orphan, {"damaged_rows": 1}),
    "words that are missing": (delete_words, {"words_missing": 1}),
    "words of nothing": (add_words, {"words_extra": 1}),
    "a vector that is missing": (
        lambda folder, index: index.vectors.delete([chunk("krill").id]),
        {"vectors_missing": 1},
    ),
    "a vector of nothing": (
        lambda folder, index: index.vectors.upsert(["planted"], np.eye(1, 384, dtype=np.float32), ["nobody"]),
        {"vectors_extra": 1},
    ),
    "a vector of something else": (turn_vector, {"vectors_wrong": 1}),
    "a vector under another source": (misplace_vector, {"vectors_wrong": 1}),
}


def run_command(*options: str) -> tuple[int, dict[str, Any]]:
    """The exit code, and the report."""
    out = StringIO()
    try:
        call_command("reconcile", *options, "--json", stdout=out)
    except SystemExit as done:
        return int(done.code or 0), json.loads(out.getvalue())
    return 0, json.loads(out.getvalue())


def counts(report: dict[str, Any]) -> dict[str, int]:
    return {name: count for name, count in report["differences"].items() if name != "names" and count}


def test_nothing_differs_after_a_sync(filled: Path, index: KnowledgeIndex) -> None:
    assert run_command() == (0, {"differences": reconcile.Differences().as_dict(), "repaired": False})
    out = StringIO()
    call_command("reconcile", stdout=out)
    assert "agree" in out.getvalue()


@pytest.mark.parametrize("what", PLANTED)
def test_what_was_planted_is_found_and_mended(
    what: str, filled: Path, index: KnowledgeIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant, expected = PLANTED[what]
    plant(filled, index)
    # The command closes the index at its end; the test's own stays open.
    monkeypatch.setattr("tasks.management.commands.reconcile.close_index", lambda: None)
    before = set(Chunk.objects.values_list("id", "text"))
    code, report = run_command()
    found = counts(report)
    assert code == 1
    assert {name: found.get(name, 0) for name in expected} == expected, report
    assert set(Chunk.objects.values_list("id", "text")) == before, "a comparison changes nothing"

    code, report = run_command("--repair")
    assert (code, report["repaired"]) == (0, True), report
    assert run_command()[0] == 0
    assert set(Source.objects.exclude(current_version=None).values_list("path", flat=True)) == {
        path.relative_to(filled).as_posix() for path in filled.rglob("*") if path.is_file()
    }
    ids = set(Chunk.objects.values_list("id", flat=True))
    assert index.vectors.ids() == index.lexical.ids() == ids
    assert not Chunk.objects.filter(text__contains="plastic").exists()


def test_a_report_in_words_and_a_folder_that_is_gone(filled: Path, index: KnowledgeIndex) -> None:
    write(filled, "new.md", "New.")
    out = StringIO()
    with pytest.raises(SystemExit):
        call_command("reconcile", stdout=out)
    assert out.getvalue() == "1 files that are not indexed as they are: new.md\n"
    filled.rename(filled.with_name("elsewhere"))
    with pytest.raises(CommandError, match="cannot be read"):
        call_command("reconcile")


def test_a_comparison_is_no_sync(filled: Path, index: KnowledgeIndex) -> None:
    done = latest_sync()
    run_command()
    assert SyncRun.objects.filter(task=Task.RECONCILE).count() == 1
    assert latest_sync() == done
