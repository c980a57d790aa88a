"""The same questions under other conditions: what a robust product bears.

- paraphrased: in other words, as the data set has them (`paraphrases`); one of them, drawn with the run's seed.
- keywords: without function words, as one types into a search box.
- typos: two neighbouring letters swapped in two of the longer words (the typo test of CheckList, Ribeiro et al. 2020,
  arXiv 2005.04118).
- noise: further documents beside the right ones (noise robustness, RGB, Chen et al. 2023, arXiv 2309.01431): the
  data set's folder `distractors/`, or the one that is named.
- counterfactual: the documents say something else (counterfactual robustness, RGB). In every text file the short
  answers are replaced, figures by other figures, names by another question's answer of the same shape (corpus
  substitution, Longpre et al. 2021, arXiv 2109.05052); scored as scorers/robustness.py has it. Only questions so
  altered are asked.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from chains.words import STOPWORDS
from evals.samples import Dataset, Gold, Sample, digest_of
from evals.scorers.answers import normalise

NOISE = "noise"  # the folder below the watched one that distractors go into
LONGEST_ANSWER = 5  # words
SHORTEST_NAME = 4  # characters of an answer without a figure: "on" would be replaced everywhere
TEXT_FILES = (".md", ".txt", ".csv", ".tsv", ".html", ".rst", ".json", ".jsonl", ".yaml", ".yml")
TYPOS = 2
LONG_WORD = 5  # letters


@dataclass(frozen=True, slots=True)
class Condition:
    """What is asked of which files; or why it cannot be had. original: answers before they were replaced, by id."""

    name: str
    dataset: Dataset
    contents: Mapping[str, Path | bytes]
    skipped: str = ""
    original: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def contents(dataset: Dataset) -> dict[str, Path | bytes]:
    """Where the data set's own files are."""
    return {name: dataset.folder / name for name in dataset.files}


def conditions(dataset: Dataset, seed: int, noise: Path | None) -> list[Condition]:
    """Every condition over the samples of `dataset`, in the order of this module's head."""
    plain = contents(dataset)

    def reworded(name: str, reword: Callable[[Sample, random.Random], str | None], missing: str) -> Condition:
        samples = []
        for sample in dataset.samples:
            text = reword(sample, random.Random(f"{seed}:{name}:{sample.id}"))  # noqa: S311 (a draw, not a secret)
            if text is not None:
                samples.append(replace(sample, question=text))
        changed = replace(dataset, samples=tuple(samples))
        return Condition(name, changed, plain, "" if samples else missing)

    return [
        reworded("paraphrased", _paraphrase, "the data set has no paraphrases"),
        reworded("keywords", _keywords, "no question has function words"),
        reworded("typos", _typos, "no question has long words"),
        _with_noise(dataset, noise or dataset.distractors),
        _counterfactual(dataset, seed),
    ]


def _paraphrase(sample: Sample, draw: random.Random) -> str | None:
    return draw.choice(sample.paraphrases) if sample.paraphrases else None


def _keywords(sample: Sample, draw: random.Random) -> str | None:
    words = sample.question.rstrip("?!. ").split()
    kept = [word for word in words if word.strip(",;:'\"()").casefold() not in STOPWORDS]
    return " ".join(kept) if kept and len(kept) < len(words) else None


def _typos(sample: Sample, draw: random.Random) -> str | None:
    words = sample.question.split()
    places = [
        (i, j)
        for i, word in enumerate(words)
        if len(word) >= LONG_WORD and word.isalpha()
        for j in range(1, len(word) - 2)
        if word[j] != word[j + 1]
    ]
    draw.shuffle(places)
    swapped: set[int] = set()
    for i, j in places:
        if i not in swapped and len(swapped) < TYPOS:
            word = words[i]
            words[i] = word[:j] + word[j + 1] + word[j] + word[j + 2 :]
            swapped.add(i)
    return " ".join(words) if swapped else None


def _with_noise(dataset: Dataset, folder: Path | None) -> Condition:
    plain = contents(dataset)
    if folder is None:
        return Condition("noise", dataset, plain, "the data set has no folder distractors/ (--noise names another)")
    paths = {
        f"{NOISE}/{path.relative_to(folder).as_posix()}": path for path in sorted(folder.rglob("*")) if path.is_file()
    }
    files = dict(sorted({**dataset.files, **{name: digest_of(path) for name, path in paths.items()}}.items()))
    return Condition("noise", replace(dataset, files=files), {**plain, **paths})


