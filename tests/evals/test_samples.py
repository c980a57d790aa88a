"""Data sets load, or say what is wrong and where; the shipped one is true to its documents."""

import csv
import hashlib
import json
from pathlib import Path

import pypdfium2
import pytest

from evals.datasets.sample.make_handbook import TARGET, make_handbook
from evals.samples import Dataset, DatasetError, Gold, Sample, Turn, load_dataset

GOOD = {"id": "q1", "question": "How long?", "answers": ["7 days"], "gold": [{"file": "a.md", "text": "It is 7 days."}]}


def write_dataset(home: Path, *lines: object) -> Path:
    (home / "files" / "sub").mkdir(parents=True, exist_ok=True)
    (home / "files" / "a.md").write_text("It is 7 days.")
    (home / "files" / "sub" / "b.pdf").write_bytes(b"%PDF")
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    (home / "questions.jsonl").write_text(text, encoding="utf-8")
    return home


def test_a_folder_becomes_a_dataset(tmp_path: Path) -> None:
    follow_up = {
        "id": "q2",
        "question": "Why?",
        "answers": None,
        "gold": [{"file": "sub/b.pdf", "page": 2, "evidence": "ignored"}],
        "history": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "You."}],
        "meta": {"kind": "answerable", "tags": ["pdf"]},
        "paraphrases": ["What for?"],
    }
    unclear: dict[str, object] = {"id": "q3", "question": "Ü?", "gold": [], "tags": ["odd"]}
    unclear["meta"] = {"answerability": "UNDERSPECIFIED", "about_file": "a.md"}
    (tmp_path / "distractors").mkdir()
    dataset = load_dataset(write_dataset(tmp_path, GOOD, "", follow_up, unclear))
    assert dataset.distractors == tmp_path / "distractors"
    assert dataset.files["a.md"] == hashlib.sha256(b"It is 7 days.").hexdigest()
    assert dataset.names == ("a.md", "sub/b.pdf")
    assert dataset.samples == (
        Sample("q1", "How long?", ("7 days",), (Gold("a.md", "It is 7 days."),)),
        Sample(
            "q2",
            "Why?",
            gold=(Gold("sub/b.pdf", page=2),),
            history=(Turn("user", "Who?"), Turn("assistant", "You.")),
            kind="answerable",
            tags=("pdf",),
            paraphrases=("What for?",),
        ),
        Sample("q3", "Ü?", tags=("odd",), about="a.md", clear=False),
    )
    assert [sample.answerable for sample in dataset.samples] == [True, True, False]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "line 2: Expecting property name"),
        ("[]", "line 2: a question is a JSON object"),
        ({"question": "?", "gold": []}, "line 2: id is missing"),
        ({"id": "q2", "question": "?"}, "line 2: gold is missing"),
        ({"id": "q2", "question": " ", "gold": []}, "line 2: question must be a text that is not empty"),
        ({"id": "q1", "question": "?", "gold": []}, "line 2: the id 'q1' is used twice"),
        ({"id": "q2", "question": "?", "gold": {}}, "line 2: gold must be a list"),
        ({"id": "q2", "question": "?", "gold": ["a.md"]}, "line 2: each gold is a JSON object"),
        ({"id": "q2", "question": "?", "gold": [{"file": "c.md"}]}, "line 2: the gold file 'c.md' is not among the"),
        ({"id": "q2", "question": "?", "gold": [{"file": "a.md", "page": 0}]}, "line 2: page must be a whole number"),
        ({"id": "q2", "question": "?", "gold": [], "history": ["hi"]}, "line 2: each turn of the history"),
        ({"id": "q2", "question": "?", "gold": [], "history": [{"role": "x"}]}, "line 2: role must be user or"),
        ({"id": "q2", "question": "?", "gold": [], "meta": 1}, "line 2: meta must be a JSON object"),
    ],
)
def test_a_bad_line_is_named_with_its_number(
    tmp_path: Path, line: str | list[object] | dict[str, object], reason: str
) -> None:
    with pytest.raises(DatasetError) as caught:
        load_dataset(write_dataset(tmp_path, GOOD, line))
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"There is no data set at .*nowhere"):
        load_dataset(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="has no folder files/"):
        load_dataset(tmp_path)
    (tmp_path / "files").mkdir()
    with pytest.raises(DatasetError, match=r"has no questions\.jsonl"):
        load_dataset(tmp_path)
    (tmp_path / "questions.jsonl").write_text("\n")
    with pytest.raises(DatasetError, match="holds no questions"):
        load_dataset(tmp_path)


