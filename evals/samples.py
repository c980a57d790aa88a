"""Data sets: questions with the places where their answers stand.

A data set is a folder with `files/` (as a user would drop them) and `questions.jsonl`. The shipped one is named
`sample` and asks about the documents in `knowledge/`.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = "sample"
UNCLEAR = ("underspecified", "conversational")  # values of meta.answerability, as MTRAG names them
SAMPLE_QUESTIONS = Path(__file__).resolve().parent / "datasets" / "sample" / "questions.jsonl"
# Named one by one: what somebody else has put into knowledge/ must not change the figures.
SAMPLE_FILES: tuple[str, ...] = (
    "configuration.md",
    "faq.csv",
    "footnote-handbook.pdf",
    "getting-started.md",
    "how-answers-are-made.md",
    "http-api.md",
)


class DatasetError(Exception):
    """The data set cannot be used; the message says what to do, in one line."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One earlier message of a conversation; `role` is "user" or "assistant"."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Gold:
    """A place that holds the answer: a file, and in it a page (from 1), a text, or neither (the whole file).

    text: whitespace-normalised; for FAQ files, the question of the pair.
    """

    file: str
    text: str | None = None
    page: int | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """One question. It is answerable exactly when `gold` is not empty; any one gold place is enough.

    paraphrases: the same question in other words. about: the file that an unanswerable question is near to.
    clear: False for what is neither answerable nor unanswerable, for instance a question that must be asked back; it
    counts in no figure about answers.
    """

    id: str
    question: str
    answers: tuple[str, ...] = ()
    gold: tuple[Gold, ...] = ()
    history: tuple[Turn, ...] = ()
    kind: str = ""
    tags: tuple[str, ...] = ()
    paraphrases: tuple[str, ...] = ()
    about: str | None = None
    clear: bool = True

    @property
    def answerable(self) -> bool:
        return bool(self.gold)


@dataclass(frozen=True, slots=True)
class Dataset:
    """Questions over files.

    files: the SHA-256 of each file (hex) by its path relative to `folder`, sorted by path. digest: of the questions and
    the files. distractors: a folder of further documents that hold none of the answers, where the set has one.
    """

    name: str
    folder: Path
    files: Mapping[str, str]
    samples: tuple[Sample, ...]
    digest: str
    distractors: Path | None = None

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.files)

    def pick(self, limit: int | None, seed: int) -> tuple[Sample, ...]:
        """All samples, or `limit` of them drawn with `seed`; in the data set's order either way."""
        if limit is None or limit >= len(self.samples):
            return self.samples
        drawn = random.Random(seed).sample(range(len(self.samples)), limit)  # noqa: S311 (a draw, not a secret)
        return tuple(self.samples[index] for index in sorted(drawn))


def load_dataset(which: str | Path) -> Dataset:
    """The data set `sample`, or the one in a folder; DatasetError says what is missing or wrong, and on which line."""
    if str(which) == SAMPLE:
        name, folder, questions, names = SAMPLE, ROOT / "knowledge", SAMPLE_QUESTIONS, SAMPLE_FILES
        if missing := [file for file in names if not (folder / file).is_file()]:
            raise DatasetError(
                f"The sample set needs {', '.join(missing)} in {folder}; restore them from the repository."
            )
    else:
        home = Path(which)
        name, folder, questions = home.resolve().name, home / "files", home / "questions.jsonl"
        if not home.is_dir():
            raise DatasetError(
                f"There is no data set at {home}: give `{SAMPLE}` or a folder with files/ and questions.jsonl."
            )
        if not folder.is_dir():
            raise DatasetError(f"The data set {home} has no folder files/.")
        if not questions.is_file():
            raise DatasetError(f"The data set {home} has no questions.jsonl.")
        names = tuple(sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()))
    samples = _read_questions(questions, frozenset(names))
    files = {file: digest_of(folder / file) for file in names}
    distractors = questions.parent / "distractors"
    return Dataset(
        name, folder, files, samples, _digest(questions, files), distractors if distractors.is_dir() else None
    )


def digest_of(path: Path) -> str:
    """The SHA-256 of a file, as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_questions(path: Path, names: frozenset[str]) -> tuple[Sample, ...]:
    samples: dict[str, Sample] = {}
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            sample = _read_sample(json.loads(line.decode("utf-8")))
            _check(sample, names, samples)
        except (ValueError, TypeError, KeyError) as error:
            reason = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
            raise DatasetError(f"{path}, line {number}: {reason}") from None
        samples[sample.id] = sample
    if not samples:
        raise DatasetError(f"{path} holds no questions.")
    return tuple(samples.values())


def _read_sample(row: Any) -> Sample:
    if not isinstance(row, dict):
        raise TypeError("a question is a JSON object")
    meta = row.get("meta") or {}
    if not isinstance(meta, dict):
        raise TypeError("meta must be a JSON object")
    return Sample(
        id=_text(row["id"], "id"),
        question=_text(row["question"], "question"),
        answers=tuple(_text(answer, "an answer") for answer in _items(row.get("answers"), "answers")),
        gold=tuple(_read_gold(gold) for gold in _items(row["gold"], "gold")),
        history=tuple(_read_turn(turn) for turn in _items(row.get("history"), "history")),
        kind=str(meta.get("kind", "")),
        tags=tuple(_text(tag, "a tag") for tag in _items(row.get("tags", meta.get("tags")), "tags")),
        paraphrases=tuple(_text(text, "a paraphrase") for text in _items(row.get("paraphrases"), "paraphrases")),
        about=str(meta["about_file"]) if meta.get("about_file") else None,
        clear=str(meta.get("answerability", "")).lower() not in UNCLEAR,
    )


def _read_turn(row: Any) -> Turn:
    if not isinstance(row, dict):
        raise TypeError("each turn of the history is a JSON object")
    if row["role"] not in ("user", "assistant"):
        raise ValueError("role must be user or assistant")
    return Turn(row["role"], _text(row["content"], "content"))


def _read_gold(row: Any) -> Gold:
    if not isinstance(row, dict):
        raise TypeError("each gold is a JSON object")
    page = row.get("page")
    if page is not None and (isinstance(page, bool) or not isinstance(page, int) or page < 1):
        raise ValueError("page must be a whole number from 1")
    text = row.get("text")
    return Gold(_text(row["file"], "file"), None if text is None else _text(text, "text"), page)


def _check(sample: Sample, names: frozenset[str], earlier: dict[str, Sample]) -> None:
    if sample.id in earlier:
        raise ValueError(f"the id {sample.id!r} is used twice")
    for gold in sample.gold:
        if gold.file not in names:
            raise ValueError(f"the gold file {gold.file!r} is not among the files")


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise TypeError(f"{what} must be a text that is not empty")
    return value


def _items(value: Any, what: str) -> list[Any]:
    """A list; null and absence count as an empty one (no reference answer, no history)."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise TypeError(f"{what} must be a list")
    return value


def _digest(questions: Path, files: Mapping[str, str]) -> str:
    """SHA-256 over the questions and every file with its name: equal exactly when the data set is."""
    total = hashlib.sha256(hashlib.sha256(questions.read_bytes()).digest())
    for name, digest in files.items():
        total.update(hashlib.sha256(name.encode()).digest())
        total.update(bytes.fromhex(digest))
    return total.hexdigest()
