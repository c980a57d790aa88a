"""A fitted calibration keeps its promise on questions that it has not seen."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from chains.abstention import SHIPPED, BadCalibration, Calibration, load_calibration
from evals.calibration import CannotCalibrate, Pair, as_table, fit, log_odds_of


def drawn(seed: int, answerable: int = 200, unanswerable: int = 200) -> list[Pair]:
    """Confidences as of a model whose log-odds are two apart and twice as steep as they should be."""
    draw = np.random.default_rng(seed)
    kinds = [True] * answerable + [False] * unanswerable
    odds = [2 * (draw.normal(1 if kind else -1) + 0.5) for kind in kinds]
    return [(kind, round(1 / (1 + math.exp(-x)), 4)) for kind, x in zip(kinds, odds, strict=True)]


def declined(calibration: Calibration, asked: list[Pair], *, answerable: bool) -> float:
    """The share of these questions that the product would decline."""
    odds = [log_odds_of(c) for kind, c in asked if kind is answerable]
    return sum(calibration.confidence(x) < calibration.threshold for x in odds) / len(odds)


def test_it_keeps_to_the_share_that_may_be_declined_also_on_new_questions() -> None:
    expected, held = [], []
    for seed in range(30):
        fitted = fit(drawn(seed), 0.1, 0, "", "drawn")
        assert declined(fitted.calibration, drawn(seed), answerable=True) <= 0.1
        new = drawn(1000 + seed)
        expected.append((fitted.calibration.false_refusals, fitted.calibration.false_answers))
        held.append(
            (
                declined(fitted.calibration, new, answerable=True),
                1 - declined(fitted.calibration, new, answerable=False),
            )
        )
    # What is told beforehand is what comes true, on average over many draws.
    assert np.mean(expected, axis=0) == pytest.approx(np.mean(held, axis=0), abs=0.02)
    assert np.mean(held, axis=0)[0] == pytest.approx(0.1, abs=0.02)


def test_the_confidence_becomes_a_probability() -> None:
    """The drawn log-odds of being answerable are 2 x, where x is what the drawing centred on 1 and -1."""
    calibration = fit(drawn(7, 3000, 3000), 0.1, 0, "", "drawn").calibration
    for x in (-1.0, 0.0, 1.0):
        assert calibration.confidence(2 * (x + 0.5)) == pytest.approx(1 / (1 + math.exp(-2 * x)), abs=0.04)


def test_no_refusal_allowed_means_none() -> None:
    fitted = fit(drawn(3), 0.0, 0, "", "drawn")
    assert declined(fitted.calibration, drawn(3), answerable=True) == 0


def test_it_is_the_same_every_time_and_says_what_it_rests_on() -> None:
    fitted = fit(drawn(5), 0.1, 0, "minilm-1", "mine@abc")
    assert fitted == fit(drawn(5), 0.1, 0, "minilm-1", "mine@abc")
    assert fitted.calibration.made_of == "mine@abc, 200 questions with an answer and 200 without"
    table = as_table(fitted, "mine")
    assert "false refusals" in table
    assert "hardly" not in table


def test_questions_that_look_alike_are_said_to_be_hopeless() -> None:
    draw = np.random.default_rng(1)
    asked = [(bool(i % 2), round(float(draw.uniform(0.2, 0.8)), 4)) for i in range(200)]
    assert "hardly tells these questions apart" in as_table(fit(asked, 0.1, 0, "", "noise"), "noise")


@pytest.mark.parametrize("kinds", [(0, 100), (100, 0), (19, 100), (100, 19)])
def test_too_few_questions_of_a_kind_are_refused(kinds: tuple[int, int]) -> None:
    with pytest.raises(CannotCalibrate, match="at least 20 questions"):
        fit(drawn(1, *kinds), 0.1, 0, "", "drawn")


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    calibration = fit(drawn(2), 0.1, 0, "minilm-1", "mine").calibration
    calibration.write(tmp_path / "deep" / "calibration.json")
    assert load_calibration(tmp_path / "deep" / "calibration.json") == calibration
    assert load_calibration(tmp_path / "none.json") == load_calibration(None) == SHIPPED


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"format": 2}',
        '{"format": 1, "slope": 1}',
        "\udcff",
        *(
            '{{"format": 1, "slope": {}, "bias": {}, "threshold": {}, "false_answers": 0.1, "false_refusals": 0.1, '
            '"embedding": "", "made_of": ""}}'.format(*values)
            for values in [(0, 0, 0.5), (1, 0, 2), (1, "NaN", 0.5), (1, '"x"', 0.5), ("true", 0, 0.5), (1, "null", 0.5)]
        ),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "calibration.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(BadCalibration):
        load_calibration(path)
