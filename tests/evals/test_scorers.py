"""Each scorer against examples worked by hand, and its laws."""

from dataclasses import replace
from math import log2
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chains.facts import dates
from evals.metrics import Metric, rate
from evals.recordings import Passage, Recording
from evals.samples import Gold, Sample
from evals.scorers import abstention, answers, citations, grounding, kilt, retrieval
from evals.scorers.abstention import is_declined, separation
from evals.scorers.answers import contains, normalise, token_f1
from evals.scorers.retrieval import first_right, is_right

TEN = "one two three four five six seven eight nine ten"
WORDS = st.lists(st.sampled_from(["a", "the", "cat", "sat", "on", "mat", "dog", "ran"]), max_size=8).map(" ".join)
ASKED = Sample("q", "?", ("7 days",), (Gold("a.md"),))


def recorded(*passages: Passage) -> Recording:
    return Recording(passages)


def cited(
    quote: str, source: str = "a.md", page: int | None = None, heading: list[str] | None = None
) -> dict[str, Any]:
    return {"n": 1, "source": source, "page": page, "heading": heading or [], "quote": quote, "score": 0.5}


def answered(text: str, *cites: dict[str, Any], outcome: str = "grounded") -> Recording:
    """An answer whose citations all hold."""
    return Recording(
        (), {"answer": text, "outcome": outcome, "citations": list(cites)}, tuple(one["quote"] for one in cites)
    )


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


def found_at(*ranks: int, of: int = 1, depth: int = 10) -> tuple[Sample, Recording]:
    """A question with `of` gold files, whose passages at these ranks (from 1) are the gold ones in order."""
    gold = tuple(Gold(f"gold{i}.md") for i in range(of))
    sources = {rank: f"gold{i}.md" for i, rank in enumerate(ranks)}
    return Sample("q", "?", gold=gold), recorded(*(passage(source=sources.get(r, "x.md")) for r in range(1, depth + 1)))


def test_trec_eval_by_hand() -> None:
    third = retrieval.score(*found_at(3), k=10)
    assert third == {
        "recall@1": 0,
        "recall@5": 1,
        "recall@10": 1,
        "MRR@10": pytest.approx(1 / 3),
        "nDCG@10": pytest.approx(1 / log2(4)),
    }
    two = retrieval.score(*found_at(2, 4, of=2), k=10)
    assert two["nDCG@10"] == pytest.approx((1 / log2(3) + 1 / log2(5)) / (1 + 1 / log2(3)))
    assert retrieval.score(*found_at(), k=10)["nDCG@10"] == 0
    assert retrieval.score(*found_at(depth=0), k=10) == dict.fromkeys(third, 0)
    assert retrieval.score(*found_at(7), k=5) == {"recall@1": 0, "recall@5": 0, "MRR@5": 0, "nDCG@5": 0}


def test_a_second_passage_of_the_same_place_counts_once() -> None:
    sample = Sample("q", "?", gold=(Gold("a.md"), Gold("b.md")))
    twice = recorded(passage(source="a.md"), passage(source="a.md"))
    assert retrieval.score(sample, twice, k=10)["nDCG@10"] == pytest.approx(1 / (1 + 1 / log2(3)))


def test_retrieval_of_an_unanswerable_question_has_no_score() -> None:
    assert retrieval.score(Sample("q", "?"), recorded(passage()), k=10) == {}


@given(st.lists(st.integers(1, 10), unique=True, max_size=4), st.integers(4, 6))
def test_retrieval_scores_lie_between_zero_and_one_and_agree(ranks: list[int], of: int) -> None:
    scores = retrieval.score(*found_at(*ranks, of=of), k=10)
    assert all(0 <= value <= 1 for value in scores.values())
    assert scores["recall@1"] <= scores["recall@5"] <= scores["recall@10"] == bool(ranks)
    assert scores["MRR@10"] == pytest.approx(1 / min(ranks) if ranks else 0)


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


@pytest.mark.parametrize(
    ("sample", "outcome", "scores"),
    [
        (ASKED, "grounded", {"false refusals": 0}),
        (ASKED, "abstained", {"false refusals": 1}),
        (Sample("q", "?"), "ungrounded", {"right abstentions": 0}),
        (Sample("q", "?"), "abstained", {"right abstentions": 1}),
        (Sample("q", "?", clear=False), "abstained", {}),
    ],
)
def test_abstention_keeps_the_two_kinds_apart(sample: Sample, outcome: str, scores: dict[str, float]) -> None:
    assert abstention.score(sample, answered("x", outcome=outcome)) == scores


