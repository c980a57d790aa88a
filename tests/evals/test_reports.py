"""JUnit files and HTML pages of runs: complete, safe, and drawn by a real browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from evals import junit, page
from evals.__main__ import main
from evals.comparison import compare
from tests.evals.runs import a_run

HOSTILE = "</script><script>document.title = 'taken'</script><img src=x onerror=alert(1)> \x00\x1b[31m & ü"


def a_run_with_everything() -> dict[str, Any]:
    run = a_run([True, False, True, True])
    first, second, third, fourth = run["questions"]
    first |= {"question": HOSTILE, "answer": f"{HOSTILE} [1]", "tags": [HOSTILE]}
    quote = {"n": 1, "source": "0.md", "page": 2, "heading": ["A", "B"], "start": 4, "end": 9, "quote": "twelve"}
    first["citations"] = [quote | {"score": 0.5, "valid": True, "right": False}]
    passage = {"source": "0.md", "page": 2, "heading": ["A"], "score": 0.7, "right": True, "text": "sleep twelve hours"}
    first["passages"] = [passage]
    second |= {"error": "ReadTimeout: too slow", "timed_out": True, "answer": None, "outcome": None, "scores": {}}
    third["history"] = [["user", "Who?"], ["assistant", "You."]]
    fourth |= {"answerable": False, "gold": [], "references": [], "scores": {"right answers": 0.0}}
    run["timeouts"] = 1
    return run


def test_junit_has_a_case_per_question(tmp_path: Path) -> None:
    run = a_run_with_everything()
    junit.write(run, tmp_path / "run.xml")
    suite = ET.parse(tmp_path / "run.xml").getroot().find("testsuite")
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("4", "1", "1")
    cases = suite.findall("testcase")
    assert [case.get("classname") for case in cases] == ["made.q0", "made.q1", "made.q2", "made.q3"]
    assert "</script>" in str(cases[0].get("name"))
    assert cases[0].get("time") == "0.02"
    error, failure = cases[1].find("error"), cases[3].find("failure")
    assert error is not None
    assert (error.get("type"), error.get("message")) == ("timeout", "ReadTimeout: too slow")
    assert failure is not None
    assert "wanted: an abstention" in str(failure.get("message"))
    properties = {row.get("name"): row.get("value") for row in suite.iter("property")}
    assert properties["recall@5"] == "0.75"
    assert "AURC" not in properties


def test_junit_of_searches_fails_what_was_not_found(tmp_path: Path) -> None:
    run = a_run([True, False])
    run["settings"]["search_only"] = True
    for question in run["questions"]:
        question["scores"] = {"recall@5": 1.0}
    junit.write(run, tmp_path / "run.xml")
    suite = ET.parse(tmp_path / "run.xml").getroot()[0]
    assert (suite.get("failures"), suite.get("skipped")) == ("1", "0")


def test_a_page_is_one_file_that_loads_nothing() -> None:
    text = page.render([a_run_with_everything()], ["run"])
    assert "{{" not in text
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!data:)""", text)
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in text
    assert text.count("</script>") == 2, "nothing of a run can end the script"
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert data is not None
    assert json.loads(data[1])["runs"][0]["questions"][0]["question"] == HOSTILE


def test_the_command_writes_reports_of_earlier_runs(tmp_path: Path) -> None:
    run = tmp_path / "run.json"
    run.write_text(json.dumps(a_run_with_everything()))
    html, xml = tmp_path / "run.html", tmp_path / "run.xml"
    assert main(["report", str(run), "--html", str(html), "--junit", str(xml)]) == 0
    assert html.stat().st_size > 10_000
    assert ET.parse(xml).getroot().tag == "testsuites"
    assert main(["report", str(run), str(run), "--junit", str(xml)]) == 2


def chromium() -> str:
    found = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), ""
    )
    if not found:
        pytest.skip("there is no Chromium on this machine")
    return found


def drawn(path: Path, width: int) -> str:
    """The page's elements after its script ran, in a window of this width."""
    command = [chromium(), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={path.parent / 'profile'}"]
    command += [f"--window-size={width},900", "--virtual-time-budget=2000", "--dump-dom", path.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


@pytest.mark.parametrize("width", [1280, 500])
def test_a_browser_draws_every_part(tmp_path: Path, width: int) -> None:
    first, other = a_run_with_everything(), a_run_with_everything()
    other["questions"][2] |= {"answer": "Not so.", "outcome": "ungrounded"}
    compared, verdicts = compare([first, other])
    differences = [asdict(one) for one in compared[0]]
    row = {"name": "b", "verdict": asdict(verdicts[0]), "differences": differences}
    path = tmp_path / "page.html"
    page.write([first, other], ["a", "b"], path, [row])
    shown = drawn(path, width)
    assert "<title>made: a and b</title>" in shown, "the hostile title did not run"
    assert "b against a: no evidence of a difference" in shown
    for part in ("metrics", "latency", "risk"):
        assert re.search(rf'id="{part}"><svg', shown), part
    assert shown.count('data-id="q') == 4
    assert "<mark>twelve</mark>" in shown
    assert "&lt;/script&gt;" in shown