def _counterfactual(dataset: Dataset, seed: int) -> Condition:
    swaps = _choose_swaps(dataset, seed)
    if not swaps:
        return Condition("counterfactual", dataset, contents(dataset), "no short answer stands in a text file")
    altered: dict[str, Path | bytes] = contents(dataset)
    files = dict(dataset.files)
    apply = {name: _replacer(list(pairs.values())) for name, pairs in swaps.items()}
    for name, replaced in apply.items():
        data = replaced((dataset.folder / name).read_text(encoding="utf-8")).encode()
        altered[name] = data
        files[name] = hashlib.sha256(data).hexdigest()
    samples, original = [], {}
    for sample in dataset.samples:
        name = sample.gold[0].file if sample.gold else ""
        if sample.id in swaps.get(name, {}):
            answer, other = swaps[name][sample.id]
            gold = tuple(Gold(g.file, apply[g.file](g.text) if g.text else None, g.page) for g in sample.gold)
            samples.append(replace(sample, answers=(other,), gold=gold))
            original[sample.id] = (answer,)
    return Condition(
        "counterfactual", replace(dataset, files=files, samples=tuple(samples)), altered, original=original
    )


Swaps = dict[str, dict[str, tuple[str, str]]]  # by file and sample: an answer, and what it is replaced by


def _choose_swaps(dataset: Dataset, seed: int) -> Swaps:
    pool = sorted({answer for sample in dataset.samples for answer in sample.answers if _is_short(answer)})
    texts: dict[str, str] = {}
    swaps: Swaps = {}
    for sample in dataset.samples:
        if len({place.file for place in sample.gold}) != 1:
            continue
        name = sample.gold[0].file
        if not name.lower().endswith(TEXT_FILES):
            continue
        if name not in texts:
            texts[name] = (dataset.folder / name).read_bytes().decode("utf-8", "replace")
        where = sample.gold[0].text or ""
        # For FAQ pairs the gold text is the question, so the answer is looked for in the whole file.
        fitting = [
            a for a in sample.answers if _is_short(a) and _stands(a, texts[name]) and not _stands(a, sample.question)
        ]
        fitting = [a for a in fitting if _stands(a, where)] or fitting
        taken = [text for pair in swaps.get(name, {}).values() for text in pair]
        fitting = [
            a for a in fitting if not any(a.lower() in text.lower() or text.lower() in a.lower() for text in taken)
        ]
        if not fitting or "�" in texts[name]:
            continue
        answer = min(fitting, key=lambda text: (len(text), text))
        draw = random.Random(f"{seed}:{answer}")  # noqa: S311 (a draw, not a secret)
        other = _other(answer, pool, texts[name], draw)
        if other is not None:
            swaps.setdefault(name, {})[sample.id] = (answer, other)
    return swaps


def _other(answer: str, pool: Sequence[str], text: str, draw: random.Random) -> str | None:
    """Something of the same shape that the file does not say."""
    if any(char.isdigit() for char in answer):
        for _ in range(20):
            changed = re.sub(r"\d", lambda digit: str(draw.randint(1, 9)), answer)
            if changed != answer and not _stands(changed, text):
                return changed
        return None
    shape = _shape(answer)
    alike = [other for other in pool if _shape(other) == shape and not _stands(other, text)]
    return draw.choice(alike) if alike else None


def _shape(answer: str) -> tuple[int, bool]:
    return len(answer.split()), answer[:1].isupper()


def _is_short(answer: str) -> bool:
    plain = 1 <= len(normalise(answer).split()) <= LONGEST_ANSWER and not set('",;\n') & set(answer)
    return plain and (len(answer) >= SHORTEST_NAME or any(char.isdigit() for char in answer))


def _stands(answer: str, text: str) -> bool:
    return _pattern([answer]).search(text) is not None


def _replacer(pairs: Sequence[tuple[str, str]]) -> Callable[[str], str]:
    table = dict(pairs)
    pattern = _pattern(sorted(table, key=len, reverse=True))
    return lambda text: pattern.sub(lambda match: table[match.group()], text)


def _pattern(answers: Sequence[str]) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, answers))})(?!\w)")