def test_precision_of_abstaining() -> None:
    asked = [(True, False), (True, True), (False, True), (False, True), (False, False)]
    assert abstention.precision(asked) == rate("abstention precision", [False, True, True])


def test_separation_of_one_kind_alone_is_undefined() -> None:
    assert separation("AUROC", [(True, 0.9), (True, 0.2)]) == Metric("AUROC", None, 2)
    assert separation("AUROC", [(True, 0.9), (False, 0.2)]).value == 1


def test_the_risk_coverage_curve_by_hand() -> None:
    # Of eight questions, four were answered: right at .9, wrong at .8, right and right at .5 (together).
    points = abstention.risk_coverage([(0.5, True), (0.9, True), (0.8, False), (0.5, True)], 8)
    assert points == [(1 / 8, 0), (2 / 8, 1 / 2), (4 / 8, 1 / 4)]
    assert abstention.aurc(points) == pytest.approx((1 * 0 + 1 * 1 / 2 + 2 * 1 / 4) / 4)
    assert abstention.aurc([]) is None


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40), st.integers(0, 9))
def test_the_curve_ends_with_everything_answered(answered: list[tuple[float, bool]], declined: int) -> None:
    points = abstention.risk_coverage(answered, len(answered) + declined)
    assert points[-1][0] == pytest.approx(len(answered) / (len(answered) + declined))
    assert points[-1][1] == pytest.approx(sum(not right for _, right in answered) / len(answered))
    assert [coverage for coverage, _ in points] == sorted(coverage for coverage, _ in points)


@pytest.mark.parametrize(
    ("quote", "stored", "valid"),
    [("brown", "brown", True), ("Brown", "brown", False), ("", "", False), ("brown", None, False)],
)
def test_a_citation_is_valid_only_letter_for_letter(quote: str, stored: str | None, valid: bool) -> None:
    assert citations.is_valid({"quote": quote}, stored) is valid


def test_citations_against_gold_places() -> None:
    sample = Sample("q", "?", gold=(Gold("a.md", TEN), Gold("b.pdf", page=2), Gold("c.md")))
    right = cited("three four five six seven", source="a.md")
    page = cited("whatever", source="b.pdf", page=2)
    wrong = [cited("eleven twelve", source="a.md"), cited("whatever", source="b.pdf", page=1)]
    scores = citations.score(sample, answered("It is so. [1]", right, page, *wrong))
    assert scores["citation precision"] == 2 / 4
    assert scores["citation recall"] == pytest.approx(2 / 3)
    assert scores["citation validity"] == 1
    assert citations.is_in(Gold("a.md", TEN), cited("nine ten", source="a.md")), "short, and there whole"
    assert not citations.is_in(Gold("a.md", TEN), cited("nine eleven", source="a.md"))
    assert citations.is_in(Gold("f.csv", "Is it free?"), cited("Yes.", source="f.csv", heading=["Is it free?"]))


def test_an_answer_without_citations_has_no_precision_but_a_recall_of_zero() -> None:
    assert citations.score(ASKED, answered("Cats sleep.")) == {"citation recall": 0, "citation coverage": 0}
    assert citations.score(ASKED, answered("No.", outcome="abstained")) == {}


@pytest.mark.parametrize(
    ("answer", "quotes", "share"),
    [
        ("Cats sleep long. [1] Dogs bark loudly. [2]", [], 1),
        ("Cats sleep long. [1] Dogs bark loudly.", [], 1 / 2),
        ("Cats sleep long. Dogs bark loudly. [1][2]", [], 1 / 2),
        ("Cats sleep long. Dogs bark loudly. [1]", ["Cats sleep long. Dogs  bark\nloudly."], 1),
        ("Yes. Cats sleep long [1, 2]. It is what it is.", [], 1),  # without content words nothing is claimed
        ("", [], None),
    ],
)
def test_coverage_by_hand(answer: str, quotes: list[str], share: float | None) -> None:
    assert citations.coverage(answer, [cited(quote) for quote in quotes]) == share


def test_kilt_counts_an_answer_only_with_the_right_provenance() -> None:
    right, wrong = cited("x", source="a.md"), cited("x", source="b.md")
    proven = kilt.score(ASKED, answered("7 days [1]", right | {"score": 0.9}, wrong | {"n": 2, "score": 0.1}))
    assert proven == {"right answers": 1, "KILT contains": 1, "KILT F1": 1}
    unproven = kilt.score(ASKED, answered("7 days [1]", right | {"score": 0.1}, wrong | {"n": 2, "score": 0.9}))
    assert unproven == {"right answers": 1, "KILT contains": 0, "KILT F1": 0}
    assert kilt.score(ASKED, answered("7 days")) == {"right answers": 1, "KILT contains": 0, "KILT F1": 0}


