"""Markdown: heading paths, exact code, and nothing of the file lost."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from loaders.markdown import MarkdownLoader, find_blocks
from tests.loaders.conftest import ReadFile

LINES = st.sampled_from(
    ["# One", "## Two", "text", "- item", "  - deeper", "```", "~~~py", "    code", "| a | b |", "|---|---|",
     "| 1 | 2 |", "", "<!-- c -->", "<div>", "> quote", "Setext", "===", "---", "\u2028odd", "# *Em* [link](x)"]
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.lists(LINES, max_size=30), st.sampled_from(["\n", "\r\n", "\r"]))
def test_the_blocks_joined_are_the_file(lines: list[str], end: str) -> None:
    text = end.join(lines)
    starts = [block.start for block in find_blocks(text)]
    assert starts == sorted(starts)
    assert all(0 <= start <= len(text) for start in starts)


def test_documents_joined_are_the_file(tmp_path: Path) -> None:
    text = "---\ntitle: Handbook\n---\nIntro.\r\n\r\n# A\n\n```\n    code\n```\n\n## B\n\n<!-- note -->\n\n- x\n- y\n"
    path = tmp_path / "a.md"
    path.write_bytes(text.encode())
    loader = MarkdownLoader(path, 10_000)
    documents = loader.load()
    assert "".join(document.page_content for document in documents) == text
    assert loader.title == "Handbook"


def test_heading_paths(read: ReadFile) -> None:
    loaded = read("a.md", "# Leave\n\nIntro.\n\n## Parental *leave*\n\n16 weeks.\n\n# Office\n\nOslo.\n")
    assert [(chunk.text, chunk.heading) for chunk in loaded.chunks] == [
        ("Intro.", ("Leave",)),
        ("16 weeks.", ("Leave", "Parental leave")),
        ("Oslo.", ("Office",)),
    ]
    assert loaded.title == "Leave"
    assert loaded.format == "markdown"


def test_a_hash_in_code_is_no_heading(read: ReadFile) -> None:
    loaded = read("a.md", "# A\n\n```sh\n# not a heading\nmake run\n```\n")
    assert [chunk.heading for chunk in loaded.chunks] == [("A",)]
    assert "# not a heading\nmake run" in loaded.chunks[0].text


def test_comments_and_front_matter_are_no_answers(read: ReadFile) -> None:
    loaded = read("a.md", "---\nsecret: 1\n---\n# A\n\nYes.\n\n<!-- internal: salary -->\n\nNo.\n")
    assert [chunk.text for chunk in loaded.chunks] == ["Yes.", "No."]


def test_a_file_without_headings_is_one_section(read: ReadFile) -> None:
    loaded = read("no headings.md", "Just a line.\n\nAnother one.\n")
    assert [(chunk.text, chunk.heading) for chunk in loaded.chunks] == [("Just a line.\n\nAnother one.", ())]
    assert loaded.title == "no headings"
