"""Passages are cut into quotable units that are the text itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chains.sentences import split


def units(text: str) -> list[tuple[str, str]]:
    return [(text[unit.start : unit.end], unit.kind) for unit in split(text)]


def test_prose_is_cut_at_sentence_ends_and_soft_line_breaks_are_kept() -> None:
    text = "Leave is paid for\n16 weeks. It starts at birth! Who may take it?"
    assert units(text) == [
        ("Leave is paid for\n16 weeks.", "sentence"),
        ("It starts at birth!", "sentence"),
        ("Who may take it?", "sentence"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "Ask Dr. Smith of Acme Inc. about it.",
        "It cost 1.5 million, e.g. in the U.S. Navy budget.",
        "See fig. 3 and pp. 12 for J. Doe's version 2.0 notes.",
    ],
)
def test_abbreviations_do_not_end_a_sentence(text: str) -> None:
    assert [unit for unit, _ in units(text)] == [text]


def test_list_items_table_rows_and_code_are_units_without_their_markers() -> None:
    text = (
        "# Leave\n\n- 16 weeks\n- 4 weeks. Unpaid.\n\n"
        "| who | weeks |\n|---|---|\n| all | 16 |\n\n```sh\nmake run\nmake test\n```\n"
    )
    assert units(text) == [
        ("16 weeks", "item"),
        ("4 weeks.", "item"),
        ("Unpaid.", "item"),
        ("| who | weeks |", "row"),
        ("| all | 16 |", "row"),
        ("make run\nmake test", "code"),
    ]


@given(st.text(alphabet=st.sampled_from("Ab1 .!?\n-|#`>~[]()é漢。"), max_size=300))
def test_units_are_ordered_spans_of_the_text_that_do_not_overlap(text: str) -> None:
    spans = [(unit.start, unit.end) for unit in split(text)]
    assert all(0 <= start < end <= len(text) for start, end in spans)
    assert all(spans[i][1] <= spans[i + 1][0] for i in range(len(spans) - 1))
