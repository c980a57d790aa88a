"""What the README says there is, is there, and the other way round: settings, endpoints, jobs, commands, links."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.core.management import get_commands
from pytest_django.fixtures import Settings

from backend.environment import BASE_DIR, Environment
from backend.jobs.schedules import Every, parse_cron
from tasks.table import make_table
from tests.docs.markdown import anchors, code, documents, links, rows, section
from tests.security.endpoints import endpoints

BESIDE = {"GET /admin/"}  # Django's own, with users of its own kind
PARAMETERS = {"<int:n>": "{n}", "<str:name>": "{name}"}  # all others are ids

# Unset, the first is neither on nor off; the others stand for what the program makes of an empty value.
OTHERWISE = {"DEBUG", "PRICES", "PUBLIC_URL"}
DEFAULTS = {field.alias: field.default for field in Environment.model_fields.values()}


def test_the_table_has_every_setting_and_no_other() -> None:
    named = [name for row in rows("Settings") for name in code(row[0])]
    assert sorted(named) == sorted(str(alias) for alias in DEFAULTS)


def test_the_example_has_every_setting() -> None:
    """And none that nothing reads, but for keys and addresses of chat models, which their libraries read."""
    named = set(re.findall(r"(?m)^# ([A-Z][A-Z_]+)=", (BASE_DIR / ".env.example").read_text()))
    assert set(DEFAULTS) <= named
    assert all(re.fullmatch(r"[A-Z]+_(API_KEY|BASE_URL)", name) for name in named - set(DEFAULTS))


def shown(default: Any) -> str:
    match default:
        case bool():
            return "on" if default else "off"
        case Path():
            return f"`./{default}`"
        case "" | [] | None:
            return "none"
        case float():
            return f"`{default:g}`"
        case _:
            return f"`{default}`"


def test_the_table_tells_the_defaults() -> None:
    told = 0
    for names, default, _ in rows("Settings"):
        said = re.findall(r"`[^`]+`|\bon\b|\boff\b|\bnone\b", default)
        if re.sub(r"`[^`]+`|\bon\b|\boff\b|\bnone\b|[,.]|Empty is no limit", "", default).strip():
            continue  # told in words
        assert len(said) == len(code(names)), names
        for name, value in zip(code(names), said, strict=True):
            if name not in OTHERWISE:
                assert value == shown(DEFAULTS[name]), name
                told += 1
    assert told > 50


def of_the_table() -> set[str]:
    """`GET, POST /path`, or `/path` alone, which has the methods before it."""
    found: set[str] = set()
    for row in rows("HTTP"):
        methods: list[str] = []
        for part in code(row[0]):
            named = re.fullmatch(r"([A-Z]+(?:, [A-Z]+)*)? ?(/[^ ?]*)(\?.*)?", part)
            assert named, part
            methods = named[1].split(", ") if named[1] else methods
            found |= {f"{method} {named[2]}" for method in methods}
    return found


def test_the_table_has_every_endpoint_and_no_other() -> None:
    there = {
        re.sub(r"<[^>]+>", lambda found: PARAMETERS.get(found.group(), "{id}"), str(endpoint))
        for endpoint in endpoints()
    }
    assert of_the_table() - BESIDE == there


def test_the_table_has_every_job_with_its_schedule(settings: Settings) -> None:
    table = rows("Jobs")
    assert [code(row[0]) for row in table] == [[name] for name in make_table()]
    for name, when, _ in table:
        for setting in code(when):
            field = setting.lower()
            value: Any = 77.0 if setting == "SYNC_INTERVAL" else "7 7 7 7 *"
            settings.ENV = settings.ENV.model_copy(update={field: value})
            expected = parse_cron(value, settings.ENV.zone) if isinstance(value, str) else Every(value)
            assert make_table()[code(name)[0]].schedule == expected, f"{setting} does not move {name}"


def all_text() -> str:
    return "\n".join(path.read_text() for path in documents() if path.name != "CHANGELOG.md")


def test_every_make_target_is_there_and_told_of() -> None:
    makefile = (BASE_DIR / "Makefile").read_text()
    targets = {name for line in re.findall(r"(?m)^\.PHONY: (.+)$", makefile) for name in line.split()} - {"help"}
    told = {a or b for a, b in re.findall(r"(?m)`make ([a-z]+)\b|^make ([a-z]+)", all_text())}
    assert told == targets


def test_every_command_is_there_and_told_of() -> None:
    told = set(re.findall(r"manage\.py ([a-z_]+)", all_text()))
    assert told <= set(get_commands()), told - set(get_commands())
    ours = {path.stem for path in (BASE_DIR / "tasks/management/commands").glob("[a-z]*.py")}
    in_the_table = {name for row in rows("Commands") for name in re.findall(r"manage\.py ([a-z_]+)", row[0])}
    assert ours - {"serve"} == in_the_table, "serve is `make run`"


def test_every_module_and_subcommand_of_the_evals_is_there() -> None:
    text = all_text()
    subcommands = set(re.findall(r'add_parser\("(\w+)"', (BASE_DIR / "evals/__main__.py").read_text()))
    assert set(re.findall(r"python -m evals ([a-z]+)\b", text)) <= subcommands
    for name in set(re.findall(r"python -m (evals\.\w+)", text)):
        assert (BASE_DIR / f"{name.replace('.', '/')}.py").exists(), name


@pytest.mark.parametrize("path", documents(), ids=lambda path: str(path.relative_to(BASE_DIR)))
def test_every_link_leads_somewhere(path: Path) -> None:
    for target, anchor in links(path):
        assert target.exists(), target
        if anchor:
            assert anchor in anchors(target.read_text()), f"{target.name}#{anchor}"


def test_the_links_were_found() -> None:
    assert sum(len(list(links(path))) for path in documents()) > 30


def test_every_model_of_the_database_is_told_of() -> None:
    """With how-it-works' table: what is stored, and why so."""
    told = set(re.findall(r"`([A-Z]\w+)`", (BASE_DIR / "docs/how-it-works.md").read_text().partition("## 2. ")[2]))
    ours = {model for model in apps.get_models() if model.__module__.startswith("backend.") and not model._meta.proxy}
    assert {model.__name__ for model in ours} <= told


def test_the_readme_answers_the_eight_questions_and_points_to_the_long_answers() -> None:
    there = re.findall(r"(?m)^## (\d)\. (.+)$", (BASE_DIR / "docs/how-it-works.md").read_text())
    asked = re.findall(r"(?m)^(\d)\. \*\*\[([^]]+)\]\(docs/how-it-works\.md#\d-", section("Eight questions"))
    assert asked == there
    assert len(there) == 8
