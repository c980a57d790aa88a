"""The README's tour: its commands, and what it says they print."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.docs.markdown import README

STEP = re.compile(r"<!-- tour -->\n```sh\n(?P<commands>.*?)```\n\n```text\n(?P<prints>.*?)```", re.DOTALL)
ADDRESS = "http://127.0.0.1:8000"


@dataclass(frozen=True)
class Step:
    commands: str
    prints: str


def steps() -> list[Step]:
    """In their order; each is run in the shell of those before it."""
    text = README.read_text()
    found = [Step(each["commands"], each["prints"]) for each in STEP.finditer(text)]
    assert len(found) == text.count("<!-- tour -->"), "a step without what it prints"
    return found
