"""Chunks are exact spans of the source text, bounded in tokens, within one heading section and one page."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.documents import Document

from loaders.chunking import Tokens, chunk
from loaders.model import LoadedSource
from tests.loaders.conftest import check_law
from vectorstore.embeddings import tokenizer_path

TOKENS = Tokens(tokenizer_path())
SENTENCE = "The committee met again in the spring and approved the budget for the coming year. "


def documents(*parts: tuple[str, str, list[str], int | None]) -> list[Document]:
    """From (text, kind, heading, page)."""
    start, result = 0, []
    for text, kind, heading, page in parts:
        metadata = {"start": start, "kind": kind, "heading": heading, "page": page}
        result.append(Document(page_content=text, metadata=metadata))
        start += len(text)
    return result


def chunks(*parts: tuple[str, str, list[str], int | None], title: str = "") -> LoadedSource:
    given_documents = documents(*parts)
    text = "".join(document.page_content for document in given_documents)
    loaded = LoadedSource(text, "text", title, tuple(chunk(given_documents, title, TOKENS)))
    check_law(loaded, TOKENS)
    return loaded


blocks = st.lists(
    st.tuples(
        st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=400),
        st.sampled_from(["text", "code", "table", "heading", "comment"]),
        st.lists(st.sampled_from(["A", "B", "Über uns"]), max_size=2),
        st.sampled_from([None, 1, 2]),
    ),
    max_size=8,
)


@settings(max_examples=150, deadline=None)
@given(blocks)
def test_any_text_gives_exact_chunks_and_loses_no_word(parts: list[tuple[str, str, list[str], int | None]]) -> None:
    loaded = chunks(*parts, title="Title")
    covered = bytearray(len(loaded.text))
    for piece in loaded.chunks:
        covered[piece.start : piece.end] = b"x" * (piece.end - piece.start)
    at = 0
    for text, kind, _, _ in parts:
        if kind not in ("comment", "heading"):
            left = "".join(char for i, char in enumerate(text) if not covered[at + i])
            assert not left.strip()
        at += len(text)


def test_a_long_text_is_cut_at_sentences_into_chunks_of_about_equal_size() -> None:
    loaded = chunks((SENTENCE * 60, "text", [], None))
    assert len(loaded.chunks) > 3
    assert all(piece.text.endswith(".") for piece in loaded.chunks)
    sizes = [len(piece.text) for piece in loaded.chunks]
    assert min(sizes) > 0.6 * max(sizes)


def test_a_chunk_never_crosses_a_heading_or_a_page() -> None:
    loaded = chunks(
        ("# A\n\n", "heading", ["A"], None), ("One.\n\n", "text", ["A"], None), ("Two.", "text", ["B"], None)
    )
    assert [(piece.text, piece.heading) for piece in loaded.chunks] == [("One.", ("A",)), ("Two.", ("B",))]
    loaded = chunks(("One.\f", "text", [], 1), ("Two.", "text", [], 2))
    assert [(piece.text, piece.page) for piece in loaded.chunks] == [("One.", 1), ("Two.", 2)]


def test_title_and_headings_are_embedded_with_the_text_and_never_quoted() -> None:
    loaded = chunks(("It is 16 weeks.", "text", ["Leave", "Parental"], None), title="Handbook")
    assert loaded.chunks[0].embed_text == "Handbook > Leave > Parental\nIt is 16 weeks."
    assert loaded.chunks[0].text == "It is 16 weeks."


def test_a_heading_path_of_any_length_leaves_room_for_the_text() -> None:
    heading = [f"A very long heading number {i} that goes on and on" for i in range(30)]
    loaded = chunks((SENTENCE, "text", heading, None), title="T" * 10_000)
    assert SENTENCE.strip() in loaded.chunks[0].embed_text
    assert heading[-1] in loaded.chunks[0].embed_text


def test_a_heading_with_nothing_below_it_is_a_chunk() -> None:
    loaded = chunks(
        ("# Part\n", "heading", ["Part"], None),
        ("## Empty\n", "heading", ["Part", "Empty"], None),
        ("## Full\n", "heading", ["Part", "Full"], None),
        ("Text.", "text", ["Part", "Full"], None),
    )
    assert [piece.text for piece in loaded.chunks] == ["## Empty", "Text."]


def test_code_stays_whole_where_it_fits_and_is_cut_at_lines_where_it_does_not() -> None:
    code = "```py\n" + "".join(f"    value_{i} = compute({i})\n" for i in range(12)) + "```\n"
    assert [piece.kind for piece in chunks((code, "code", [], None)).chunks] == ["code"]
    long = "".join(f"    value_{i} = compute({i})\n" for i in range(400))
    pieces = chunks((long, "code", [], None)).chunks
    assert len(pieces) > 5
    assert all(piece.text.startswith("    value_") for piece in pieces), "the indentation is kept"


def test_a_long_table_repeats_its_header_in_what_is_embedded() -> None:
    rows = "".join(f"| name {i} | {i} weeks |\n" for i in range(200))
    pieces = chunks(("| who | weeks |\n|---|---|\n" + rows, "table", [], None)).chunks
    assert len(pieces) > 3
    assert all("| who | weeks |" in piece.embed_text for piece in pieces)
    assert sum("| who | weeks |" in piece.text for piece in pieces) == 1


@pytest.mark.parametrize("run", ["a" * 100_000, "漢" * 20_000, "x." * 50_000, "-" * 100_000, "\u200b" * 50_000 + "a"])
def test_a_run_without_blanks_is_cut(run: str) -> None:
    assert "".join(piece.text for piece in chunks((run, "text", [], None)).chunks) == run
