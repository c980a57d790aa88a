"""The same questions under other conditions: what is changed, and that nothing else is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from evals.conditions import Condition, conditions
from evals.runner import Options, run
from evals.samples import Dataset, load_dataset
from evals.scorers import robustness
from tests.evals.word_client import WordClient

HARBOUR = "# Harbour\n\nThe ferry leaves at 7:45. Captain Ingrid Holm steers it.\n"
MUSEUM = "# Museum\n\nThe whale is 25 metres long. Director Bruno Keller found it. It weighs 25 tons.\n"
ROWS: list[dict[str, Any]] = [
    {"id": "when", "question": "When does the ferry leave?", "answers": ["7:45"], "gold": "harbour.md"},
    {"id": "who", "question": "Who steers the ferry?", "answers": ["Ingrid Holm"], "gold": "harbour.md"},
    {"id": "long", "question": "How long is the whale?", "answers": ["25 metres", "25"], "gold": "museum.md"},
    {"id": "found", "question": "Who found the whale?", "answers": ["Bruno Keller"], "gold": "museum.md"},
    {"id": "no", "question": "What about the lighthouse?", "answers": [], "gold": None},
]


def a_dataset(home: Path) -> Dataset:
    (home / "files").mkdir(parents=True)
    (home / "files" / "harbour.md").write_text(HARBOUR)
    (home / "files" / "museum.md").write_text(MUSEUM)
    rows = [{**row, "gold": [{"file": row["gold"]}] if row["gold"] else []} for row in ROWS]
    rows[0]["paraphrases"] = ["At what time does the boat go?"]
    (home / "questions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return load_dataset(home)


def named(dataset: Dataset, name: str, noise: Path | None = None, seed: int = 0) -> Condition:
    return next(found for found in conditions(dataset, seed, noise) if found.name == name)


def questions(condition: Condition) -> dict[str, str]:
    return {sample.id: sample.question for sample in condition.dataset.samples}


def test_reworded_questions(tmp_path: Path) -> None:
    dataset = a_dataset(tmp_path)
    assert questions(named(dataset, "paraphrased")) == {"when": "At what time does the boat go?"}
    assert questions(named(dataset, "keywords"))["who"] == "steers ferry"
    typos = named(dataset, "typos")
    assert typos == named(dataset, "typos"), "the same seed gives the same typos"
    for sample in typos.dataset.samples:
        plain = next(row["question"] for row in ROWS if row["id"] == sample.id)
        assert sample.question != plain
        assert sorted(sample.question) == sorted(str(plain))
    assert typos.contents == named(dataset, "keywords").contents


def test_noise_lies_beside_the_files(tmp_path: Path) -> None:
    dataset = a_dataset(tmp_path / "set")
    assert "no folder distractors/" in named(dataset, "noise").skipped
    (tmp_path / "noise" / "sub").mkdir(parents=True)
    (tmp_path / "noise" / "sub" / "x.md").write_text("Something else.")
    condition = named(dataset, "noise", tmp_path / "noise")
    assert list(condition.dataset.files) == ["harbour.md", "museum.md", "noise/sub/x.md"]
    assert condition.contents["noise/sub/x.md"] == tmp_path / "noise" / "sub" / "x.md"
    assert condition.dataset.samples == dataset.samples


def test_documents_that_say_something_else(tmp_path: Path) -> None:
    dataset = a_dataset(tmp_path)
    condition = named(dataset, "counterfactual")
    texts = {
        name: bytes(content).decode() for name, content in condition.contents.items() if isinstance(content, bytes)
    }
    assert questions(condition).keys() == {"when", "who", "long", "found"}
    for sample in condition.dataset.samples:
        (old,), (new,) = condition.original[sample.id], sample.answers
        text = texts[sample.gold[0].file]
        assert new in text
        assert old not in text
    assert condition.original["long"] == ("25",), "the shortest of the answers, wherever it stands"
    assert texts["museum.md"].count("25") == 0
    new_name = next(sample.answers[0] for sample in condition.dataset.samples if sample.id == "who")
    assert new_name == "Bruno Keller", "a name for a name, from another question"
    assert dataset.files.keys() == condition.dataset.files.keys()
    assert dataset.files["museum.md"] != condition.dataset.files["museum.md"]
    assert condition == named(dataset, "counterfactual")
    assert condition != named(dataset, "counterfactual", seed=1)


def test_who_follows_the_documents_and_who_remembers(tmp_path: Path) -> None:
    condition = named(a_dataset(tmp_path), "counterfactual")
    texts = {
        name: bytes(content).decode() for name, content in condition.contents.items() if isinstance(content, bytes)
    }
    reader = run(condition.dataset, lambda: WordClient(texts), Options())
    follows, memory = robustness.follows(reader, condition.original)
    assert (follows.value, memory.value) == (1, 0)
    stale = run(condition.dataset, lambda: WordClient({"harbour.md": HARBOUR, "museum.md": MUSEUM}), Options())
    follows, memory = robustness.follows(stale, condition.original)
    assert (follows.value, memory.value) == (0, 1)


def test_a_set_without_short_answers_has_no_counterfactual(tmp_path: Path) -> None:
    dataset = a_dataset(tmp_path)
    long = tuple(sample for sample in dataset.samples if not sample.answerable)
    few = Dataset(dataset.name, dataset.folder, dataset.files, long, dataset.digest)
    assert "no short answer" in named(few, "counterfactual").skipped
