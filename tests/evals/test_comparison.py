"""The statistics against scipy and published examples; verdicts that hold, and runs that cannot be compared."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from evals.__main__ import main
from evals.comparison import NotComparable, changed, compare, holm, mcnemar, randomisation
from evals.metrics import bootstrap, cluster_labels
from tests.evals.runs import a_run


def verdicts(first: list[bool], other: list[bool], seed: int = 0) -> dict[str, str]:
    differences, _ = compare([a_run(first), a_run(other)], seed)
    return {found.name: found.verdict for found in differences[0]}


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
    compared, (verdict,) = compare([a_run(hits), a_run(hits)])
    assert verdict.word == "no evidence of a difference"
    for found in compared[0]:
        assert (found.difference, found.p, found.smallest) == (0, 1, None)
        assert found.verdict == "no evidence of a difference"


def test_chance_is_taken_for_a_difference_at_most_five_times_in_a_hundred() -> None:
    chance = random.Random(11)
    alarms = 0
    for seed in range(100):
        first, other = ([chance.random() < 0.7 for _ in range(120)] for _ in range(2))
        alarms += set(verdicts(first, other, seed).values()) != {"no evidence of a difference"}
    assert alarms <= 5, "in any figure"


def test_the_same_seed_gives_the_same_figures() -> None:
    runs = [a_run([number % 3 == 0 for number in range(60)]), a_run([number % 4 == 0 for number in range(60)])]
    assert compare(runs, seed=4) == compare(copy.deepcopy(runs), seed=4)


def test_several_runs_are_corrected_for_being_several() -> None:
    base = a_run([True] * 8 + [False] * 92)
    other = a_run([True] * 16 + [False] * 84)
    compared, (verdict,) = compare([base, other])
    among, verdicts_among = compare([base, other, base, base, base, base, base, base])
    assert verdict.word == "better"
    assert among[0][0].p == pytest.approx(min(1, 7 * compared[0][0].p))
    assert verdicts_among[0].word == "no evidence of a difference"


def test_the_figures_beside_the_deciding_one_are_corrected_for_their_number() -> None:
    base, other = a_run([True] * 8 + [False] * 92), a_run([True] * 16 + [False] * 84)
    right, recall = compare([base, other])[0][0][:2]
    assert (right.name, recall.name) == ("right answers", "recall@5")
    assert right.p == pytest.approx(2 * 0.5**8)
    assert recall.p >= 3 * right.p


def test_another_figure_can_decide() -> None:
    base, other = a_run([True] * 8 + [False] * 92), a_run([True] * 30 + [False] * 70)
    compared, (verdict,) = compare([base, other], deciding="token F1")
    assert compared[0][0].name == "token F1"
    assert verdict.reason.startswith("token F1 +0.110")
    with pytest.raises(NotComparable, match=r"no figure 'AURC' to decide by; there are: right answers, recall@5"):
        compare([base, other], deciding="AURC")


def test_errors_are_left_out_of_both_sides_and_counted() -> None:
    first, other = a_run([True] * 30), a_run([True] * 30)
    other["questions"][3] |= {"error": "TimeoutError", "rank": None, "outcome": None, "scores": {}}
    compared, (verdict,) = compare([first, other])
    assert (compared[0][0].n, compared[0][0].difference, verdict.left_out) == (29, 0, 1)


def test_runs_over_something_else_are_not_compared_and_it_is_said_what_differs() -> None:
    first, other = a_run([True] * 9), a_run([True] * 9)
    with pytest.raises(NotComparable, match="setting k: 10 and 5"):
        compare([first, other | {"settings": other["settings"] | {"k": 5}}])
    files = {"0.md": "11", "new.md": "22"}
    with pytest.raises(NotComparable, match=r"different files: 0\.md, new\.md\."):
        compare([first, other | {"dataset": other["dataset"] | {"files": files}}])
    with pytest.raises(NotComparable, match="different questions: q4, q5, q6, q7, q8"):
        compare([first, a_run([True] * 4)])
    other["questions"][2]["references"] = ["otherwise"]
    with pytest.raises(NotComparable, match=r"different questions: q2\."):
        compare([first, other])


def test_the_randomisation_test_agrees_with_scipy() -> None:
    values = list(np.random.default_rng(4).normal(0.08, 0.4, 60))
    ours = randomisation(values, [str(i) for i in range(60)], seed=0)
    theirs = stats.permutation_test((values,), np.sum, permutation_type="samples", n_resamples=10_000, rng=0)
    assert ours == pytest.approx(theirs.pvalue, abs=0.015)


def test_the_randomisation_test_agrees_with_fishers_of_darwins_maize() -> None:
    # Differences in height of crossed and self-fertilised plants, in eighths of an inch (Fisher, The Design of
    # Experiments, section 21): of 2^15 sign changes 863 give a sum as large, so p = 2 * 863 / 32768 = 0.05267.
    eighths = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]
    assert randomisation(eighths, [str(i) for i in range(15)], seed=2) == pytest.approx(0.05267, abs=0.006)


def test_signs_change_document_by_document() -> None:
    """Four documents that all improved are no more than a coin that fell four times alike, however many questions."""
    differences, documents = [1.0] * 400, [str(i % 4) for i in range(400)]
    assert randomisation(differences, documents, seed=0) == pytest.approx(2 / 16, abs=0.015)


def test_with_one_document_its_places_are_drawn() -> None:
    places = [("faq.csv", f"Question {i}?") for i in range(12) for _ in range(5)]
    assert len(set(cluster_labels(places))) == 12
    assert len(set(cluster_labels([("faq.csv", "one"), ("faq.csv", "two")]))) == 2
    assert set(cluster_labels([(f"{i}.md", str(j)) for i in range(10) for j in range(3)])) == {
        f"{i}.md" for i in range(10)
    }


def test_answers_that_differ_are_named() -> None:
    pairs = changed(a_run([True, True, False]), a_run([True, False, False]))
    assert [first["id"] for first, _ in pairs] == ["q1"]


def test_the_command_prints_a_verdict_and_refuses_what_is_no_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, other, broken = tmp_path / "a.json", tmp_path / "b.json", tmp_path / "c.json"
    first.write_text(json.dumps(a_run([number % 5 != 0 for number in range(100)])))
    other.write_text(json.dumps(a_run([number % 2 != 0 for number in range(100)])))
    written = [tmp_path / "compared.json", tmp_path / "compared.html"]
    options = ["--changes", "1", "--output", str(written[0]), "--html", str(written[1])]
    assert main(["compare", str(first), str(other), *options]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("b against a: worse (right answers -0.300")
    assert "It is so." in printed
    assert json.loads(written[0].read_text())["others"][0]["verdict"]["word"] == "worse"
    assert "b against a" not in written[1].read_text(), "its script says so, from the data"
    assert '"word": "worse"' in written[1].read_text()
    for text in ("nonsense", "{}", "[]"):
        broken.write_text(text)
        assert main(["compare", str(first), str(broken)]) == 2
        assert "not a run" in capsys.readouterr().err
    broken.write_text(json.dumps(a_run([True]) | {"format": 1}))
    assert main(["compare", str(first), str(broken)]) == 2
    assert "is of format 1" in capsys.readouterr().err
    assert main(["compare", str(first), str(tmp_path / "none.json")]) == 2
    assert "cannot be read" in capsys.readouterr().err