def test_the_digest_follows_questions_names_and_content(tmp_path: Path) -> None:
    home = write_dataset(tmp_path, GOOD)
    digests = [load_dataset(home).digest]
    (home / "files" / "a.md").write_text("It is 8 days.")
    digests.append(load_dataset(home).digest)
    (home / "files" / "sub" / "b.pdf").rename(home / "files" / "b.pdf")
    digests.append(load_dataset(home).digest)
    digests.append(load_dataset(write_dataset(tmp_path, GOOD | {"answers": ["8 days"]})).digest)
    assert len(set(digests)) == 4
    assert load_dataset(home).digest == digests[-1]


def test_a_draw_depends_on_the_seed_alone_and_keeps_the_order(tmp_path: Path) -> None:
    rows = [{"id": f"q{n}", "question": "?", "gold": []} for n in range(50)]
    dataset = load_dataset(write_dataset(tmp_path, *rows))
    drawn = dataset.pick(10, seed=1)
    assert drawn == dataset.pick(10, seed=1) != dataset.pick(10, seed=2)
    assert len(drawn) == 10
    assert list(drawn) == sorted(drawn, key=dataset.samples.index)
    assert dataset.pick(None, seed=1) == dataset.pick(99, seed=1) == dataset.samples


def test_the_sample_set_points_at_places_that_exist() -> None:
    dataset = load_dataset("sample")
    wrong = [(sample.id, gold) for sample in dataset.samples for gold in sample.gold if not _exists(dataset, gold)]
    assert wrong == []


def test_each_answer_of_the_sample_set_stands_in_one_of_its_gold_places() -> None:
    dataset = load_dataset("sample")
    wrong = [
        sample.id
        for sample in dataset.samples
        if sample.answerable
        and not any(_flat(answer) in _place(dataset, gold) for answer in sample.answers for gold in sample.gold)
    ]
    assert wrong == []


def test_the_sample_set_has_every_kind_of_question() -> None:
    samples = load_dataset("sample").samples
    assert all(sample.kind == ("answerable" if sample.answerable else "unanswerable") for sample in samples)
    assert all(bool(sample.answers) == sample.answerable for sample in samples)
    assert all(sample.paraphrases for sample in samples)
    assert sum(sample.answerable for sample in samples) >= 28
    assert sum(bool(sample.history) for sample in samples) == 3
    for tag in ("pdf", "markdown", "faq", "table", "keywords", "follow-up", "off-topic", "near-domain"):
        assert sum(tag in sample.tags for sample in samples) >= 3, tag


def test_every_sample_document_is_asked_about() -> None:
    dataset = load_dataset("sample")
    assert {gold.file for sample in dataset.samples for gold in sample.gold} == set(dataset.names)


def test_the_handbook_is_what_its_maker_makes() -> None:
    assert make_handbook() == TARGET.read_bytes()


def _exists(dataset: Dataset, gold: Gold) -> bool:
    return bool(_place(dataset, gold)) and (gold.text is None or _flat(gold.text) in _whole(dataset, gold.file))


def _place(dataset: Dataset, gold: Gold) -> str:
    """The text around a gold place: the page, the FAQ pair, or the paragraph or table row with the gold text."""
    path = dataset.folder / gold.file
    if gold.page is not None:
        pdf = pypdfium2.PdfDocument(path)
        return _flat(pdf[gold.page - 1].get_textpage().get_text_range()) if gold.page <= len(pdf) else ""
    if path.suffix == ".csv":
        rows = csv.DictReader(path.read_text(encoding="utf-8").splitlines())
        return " ".join(_flat(row["answer"]) for row in rows if row["question"] == gold.text)
    blocks = path.read_text(encoding="utf-8").split("\n\n")
    return " ".join(_flat(block) for block in blocks if _flat(gold.text or "") in _flat(block))


def _whole(dataset: Dataset, name: str) -> str:
    return _flat((dataset.folder / name).read_text(encoding="utf-8"))


def _flat(text: str) -> str:
    return " ".join(text.split())
