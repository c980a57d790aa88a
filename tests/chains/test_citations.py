"""What a model writes is sent with checked citations only, whatever pieces it comes in."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chains.citations import CitationStream, find_quote, supports
from chains.model import Citation, Cited, Draft, Token
from tests.chains.passages import Shelf

LEAVE = "Parental leave is 16 weeks. It is paid in full. Notice must be given 8 weeks before."
OFFICE = "The office in Oslo opens at 8. Lunch is free on Fridays."


def run(pieces: list[str], shelf: Shelf | None = None) -> tuple[str, list[Citation], Draft]:
    shelf = shelf or Shelf()
    passages = [shelf.passage(LEAVE, before="# Leave\n\n"), shelf.passage(OFFICE)]
    draft = Draft()
    stream = CitationStream(passages, shelf.read_span, draft)
    events = [event for piece in pieces for event in stream.feed(piece)] + list(stream.finish())
    text = "".join(event.text for event in events if isinstance(event, Token))
    return text, [event.citation for event in events if isinstance(event, Cited)], draft


def test_a_supported_sentence_gets_a_verbatim_quote_at_its_place() -> None:
    text, citations, draft = run(["Parental leave lasts 16 weeks [1]."])
    assert text == "Parental leave lasts 16 weeks [1]."
    assert [(c.quote, c.start, c.end, c.source) for c in citations] == [("Parental leave is 16 weeks.", 9, 36, "v1.md")]
    assert (draft.claims, draft.supported, draft.dropped) == (1, 1, 0)


@pytest.mark.parametrize(
    "claim",
    [
        "Parental leave lasts 18 weeks [1].",  # another figure
        "Parental leave lasts 16 weeks [2].",  # another passage
        "Parental leave lasts 16 weeks [7].",  # no such passage
        "Dogs are welcome in every meeting room [1].",  # nothing of it is there
    ],
)
def test_an_unsupported_claim_loses_its_bracket_and_is_counted(claim: str) -> None:
    text, citations, draft = run([claim])
    assert text == re.sub(r" \[\d\]", "", claim)
    assert (citations, draft.supported, draft.dropped) == ([], 0, 1)


def test_passage_numbers_become_citation_numbers_in_order_and_equal_quotes_share_one() -> None:
    text, citations, draft = run(["Lunch is free on Fridays [2]. Leave is 16 weeks [1]. Free lunch: Fridays [2]."])
    assert text == "Lunch is free on Fridays [1]. Leave is 16 weeks [2]. Free lunch: Fridays [1]."
    assert [c.n for c in citations] == [1, 2]
    assert (draft.claims, draft.supported) == (3, 3)


def test_a_sentence_without_a_citation_makes_the_answer_partial() -> None:
    _, _, draft = run(["Leave is 16 weeks. [1] The moon is made of cheese."])
    assert (draft.claims, draft.supported) == (2, 1)


def test_a_quote_that_is_not_in_the_stored_text_any_more_is_dropped() -> None:
    class Forgetful(Shelf):
        def read_span(self, version_id: str, start: int, end: int) -> str | None:
            return None

    text, citations, draft = run(["Leave is 16 weeks [1]."], Forgetful())
    assert (text, citations, draft.dropped) == ("Leave is 16 weeks.", [], 1)


@given(st.lists(st.integers(0, 95), max_size=12))
def test_the_result_does_not_depend_on_how_the_text_is_cut(cuts: list[int]) -> None:
    whole = (
        "Leave is 16 weeks [1], a list [not a marker] and Oslo opens at 8. [2](x) It `a[1]` is paid in full [1, 2]: so."
    )
    places = sorted({0, len(whole), *(min(cut, len(whole)) for cut in cuts)})
    pieces = [whole[a:b] for a, b in pairwise(places)]
    assert run(pieces)[:2] == run([whole])[:2]


def test_a_claim_over_two_sentences_is_quoted_as_their_joined_run() -> None:
    passage = Shelf().passage(LEAVE)
    found = find_quote("Parental leave of 16 weeks needs notice 8 weeks before and is paid in full", passage)
    assert found is not None
    assert LEAVE[slice(*found)] == LEAVE


@pytest.mark.parametrize(
    ("quote", "claim", "expected"),
    [
        ("Revenue was $1,500 million in 2023.", "In 2023 revenue was 1500 million dollars", True),
        ("Revenue was $1,500 million in 2023.", "In 2022 revenue was 1500 million dollars", False),
        ("Employees accrue vacation monthly.", "Vacation is accrued by employees each month", True),
        ("Employees accrue vacation monthly.", "The cafeteria serves breakfast", False),
    ],
)
def test_support_needs_every_figure_and_half_of_the_words(quote: str, claim: str, expected: bool) -> None:
    assert supports(quote, claim) is expected


def test_each_item_of_a_list_is_a_claim_of_its_own() -> None:
    text, citations, draft = run(
        ["What to know:\n- Parental leave lasts 16 weeks [1]\n- Lunch is free on Fridays [2]\n"]
    )
    assert text == "What to know:\n- Parental leave lasts 16 weeks [1]\n- Lunch is free on Fridays [2]\n"
    assert [citation.quote for citation in citations] == ["Parental leave is 16 weeks.", "Lunch is free on Fridays."]
    assert draft.dropped == 0


def test_two_passages_may_support_the_two_halves_of_a_sentence() -> None:
    text, citations, draft = run(["Leave is 16 weeks [1] and lunch is free on Fridays [2]."])
    assert text == "Leave is 16 weeks [1] and lunch is free on Fridays [2]."
    assert [citation.quote for citation in citations] == ["Parental leave is 16 weeks.", "Lunch is free on Fridays."]
    assert (draft.claims, draft.supported, draft.dropped) == (1, 1, 0)


def test_what_follows_the_citation_in_its_sentence_is_not_supported_by_it() -> None:
    _, citations, draft = run(["Parental leave is 16 weeks [1], and every canteen serves twelve hot soups a day."])
    assert (len(citations), draft.claims, draft.supported) == (1, 2, 1)


def test_a_line_that_leads_to_a_list_and_a_question_are_no_claims() -> None:
    _, _, draft = run(["What to know:\n- Leave is 16 weeks [1]\n\nDo you need more?"])
    assert (draft.claims, draft.supported) == (1, 1)


@pytest.mark.parametrize("marker", ["[3]", "[2021]", "[^4]", "[1-9]", "[7, 8]", "[0]"])
def test_a_bracket_that_was_copied_from_a_document_is_left_out(marker: str) -> None:
    text, citations, draft = run([f"Dogs {marker} are welcome {marker}."])
    assert (text, citations) == ("Dogs are welcome.", [])
    assert draft.dropped >= 2


def test_brackets_in_code_are_no_citations() -> None:
    text, citations, draft = run(["Use `leave[1]` or:\n```\nweeks = leave[1]\n```\nParental leave is 16 weeks [1]."])
    assert text == "Use `leave[ 1 ]` or:\n```\nweeks = leave[ 1 ]\n```\nParental leave is 16 weeks [1]."
    assert (len(citations), draft.dropped) == (1, 0)


def test_a_citation_does_not_become_a_link() -> None:
    text, _, _ = run(["Parental leave is 16 weeks [1](/logout). Lunch is free on Fridays [2]: enjoy."])
    assert text == "Parental leave is 16 weeks [1] (/logout). Lunch is free on Fridays [2] : enjoy."


def test_a_bracket_before_any_word_supports_nothing() -> None:
    text, citations, draft = run(["[1] Parental leave is 16 weeks."])
    assert (text.strip(), citations, draft.dropped) == ("Parental leave is 16 weeks.", [], 1)
