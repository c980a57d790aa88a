"""When the answers without a chat model decline, and what a calibration changes of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from langchain_core.documents import Document

from chains.abstention import SHIPPED, decide
from chains.evidence import Candidate
from chains.sentences import Unit


def found(score: float, similarity: float, kind: str = "text") -> Document:
    return Document("Whales sing.", metadata={"score": score, "similarity": similarity, "kind": kind})


def sentence(passage: int, cosine: float) -> Candidate:
    return Candidate(passage, Unit(0, 12, "sentence"), "Whales sing.", cosine, "Whales sing.")


def test_nothing_found_is_declined() -> None:
    assert decide([], []).confidence == 0
    assert not decide([found(0.9, 0.9)], []).answerable


def test_a_text_is_judged_by_its_score_and_its_closest_sentence() -> None:
    near = decide([found(0.7, 0.7)], [sentence(0, 0.1), sentence(0, 0.8)])
    far = decide([found(0.3, 0.3)], [sentence(0, 0.1), sentence(0, 0.2)])
    assert (near.answerable, far.answerable) == (True, False)
    assert near.confidence > 0.8
    assert far.confidence < 0.1
    assert decide([found(0.7, 0.7)], [sentence(0, 0.1)]).confidence < near.confidence


def test_a_faq_pair_is_judged_by_its_cosine_alone() -> None:
    pair = decide([found(0.6, 0.65, "faq")], [sentence(0, 0.2)])
    assert pair == decide([found(0.2, 0.65, "faq")], [sentence(0, 0.9)])
    assert pair.answerable
    assert not decide([found(0.6, 0.45, "faq")], [sentence(0, 0.9)]).answerable


def test_a_faq_pair_beside_the_point_does_not_stand_in_the_way_of_a_text() -> None:
    passages = [found(0.6, 0.45, "faq"), found(0.59, 0.6)]
    assert decide(passages, [sentence(0, 0.5), sentence(1, 0.7)]).answerable
    assert not decide(passages[:1], [sentence(0, 0.7)]).answerable


def test_a_chat_model_decides_by_itself_unless_everything_is_far_off() -> None:
    assert decide([found(0.3, 0.3)], None).answerable
    assert not decide([found(0.2, 0.2)], None).answerable


@pytest.mark.parametrize(("slope", "bias"), [(1.0, 0.0), (0.5, -1.0), (3.0, 2.0)])
def test_a_calibration_keeps_the_order_and_moves_the_line(slope: float, bias: float) -> None:
    passages, evidence = [found(0.5, 0.5)], [sentence(0, 0.5)]
    better = [found(0.6, 0.6)], [sentence(0, 0.6)]
    bent = replace(SHIPPED, slope=slope, bias=bias)
    confidence = decide(passages, evidence, bent).confidence
    assert confidence < decide(*better, bent).confidence
    assert decide(passages, evidence, replace(bent, threshold=confidence)).answerable
    assert not decide(passages, evidence, replace(bent, threshold=confidence + 1e-9)).answerable
