"""Runs as one self-contained HTML page: charts, verdicts, and every question with its passages and quotes.

The page loads nothing from anywhere; the runs are in it as JSON, which its script draws.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


def write(
    runs: Sequence[Mapping[str, Any]],
    names: Sequence[str],
    path: Path,
    comparison: Sequence[Mapping[str, Any]] = (),
) -> None:
    """The page of runs over one data set. comparison: of each run but the first, as `evals compare --output` has it."""
    path.write_text(render(runs, names, comparison), encoding="utf-8")


def render(
    runs: Sequence[Mapping[str, Any]], names: Sequence[str], comparison: Sequence[Mapping[str, Any]] = ()
) -> str:
    from evals.report import validity_note

    data = {
        "names": list(names),
        "runs": list(runs),
        "notes": [validity_note(run) for run in runs],
        "comparison": list(comparison),
    }
    # In a script element only "</" and "<!--" could end it: no "<" is left as it is.
    embedded = json.dumps(data, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    page = (FOLDER / "page.html").read_text(encoding="utf-8")
    title = f"{runs[0]['dataset']['name']}: {' and '.join(names) if len(names) < 4 else f'{len(names)} runs'}"
    for mark, text in (
        ("{{title}}", escape(title)),
        ("{{style}}", (FOLDER / "page.css").read_text(encoding="utf-8")),
        ("{{script}}", (FOLDER / "page.js").read_text(encoding="utf-8")),
        ("{{data}}", embedded),
    ):
        page = page.replace(mark, text, 1)
    return page
