"""Figures against worked examples, and the laws that hold for all of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.metrics import Metric, auroc, mean, rate, wilson

SCORES = st.lists(st.floats(0, 1), min_size=1, max_size=30)


def test_nothing_observed_is_not_zero() -> None:
    assert mean("f1", []) == Metric("f1", None, 0)
    assert rate("recall", []) == Metric("recall", None, 0)
    assert auroc([], [0.1]) is None
    assert auroc([0.1], []) is None


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        # Newcombe 1998, Statistics in Medicine 17:857, table I, method 3 (score, without continuity correction).
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_agrees_with_newcombes_examples(successes: int, n: int, low: float, high: float) -> None:
    assert wilson(successes, n) == pytest.approx((low, high), abs=5e-5)


def test_auroc_counts_pairs_and_half_of_ties() -> None:
    # Pairs: 0.9 beats both; 0.5 ties with 0.5 and beats 0.2; 0.1 loses both. (2 + 1.5 + 0) / 6.
    assert auroc([0.9, 0.5, 0.1], [0.5, 0.2]) == pytest.approx(3.5 / 6)


@given(SCORES, SCORES)
def test_auroc_is_the_share_of_pairs_in_order(positives: list[float], negatives: list[float]) -> None:
    pairs = [1.0 if p > n else 0.5 if p == n else 0.0 for p in positives for n in negatives]
    assert auroc(positives, negatives) == pytest.approx(sum(pairs) / len(pairs))


@given(SCORES, SCORES)
def test_auroc_of_swapped_classes_is_the_rest_to_one(positives: list[float], negatives: list[float]) -> None:
    there, back = auroc(positives, negatives), auroc(negatives, positives)
    assert there is not None
    assert back is not None
    assert there + back == pytest.approx(1)


@given(st.lists(st.booleans(), min_size=1))
def test_a_rate_lies_within_its_interval_within_zero_and_one(hits: list[bool]) -> None:
    metric = rate("recall", hits)
    assert metric.value is not None
    assert metric.low is not None
    assert metric.high is not None
    assert 0 <= metric.low <= metric.value <= metric.high <= 1


@given(SCORES)
def test_a_mean_of_scores_is_a_score(scores: list[float]) -> None:
    value = mean("f1", scores).value
    assert value is not None
    assert 0 <= value <= 1
