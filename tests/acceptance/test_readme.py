"""The README's commands and snippets outside of its tour, run as they are written: they do what it says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from backend.environment import BASE_DIR
from evals.model_server import ModelServer
from tests.acceptance.server import Client, Server, serving
from tests.docs.markdown import README, section

pytestmark = pytest.mark.acceptance

PATIENCE = 300.0  # seconds; all commands of a block take some thirty
EVALS = "Evals: which prompt is better, by how much, and are we sure"
# `python` is .venv/bin/python, in the project's folder; here files are written into a folder of the test's own.
PYTHON = f"""python() {{ PYTHONPATH='{BASE_DIR}' '{sys.executable}' "${{@/#manage.py/{BASE_DIR}/manage.py}}"; }}\n"""


def block(text: str, language: str) -> str:
    [found] = re.findall(rf"(?ms)^```{language}\n(.*?)^```", text)
    return str(found)


def run(commands: str, folder: Path, **environment: str) -> str:
    done = subprocess.run(
        ["bash", "-euc", PYTHON + commands],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(autouse=True)
def bash() -> None:
    if not shutil.which("bash"):
        pytest.skip("needs bash")


def test_the_answer_is_the_one_that_is_shown(make_server: Callable[..., Server], tmp_path: Path) -> None:
    shown = json.loads(block(README.read_text(), "json"))
    server = make_server(shutil.copytree(BASE_DIR / "knowledge", tmp_path / "knowledge"))
    with serving(server), Client(server) as client:
        told = client.ask("When are old messages erased?")
    [cited], [citation] = shown.pop("citations"), told["citations"]
    assert shown.items() <= told.items()
    assert citation["quote"].startswith(cited.pop("quote").removesuffix("…"))
    assert citation["score"] == pytest.approx(cited.pop("score"), abs=0.02), "processors differ a little"
    assert cited.items() <= citation.items()


def test_metadata_beside_files(make_server: Callable[..., Server], tmp_path: Path) -> None:
    shown = block(section("What it reads"), "yaml")
    [name] = yaml.safe_load(shown)["files"]
    folder = tmp_path / "knowledge"
    folder.mkdir()
    shutil.copy(BASE_DIR / "knowledge" / "footnote-handbook.pdf", folder / name)
    (folder / ".footnote.yml").write_text(shown)
    with serving(make_server(folder)) as server, Client(server) as client:
        server.wait_until(lambda: client.states() == {name: "indexed"}, "the first sync")
        [source] = client.get("/sources").json()["results"]
    assert (source["title"], source["tags"], source["language"]) == ("Staff handbook", ["hr", "policy"], "en")


def test_backup_and_restore(make_server: Callable[..., Server], tmp_path: Path) -> None:
    one, two = make_server(tmp_path / "one"), make_server(tmp_path / "two")
    (one.knowledge / "leave.md").write_text("# Leave\n\nParental leave is 16 weeks.\n")
    with serving(one), Client(one):
        backup, check, restore = block(section("Backup and restore"), "sh").splitlines()
        run(backup, tmp_path, **one.environment)
    [file] = (one.data / "backups").glob("*.tar.gz")
    for command in (check, restore):
        run(command.replace("FILE", f"'{file}'"), tmp_path, **two.environment)
    with serving(two), Client(two) as client:
        assert client.ask("How long is parental leave?")["outcome"] == "grounded"


def test_evals(make_server: Callable[..., Server], model_server: ModelServer, tmp_path: Path) -> None:
    model_server.reply = lambda _: "NOT_IN_DOCUMENTS"
    server = make_server(OPENAI_BASE_URL=model_server.url, OPENAI_API_KEY="none")
    commands = block(section(EVALS), "sh").replace("my-set", str(tmp_path / "my-set"))
    told = run(commands, tmp_path, **server.environment)
    assert "no evidence of a difference" in told.lower()
    for page in ("run.html", "compared.html"):
        assert "</html>" in (tmp_path / page).read_text()
    assert (tmp_path / "my-set" / "drafts.jsonl").read_text()
