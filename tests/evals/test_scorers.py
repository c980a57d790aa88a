"""Each scorer against examples worked by hand, and its laws."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.metrics import Metric
from evals.samples import Gold
from evals.scorers.abstention import abstention_rates, is_declined, separation
from evals.scorers.answers import contains, normalise, token_f1
from evals.scorers.citations import is_valid
from evals.scorers.retrieval import Passage, first_right, is_right, recall, reciprocal_rank

TEN = "one two three four five six seven eight nine ten"
WORDS = st.lists(st.sampled_from(["a", "the", "cat", "sat", "on", "mat", "dog", "ran"]), max_size=8).map(" ".join)


def passage(text: str = "", source: str = "a.md", page: int | None = None, heading: tuple[str, ...] = ()) -> Passage:
    return Passage(source, text, 1.0, page, heading)


@pytest.mark.parametrize(
    ("gold", "found", "right"),
    [
        (Gold("a.pdf", page=3), passage(source="a.pdf", page=3), True),
        (Gold("a.pdf", page=3), passage(source="a.pdf", page=4), False),
        (Gold("a.pdf", page=3), passage(source="b.pdf", page=3), False),
        (Gold("a.md"), passage("anything"), True),
        (Gold("a.md", TEN), passage(f"before {TEN} after"), True),
        (Gold("a.md", TEN), passage(TEN, source="b.md"), False),
        (Gold("a.md", TEN), passage("Three  four\nfive six SEVEN"), True),
        (Gold("a.md", TEN), passage("three four five six"), False),  # four words may stand anywhere
        (Gold("a.md", TEN), passage("one two three four five 6 7 8 9 10"), True),  # half of the shorter
        (Gold("a.md", TEN + " eleven twelve"), passage("one two three four five 6 7 8 9 10 11"), False),
        (Gold("a.md", "two words"), passage("these two words here"), True),  # a short gold text must be there whole
        (Gold("a.md", "two words"), passage("two other words"), False),
        (Gold("faq.csv", "Is it  free?"), passage("Yes.", "faq.csv", heading=("Prices", "Is it free?")), True),
        (Gold("faq.csv", "Is it free?"), passage("No.", "faq.csv", heading=("Is it free?", "Is it red?")), False),
    ],
)
def test_a_passage_is_right_when_it_is_the_gold_place(gold: Gold, found: Passage, right: bool) -> None:
    assert is_right(gold, found) is right


def test_any_gold_place_is_enough() -> None:
    gold = [Gold("a.pdf", page=1), Gold("b.md")]
    passages = [passage(source="c.md"), passage(source="a.pdf", page=2), passage(source="b.md")]
    assert first_right(gold, passages) == 3
    assert first_right(gold, passages[:2]) is None
    assert first_right([], passages) is None


def test_recall_and_reciprocal_rank_of_the_third() -> None:
    assert [recall(3, k) for k in (1, 3, 10)] == [False, True, True]
    assert [reciprocal_rank(3, k) for k in (1, 3, 10)] == [0, 1 / 3, 1 / 3]
    assert recall(None, 10) is False
    assert reciprocal_rank(None, 10) == 0


@given(st.none() | st.integers(1, 50), st.integers(1, 50), st.integers(0, 50))
def test_recall_and_reciprocal_rank_never_fall_with_k(rank: int | None, k: int, more: int) -> None:
    assert recall(rank, k) <= recall(rank, k + more)
    assert 0 <= reciprocal_rank(rank, k) <= reciprocal_rank(rank, k + more) <= recall(rank, k + more)


@given(st.lists(st.sampled_from("abc")), st.lists(st.sampled_from("abc")))
def test_overlap_does_not_depend_on_which_text_is_the_gold_one(left: list[str], right: list[str]) -> None:
    one, two = " ".join(["x"] * 5 + left), " ".join(["x"] * 5 + right)
    assert is_right(Gold("a.md", one), passage(two)) == is_right(Gold("a.md", two), passage(one))


def test_only_abstained_counts_as_declined() -> None:
    assert [is_declined(outcome) for outcome in ("abstained", "ungrounded", "partial", "grounded")] == [
        True,
        False,
        False,
        False,
    ]


def test_abstention_rates_keep_the_two_kinds_apart() -> None:
    asked = [(True, False), (True, True), (True, False), (True, False), (False, True), (False, False)]
    right, false = abstention_rates(asked)
    assert (right.name, right.value, right.n) == ("right abstentions", 0.5, 2)
    assert (false.name, false.value, false.n) == ("false refusals", 0.25, 4)


def test_separation_of_one_kind_alone_is_undefined() -> None:
    assert separation([(True, 0.9), (True, 0.2)]) == Metric("AUROC of the top score", None, 2)
    assert separation([(True, 0.9), (False, 0.2)]).value == 1


@pytest.mark.parametrize(
    ("change", "valid"),
    [
        ({}, True),
        ({"quote": "Brown"}, False),
        ({"start": 3}, False),
        ({"start": -17, "end": -12}, False),
        ({"start": 10, "end": 10, "quote": ""}, False),
        ({"end": 400}, False),
        ({"start": None}, False),
        ({"quote": None}, False),
    ],
)
def test_a_citation_is_valid_only_letter_for_letter(change: dict[str, object], valid: bool) -> None:
    text = "The quick brown fox. Brown."
    citation = {"quote": "brown", "start": 10, "end": 15} | change
    assert is_valid(citation, text) is valid


def test_a_citation_of_no_source_is_not_valid() -> None:
    assert is_valid({"quote": "brown", "start": 10, "end": 15}, None) is False


@given(st.text(min_size=1), st.data())
def test_every_slice_of_a_text_is_a_valid_quote(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    assert is_valid({"quote": text[start:end], "start": start, "end": end}, text)


def test_normalisation_is_squads() -> None:
    assert normalise("The  Cat's an Anteater: a (big) one!") == "cats anteater big one"


@pytest.mark.parametrize(
    ("answer", "references", "f1"),
    [
        ("The cat sat on the mat.", ["cat sat"], 2 * 2 / (4 + 2)),
        ("cat cat", ["cat"], 2 * 1 / (2 + 1)),
        ("dog", ["cat", "the dog"], 1.0),
        ("dog", ["cat"], 0.0),
        ("", ["cat"], 0.0),
        ("the", ["a"], 1.0),  # nothing is left of either
        ("dog", [], None),
    ],
)
def test_token_f1_by_hand(answer: str, references: list[str], f1: float | None) -> None:
    assert token_f1(answer, references) == (None if f1 is None else pytest.approx(f1))


@pytest.mark.parametrize(
    ("answer", "references", "inside"),
    [
        ("It lives 15 minutes.", ["15 minutes"], True),
        ("It lives 115 minutes.", ["15 minutes"], False),
        ("At most 10,000,000 characters", ["10,000,000"], True),
        ("It lives.", ["7 days", "it lives"], True),
        ("It lives.", ["the"], False),  # nothing is left of the reference
        ("It lives.", [], None),
    ],
)
def test_containment_by_whole_words(answer: str, references: list[str], inside: bool | None) -> None:
    assert contains(answer, references) is inside


@given(WORDS, st.lists(WORDS, min_size=1))
def test_f1_lies_between_zero_and_one_and_is_one_for_a_reference(answer: str, references: list[str]) -> None:
    f1 = token_f1(answer, references)
    assert f1 is not None
    assert 0 <= f1 <= 1
    assert token_f1(references[0], references) == 1


@given(WORDS, WORDS)
def test_f1_is_symmetric(left: str, right: str) -> None:
    assert token_f1(left, [right]) == token_f1(right, [left])


@given(WORDS, WORDS, WORDS)
def test_a_reference_put_into_any_text_is_contained(before: str, reference: str, after: str) -> None:
    answer = f"{before} {reference} {after}"
    assert contains(answer, [reference]) is bool(normalise(reference))
