"""FAQs in the shapes that people have them in: one passage a pair, bad rows named."""

from __future__ import annotations

import json

import pytest

from loaders.errors import Damaged, NoText
from loaders.model import LoadedSource
from tests.loaders.conftest import ReadFile

PAIR = ("How do I reset my password?", "Open Settings and press Reset.")
ROW = {"question": PAIR[0], "answer": PAIR[1]}


def pairs(loaded: LoadedSource) -> list[tuple[str, str]]:
    assert loaded.format == "faq"
    result = []
    for chunk in loaded.chunks:
        assert chunk.kind == "faq"
        assert chunk.answer_start is not None
        asked = loaded.text[chunk.start : chunk.answer_start].strip("# \n")
        result.append((asked, loaded.text[chunk.answer_start : chunk.end].strip()))
    return result


SHAPES = {
    "a.csv": "question,answer\nHow do I reset my password?,Open Settings and press Reset.\n",
    "semicolon.csv": "Category;Question;Answer\nlogin;How do I reset my password?;Open Settings and press Reset.\n",
    "b.tsv": "Q\tA\nHow do I reset my password?\tOpen Settings and press Reset.\n",
    "prompt.csv": "id,prompt,completion\n1,How do I reset my password?,Open Settings and press Reset.\n",
    "bom.csv": "\ufeffquestion,answer\nHow do I reset my password?,Open Settings and press Reset.\n",
    "list.json": json.dumps([ROW]),
    "nested.json": json.dumps({"faqs": {"account": [{"q": PAIR[0], "a": PAIR[1]}]}}),
    "language.json": json.dumps([{"id": 1, "en": {"q": PAIR[0], "a": PAIR[1]}}]),
    "map.json": json.dumps({PAIR[0]: PAIR[1]}),
    "intents.json": json.dumps({"intents": [{"tag": "pw", "patterns": [PAIR[0]], "responses": [PAIR[1]]}]}),
    "lines.jsonl": json.dumps(ROW) + "\n" + json.dumps({"prompt": "Who?", "completion": "We."}) + "\n",
    "list.yaml": "- question: How do I reset my password?\n  answer: Open Settings and press Reset.\n",
    "documents.yml": "question: How do I reset my password?\nanswer: |\n  Open Settings and press Reset.\n---\nx: 1\n",
    "page.md": "# FAQ\n\n## Login\n\n### How do I reset my password?\n\nOpen Settings and press Reset.\n\n"
    "### Who?\n\nWe.\n",
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_pair_is_found_in_every_shape(read: ReadFile, name: str) -> None:
    loaded = read(name, SHAPES[name])
    assert pairs(loaded)[0] == PAIR
    assert loaded.chunks[0].heading[-1] == PAIR[0]


def test_the_category_stands_above_the_question(read: ReadFile) -> None:
    assert read("a.csv", SHAPES["semicolon.csv"]).chunks[0].heading == ("login", PAIR[0])
    assert read("a.md", SHAPES["page.md"]).chunks[0].heading == ("FAQ", "Login", PAIR[0])


def test_a_bad_row_is_named_and_the_others_are_read(read: ReadFile) -> None:
    loaded = read("a.csv", "question,answer\nOne?,1\nTwo?,\n,3\n\nFour?,4\n")
    assert [question for question, _ in pairs(loaded)] == ["One?", "Four?"]
    assert loaded.warnings == ("row 3: no answer", "row 4: no question")


def test_a_table_with_no_whole_pair_says_so(read: ReadFile) -> None:
    with pytest.raises(NoText, match=r"row 2: no answer"):
        read("a.csv", "question,answer\nOne?,\n")


def test_cells_with_lines_and_html_become_plain_text(read: ReadFile) -> None:
    loaded = read(
        "a.csv", 'question,answer\nHow?,"<p>First &amp; last.</p><ul><li>One</li></ul><script>x()</script>"\n'
    )
    assert pairs(loaded) == [("How?", "First & last.\n\nOne")]
    loaded = read("b.csv", 'question,answer\n"How\nso?","Line one.\nLine two, 3 < 4."\n')
    assert pairs(loaded) == [("How so?", "Line one.\nLine two, 3 < 4.")]


def test_a_long_answer_is_cut_with_its_question_repeated(read: ReadFile) -> None:
    answer = "The committee met again in the spring and approved the budget for the year. " * 60
    loaded = read("a.json", json.dumps([{"question": "What happened?", "answer": answer}, ROW]))
    assert len(loaded.chunks) > 3
    assert all("What happened?" in chunk.embed_text for chunk in loaded.chunks[:-1])
    assert sum("What happened?" in chunk.text for chunk in loaded.chunks) == 1
    assert all(chunk.answer_start is not None and chunk.answer_start >= chunk.start for chunk in loaded.chunks)


def test_other_ways_to_ask_are_embedded_and_never_quoted(read: ReadFile) -> None:
    loaded = read("a.json", json.dumps([{**ROW, "alternatives": ["I forgot my password"]}]))
    assert "I forgot my password" in loaded.chunks[0].embed_text
    assert "I forgot my password" not in loaded.text


def test_a_table_that_is_no_faq_is_read_by_rows(read: ReadFile) -> None:
    loaded = read("prices.csv", "item,price\nBicycle,300\nHelmet,40\n")
    assert loaded.format == "csv"
    assert loaded.text == "item: Bicycle\nprice: 300\n\nitem: Helmet\nprice: 40\n\n"


def test_json_and_yaml_that_are_no_faq_are_read_as_text(read: ReadFile) -> None:
    assert read("a.json", '{"port": 8000}').text == '{"port": 8000}'
    assert read("a.yaml", "port: 8000\n").format == "yaml"


def test_a_page_with_few_questions_is_ordinary_markdown(read: ReadFile) -> None:
    assert read("a.md", "# Guide\n\n## Install\n\nA.\n\n## Run\n\nB.\n\n## Why?\n\nC.\n").format == "markdown"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.json", '{"question": ', "line 1"),
        ("a.json", "[" * 100_000, "nested too deeply"),
        ("a.yaml", "a: [1, 2\nb: }", "line"),
        ("a.yaml", "a: &a [*a, *a]\nb: !!python/object/apply:os.system ['true']\n", "YAML"),
    ],
)
def test_a_broken_file_says_where(read: ReadFile, name: str, content: str, reason: str) -> None:
    with pytest.raises(Damaged, match=reason):
        read(name, content)


def test_yaml_that_multiplies_itself_is_read_once(read: ReadFile) -> None:
    bomb = "a: &a [x, x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join([f'*{chr(97 + i)}'] * 9)}]\n" for i in range(20)
    )
    assert read("bomb.yaml", bomb).format == "yaml"
