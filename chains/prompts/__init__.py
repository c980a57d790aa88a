"""Prompts are files in this folder; each has a name and a digest, so that an answer says which words made it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from chains.errors import UnknownPrompt

FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Prompt:
    """A system prompt. `label` is what answers and evals record: `name@digest`."""

    name: str
    text: str
    digest: str

    @property
    def label(self) -> str:
        return f"{self.name}@{self.digest[:12]}"


@cache
def load_prompt(name: str) -> Prompt:
    """The prompt `chains/prompts/NAME.md`; UnknownPrompt lists what there is."""
    names = prompt_names()
    if name not in names:
        raise UnknownPrompt(f"There is no prompt named {name!r}; there are: {', '.join(names)}.")
    return _read(name, FOLDER / f"{name}.md")


@cache
def load_internal(name: str) -> Prompt:
    """One of the chain's own prompts, which no question may choose: `chains/prompts/internal/NAME.md`."""
    return _read(name, FOLDER / "internal" / f"{name}.md")


def prompt_names() -> list[str]:
    """The names of the prompts that answer, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.md"))


def _read(name: str, path: Path) -> Prompt:
    text = path.read_text("utf-8").strip()
    return Prompt(name, text, hashlib.sha256(text.encode()).hexdigest())
