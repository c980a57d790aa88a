"""The statistics against scipy and published examples; verdicts that hold, and runs that cannot be compared."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from evals.__main__ import main
from evals.comparison import NotComparable, bootstrap, changed, compare, holm, mcnemar


def a_run(hits: list[bool], **changes: Any) -> dict[str, Any]:
    """A run as `--output` writes it: answerable questions, right at rank 1 and answered, or not found and declined."""
    questions = [
        {
            "id": f"q{number}",
            "question": f"Question {number}?",
            "answerable": True,
            "gold": [f"{number % 40}.md"],
            "error": None,
            "rank": 1 if hit else None,
            "outcome": "grounded" if hit else "abstained",
            "answer": "It is so." if hit else "I could not find an answer.",
            "contains": hit,
            "f1": 0.5 if hit else 0.0,
        }
        for number, hit in enumerate(hits)
    ]
    run = {
        "dataset": {"name": "made", "digest": "d1"},
        "settings": {"limit": None, "seed": 0, "k": 10, "search_only": False},
        "questions": questions,
    }
    return run | changes


def verdicts(first: list[bool], other: list[bool], seed: int = 0) -> dict[str, str]:
    return {found.name: found.verdict for found in compare([a_run(first), a_run(other)], seed)[0]}


def test_mcnemar_agrees_with_a_published_example() -> None:
    # Airway hyper-responsiveness, Bentur et al. 2009: 1 and 7 discordant pairs, exact p = 0.070
    # (Fagerland, Lydersen and Laake 2013, BMC Medical Research Methodology 13:91).
    assert mcnemar(1, 7) == pytest.approx(0.0703, abs=5e-5)


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_binomial_test_of_the_discordant_pairs(lost: int, won: int) -> None:
    expected = stats.binomtest(lost, lost + won).pvalue if lost + won else 1.0
    assert mcnemar(lost, won) == pytest.approx(expected)


def test_mcnemar_holds_for_many_questions() -> None:
    assert mcnemar(1950, 2050) == pytest.approx(stats.binomtest(1950, 4000).pvalue)


def test_holm_agrees_with_a_worked_example() -> None:
    # Sorted: 0.005 * 4, 0.01 * 3, 0.03 * 2, and 0.04 may not be below the one before it.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


def test_the_bootstrap_agrees_with_scipy_where_every_question_has_its_own_document() -> None:
    values = np.random.default_rng(3).normal(0.1, 0.4, 200)
    draws = bootstrap(list(values), [str(i) for i in range(200)], seed=1)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=10_000, method="percentile", rng=1)
    interval = theirs.confidence_interval
    assert np.quantile(draws, [0.025, 0.975]) == pytest.approx([interval.low, interval.high], abs=0.004)
    assert draws.std(ddof=1) == pytest.approx(theirs.standard_error, rel=0.03)


def test_questions_of_one_document_count_as_one_another() -> None:
    """Forty documents whose ten questions all agree carry as much as forty questions, not as four hundred."""
    by_document = [random.Random(5).choice([-1.0, 1.0]) for _ in range(40)]
    differences = [value for value in by_document for _ in range(10)]
    documents = [str(i) for i in range(40) for _ in range(10)]
    clustered = bootstrap(differences, documents, seed=0).std()
    alone = bootstrap(differences, [str(i) for i in range(400)], seed=0).std()
    assert clustered == pytest.approx(alone * 10**0.5, rel=0.1)


def test_a_worse_run_is_found_and_a_better_one() -> None:
    good = [number % 5 != 0 for number in range(200)]
    bad = [number % 5 not in (0, 1) for number in range(200)]
    worse, better = verdicts(good, bad), verdicts(bad, good)
    assert worse["recall@5"] == worse["false refusals"] == worse["token F1"] == worse["MRR@10"] == "worse"
    assert better["recall@5"] == better["false refusals"] == better["token F1"] == better["MRR@10"] == "better"


def test_the_same_run_shows_nothing() -> None:
    hits = [number % 3 == 0 for number in range(50)]
    for found in compare([a_run(hits), a_run(hits)])[0]:
        assert (found.difference, found.p, found.smallest) == (0, 1, None)
        assert found.verdict == "no evidence of a difference"


def test_chance_is_taken_for_a_difference_at_most_five_times_in_a_hundred() -> None:
    chance = random.Random(11)
    alarms = 0
    for seed in range(100):
        first, other = ([chance.random() < 0.7 for _ in range(120)] for _ in range(2))
        alarms += verdicts(first, other, seed)["recall@5"] != "no evidence of a difference"
    assert alarms <= 5


def test_the_same_seed_gives_the_same_figures() -> None:
    runs = [a_run([number % 3 == 0 for number in range(60)]), a_run([number % 4 == 0 for number in range(60)])]
    assert compare(runs, seed=4) == compare(copy.deepcopy(runs), seed=4)


def test_several_runs_are_corrected_for_being_several() -> None:
    base = a_run([True] * 8 + [False] * 92)
    other = a_run([True] * 16 + [False] * 84)
    alone = compare([base, other])[0][0]
    among = compare([base, other, base, base, base, base, base, base])[0][0]
    assert alone.verdict == "better"
    assert among.p == pytest.approx(min(1, 7 * alone.p))
    assert among.verdict == "no evidence of a difference"


def test_errors_are_left_out_of_both_sides() -> None:
    first, other = a_run([True] * 30), a_run([True] * 30)
    other["questions"][3] |= {"error": "TimeoutError", "rank": None, "outcome": None, "contains": None, "f1": None}
    found = compare([first, other])[0][0]
    assert (found.n, found.difference) == (29, 0)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"dataset": {"name": "made", "digest": "d2"}}, "digest"),
        ({"settings": {"limit": None, "seed": 0, "k": 5, "search_only": False}}, "k"),
        ({"settings": {"limit": 9, "seed": 0, "k": 10, "search_only": False}}, "limit"),
    ],
)
def test_runs_over_something_else_are_not_compared(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(NotComparable, match=said):
        compare([a_run([True] * 5), a_run([True] * 5, **changes)])
    with pytest.raises(NotComparable, match="q4"):
        compare([a_run([True] * 5), a_run([True] * 4)])


def test_answers_that_differ_are_named() -> None:
    pairs = changed(a_run([True, True, False]), a_run([True, False, False]))
    assert [first["id"] for first, _ in pairs] == ["q1"]


def test_the_command_prints_a_verdict_and_refuses_what_is_no_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, other, broken = tmp_path / "a.json", tmp_path / "b.json", tmp_path / "c.json"
    first.write_text(json.dumps(a_run([number % 5 != 0 for number in range(100)])))
    other.write_text(json.dumps(a_run([number % 2 != 0 for number in range(100)])))
    assert main(["compare", str(first), str(other), "--changes", "1"]) == 0
    printed = capsys.readouterr().out
    assert "worse" in printed
    assert "It is so." in printed
    for text in ("nonsense", "{}", "[]"):
        broken.write_text(text)
        assert main(["compare", str(first), str(broken)]) == 2
        assert "not a run" in capsys.readouterr().err
    assert main(["compare", str(first), str(tmp_path / "none.json")]) == 2
    assert "cannot be read" in capsys.readouterr().err
