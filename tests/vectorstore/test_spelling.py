"""Misspelt words become words of the documents; everything else stays as it was written."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from vectorstore.embeddings import known_words
from vectorstore.spelling import MOST_UNKNOWN, mend

DOCUMENTS = {"parental": 3, "leave": 9, "office": 2, "kubernetes": 5, "reticulum": 1, "later": 4, "intention": 1}


def counts(words: Sequence[str]) -> list[int]:
    return [DOCUMENTS.get(word, 0) for word in words]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("How long is praental laeve?", "How long is parental leave?"),  # swapped
        ("kuberntes", "kubernetes"),  # one missing
        ("the offfice, please", "the office, please"),  # one too many
        ("the officw", "the office"),  # another one
        ("Kubernetse in the OFFICEE", "kubernetes in the office"),
    ],
)
def test_a_word_one_slip_away_is_mended(written: str, meant: str) -> None:
    assert mend(written, counts, frozenset()) == meant


@pytest.mark.parametrize(
    "text",
    [
        "",
        "parental leave",
        "Is latex allowed?",  # a word of English, although "later" is near
        "eave",  # short
        "leav3 and off_ice",
        "xeave",  # the first letter is mostly right
        "résumé leavé",
        "pramtela",  # two slips
    ],
)
def test_what_is_no_slip_stays(text: str) -> None:
    assert mend(text, counts, frozenset({"latex"})) == text


def test_a_question_of_unknown_words_is_in_another_language() -> None:
    few = " ".join(["kuberntes", *(f"unknown{'abcdef'[i]}" for i in range(MOST_UNKNOWN - 1))])
    assert mend(few, counts, frozenset()) == few.replace("kuberntes", "kubernetes")
    assert mend(f"{few} another", counts, frozenset()) == f"{few} another"


def test_a_known_word_is_preferred_then_the_same_letters_then_the_frequent_one() -> None:
    def by_count(words: Sequence[str]) -> list[int]:
        return [near.get(word, 0) for word in words]

    near = {"planet": 1, "plants": 7}
    assert mend("plante", by_count, frozenset()) == "planet"
    near = {"plantes": 1, "plantx": 7, "plant": 1}
    assert mend("plante", by_count, frozenset({"plant"})) == "plant"
    assert mend("plante", by_count, frozenset()) == "plantx"


def test_the_known_words_are_english() -> None:
    assert {"analysis", "latex", "despise"} & known_words()
    assert "kuberntes" not in known_words()
    assert all(word.isalpha() for word in known_words())
