"""The gate says why it is shut, and is never open for want of a figure."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evals.__main__ import main
from evals.gate import BadRule, reasons
from tests.evals.runs import a_run

GOOD = a_run([number % 10 != 0 for number in range(100)])
BAD = a_run([number % 2 != 0 for number in range(100)])


@pytest.mark.parametrize(
    ("rule", "shut"),
    [
        ("recall@5<0.8", False),
        ("recall@5 < 0.95", True),
        ("recall@5<=0.9", True),
        ("false refusals>0.4", True),
        ("errors>0", False),
        ("timeouts>=0", True),
        ("ask p95_ms>25", True),
        ("ask p95_ms>30", False),
        ("AURC>0.5", True),  # it has no value
    ],
)
def test_bounds(rule: str, shut: bool) -> None:
    assert bool(reasons(GOOD, [rule], None)) is shut


def test_a_rule_that_cannot_be_read_or_measures_nothing_is_refused() -> None:
    with pytest.raises(BadRule, match="neither a bound such as"):
        reasons(GOOD, ["recall"], None)
    with pytest.raises(BadRule, match=r"no figure 'recal@5'; there are: .*recall@5"):
        reasons(GOOD, ["recal@5<0.8"], None)
    with pytest.raises(BadRule, match="needs a --baseline"):
        reasons(GOOD, ["worse"], None)


def test_worse_than_the_baseline() -> None:
    found = reasons(BAD, ["worse"], GOOD)
    assert found[0].startswith("right answers is worse: 0.900 before, 0.500 now")
    assert any(reason.startswith("false refusals is worse") for reason in found), "more of them is worse"
    assert reasons(GOOD, ["worse"], BAD) == []
    assert reasons(GOOD, ["worse"], GOOD) == []


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad, few = tmp_path / "good.json", tmp_path / "bad.json", tmp_path / "few.json"
    for path, run in ((good, GOOD), (bad, BAD), (few, a_run([True] * 9))):
        path.write_text(json.dumps(run))
    rules = ["--fail-on", "recall@5<0.8", "--fail-on", "worse"]
    assert main(["gate", str(good), "--baseline", str(bad), *rules]) == 0
    assert "The gate is open" in capsys.readouterr().out
    assert main(["gate", str(bad), "--baseline", str(good), *rules]) == 1
    printed = capsys.readouterr().out
    assert "recall@5 is 0.500, and recall@5<0.8 fails" in printed
    assert "right answers is worse" in printed
    assert main(["gate", str(good), "--baseline", str(few), *rules]) == 1
    assert "different questions" in capsys.readouterr().out, "a baseline of something else is no baseline"
    assert main(["gate", str(good), "--fail-on", "nothing<1"]) == 2
