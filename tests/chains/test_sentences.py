"""Passages are cut into quotable units that are the text itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chains.sentences import split, with_lists


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


def quotable(text: str, *, typeset: bool = False) -> list[tuple[str, str]]:
    joined = with_lists(text, split(text, typeset=typeset))
    return [(text[unit.start : unit.end], unit.kind) for unit in joined]


def test_what_ends_with_a_colon_is_quoted_with_its_list() -> None:
    assert quotable("Bring with you:\n\n- a pen\n- paper\n\nWe begin at 8.") == [
        ("Bring with you:\n\n- a pen\n- paper", "list"),
        ("We begin at 8.", "sentence"),
    ]
    long = "Bring with you:\n\n" + "".join(f"- thing number {number} of many\n" for number in range(40))
    first, *rest = quotable(long)
    assert first[1] == "list"
    assert len(first[0]) <= 500
    assert rest[-1] == ("thing number 39 of many", "item")


def test_in_typeset_text_a_short_line_ends_a_paragraph() -> None:
    text = (
        "Parental leave\n"
        "Everybody who has worked here for a year may take sixteen weeks of\nparental leave, paid in full.\n"
        "Requirements:\n• one year of work\n• a letter\nSick leave\nStay at home.\n"
    )
    assert quotable(text, typeset=True) == [
        ("Parental leave", "sentence"),
        (
            "Everybody who has worked here for a year may take sixteen weeks of\nparental leave, paid in full.",
            "sentence",
        ),
        ("Requirements:\n• one year of work\n• a letter", "list"),
        ("Sick leave", "sentence"),
        ("Stay at home.", "sentence"),
    ]


@given(st.text(alphabet=st.sampled_from("Ab1 .:!?\n-|#`>~[]()é漢。"), max_size=300), st.booleans())
def test_units_are_ordered_spans_of_the_text_that_do_not_overlap(text: str, typeset: bool) -> None:
    plain = split(text, typeset=typeset)
    for found in (plain, list(with_lists(text, plain))):
        spans = [(unit.start, unit.end) for unit in found]
        assert all(0 <= start < end <= len(text) for start, end in spans)
        assert all(spans[i][1] <= spans[i + 1][0] for i in range(len(spans) - 1))