def test_right_answers_cannot_be_had_by_declining_or_by_never_declining() -> None:
    long = Sample("q", "?", ("a reference of more than five words",), (Gold("a.md"),))
    nothing = Sample("q", "?")
    assert kilt.score(ASKED, answered("7 days", outcome="abstained"))["right answers"] == 0
    assert kilt.score(ASKED, answered("8 days"))["right answers"] == 0
    assert kilt.score(nothing, answered("7 days")) == {"right answers": 0}
    assert kilt.score(nothing, answered("", outcome="abstained")) == {"right answers": 1}
    assert kilt.score(long, answered("anything [1]", cited("x", source="a.md")))["right answers"] == 1
    assert kilt.score(long, answered("anything [1]", cited("x", source="b.md")))["right answers"] == 0
    assert kilt.score(Sample("q", "?", clear=False), answered("x")) == {}


@pytest.mark.parametrize(
    ("answer", "unsupported"),
    [
        ("Leave is 16 weeks, agreed in Geneva on 3 March 2021. [1]", set()),
        ("Leave is 1,600 weeks.", set()),
        ("Leave is 17 weeks.", {"numbers"}),
        ("Leave was agreed in March 2021.", set()),
        ("Leave was agreed on 2021-03-03.", set()),
        ("Leave was agreed on March 4, 2021.", {"dates"}),
        ("Leave was agreed in May 2021.", {"dates"}),
        ("It was agreed in Zurich.", {"names", "words"}),
        ("Zurich agreed.", {"words"}),  # what begins a sentence is capitalised anyway
        ("The Annex applies to Ada.", set()),  # the question and the heading count
        ("Penguins agreed.", {"words"}),
    ],
)
def test_what_nothing_supports(answer: str, unsupported: set[str]) -> None:
    found = passage("Leave: 16 weeks, not 1600. Agreed in Geneva on 3rd of March, 2021.", heading=("Annex",))
    sample = Sample("q", "What applies to Ada?", gold=(Gold("a.md"),))
    scores = grounding.score(sample, replace(answered(answer), passages=(found,)))
    assert {name.removeprefix("unsupported ") for name, value in scores.items() if value} == unsupported


def test_dates_in_several_shapes() -> None:
    text = "On 1 May 2020, May 2, 2020, Sept. 3rd; 2020-04-05; since June 2021 you may 15 times."
    assert dates(text) == {(2020, 5, 1), (2020, 5, 2), (None, 9, 3), (2020, 4, 5), (2021, 6, None)}


def test_a_declined_answer_is_not_looked_at() -> None:
    assert grounding.score(ASKED, answered("Zurich 99", outcome="abstained")) == {}
    assert answers.score(ASKED, answered("7 days", outcome="abstained")) == {
        "answer contains gold": 0,
        "exact match": 0,
        "token F1": 0,
    }


def test_markers_are_no_part_of_an_answer() -> None:
    assert answers.score(ASKED, answered("7 days [1]"))["exact match"] == 1


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
    ],
)
def test_token_f1_by_hand(answer: str, references: list[str], f1: float) -> None:
    assert token_f1(answer, references) == pytest.approx(f1)


@pytest.mark.parametrize(
    ("answer", "references", "inside"),
    [
        ("It lives 15 minutes.", ["15 minutes"], True),
        ("It lives 115 minutes.", ["15 minutes"], False),
        ("At most 10,000,000 characters", ["10,000,000"], True),
        ("It lives.", ["7 days", "it lives"], True),
        ("It lives.", ["the"], False),  # nothing is left of the reference
    ],
)
def test_containment_by_whole_words(answer: str, references: list[str], inside: bool) -> None:
    assert contains(answer, references) is inside


@given(WORDS, st.lists(WORDS, min_size=1))
def test_f1_lies_between_zero_and_one_and_is_one_for_a_reference(answer: str, references: list[str]) -> None:
    f1 = token_f1(answer, references)
    assert 0 <= f1 <= 1
    assert token_f1(references[0], references) == 1


@given(WORDS, WORDS)
def test_f1_is_symmetric(left: str, right: str) -> None:
    assert token_f1(left, [right]) == token_f1(right, [left])


@given(WORDS, WORDS, WORDS)
def test_a_reference_put_into_any_text_is_contained(before: str, reference: str, after: str) -> None:
    answer = f"{before} {reference} {after}"
    assert contains(answer, [reference]) is bool(normalise(reference))
