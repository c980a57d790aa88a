"""What a figure is: a name, and how to read it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """A score that every question to which it applies has. yes_no: it is 0 or 1, so its mean is a rate."""

    name: str
    yes_no: bool = True
    more_is_better: bool = True
