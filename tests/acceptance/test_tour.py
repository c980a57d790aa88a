"""The README's tour, run as it is written against the real server: each step prints what the README says."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from backend.environment import BASE_DIR
from tests.acceptance.server import Server, serving
from tests.docs.tour import ADDRESS, steps

pytestmark = pytest.mark.acceptance

BETWEEN = "--- the next step ---"


def test_the_tour_prints_what_the_readme_says(make_server: Callable[..., Server], tmp_path: Path) -> None:
    if not shutil.which("bash") or not shutil.which("curl"):
        pytest.skip("needs bash and curl")
    knowledge = shutil.copytree(BASE_DIR / "knowledge", tmp_path / "knowledge")
    server = make_server(knowledge)
    script = f"echo '{BETWEEN}'\n".join(step.commands for step in steps())
    assert ADDRESS in script
    with serving(server):
        ran = subprocess.run(
            ["bash", "-uc", script.replace(ADDRESS, server.url)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.split(f"{BETWEEN}\n") == [step.prints for step in steps()]
