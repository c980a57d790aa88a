"""The documents as tests read them: code blocks, tables, headings, links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from backend.environment import BASE_DIR

README = BASE_DIR / "README.md"
FENCED = re.compile(r"^```.*?^```\n?", re.MULTILINE | re.DOTALL)


def documents() -> list[Path]:
    """Every markdown file that is written for readers of the project."""
    return [*BASE_DIR.glob("*.md"), *(BASE_DIR / "docs").rglob("*.md")]


def section(title: str) -> str:
    """What stands in the README below this heading."""
    _, _, rest = README.read_text().partition(f"\n## {title}\n")
    assert rest, f"the README has no heading {title}"
    return re.split(r"(?m)^## ", rest)[0]


def rows(title: str) -> list[list[str]]:
    """The cells of the tables below this heading, without their heads."""
    lines = [line for line in section(title).splitlines() if line.startswith("|")]
    rule = next(i for i, line in enumerate(lines) if set(line) <= set("|- "))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[rule + 1 :]]


def code(cell: str) -> list[str]:
    """What stands between backticks."""
    return re.findall(r"`([^`]+)`", cell)


def anchors(text: str) -> set[str]:
    """Of its headings, as the site that shows them makes them."""
    found: dict[str, int] = {}
    names = set()
    for heading in re.findall(r"(?m)^#{1,6} +(.+?) *$", FENCED.sub("", text)):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)|[`*]", r"\1", heading).lower()
        name = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        names.add(f"{name}-{found[name]}" if name in found else name)
        found[name] = found.get(name, 0) + 1
    return names


def links(path: Path) -> Iterator[tuple[Path, str]]:
    """Where a document's relative links lead: a file or folder, and the anchor in it."""
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCED.sub("", path.read_text())):
        if not re.match(r"[a-z]+:", target):
            file, _, anchor = target.partition("#")
            yield ((path.parent / file).resolve() if file else path), anchor
