"""The progress bar of commands."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm


class Bar:
    """On stderr, with the rate and the remaining time; shown only once there is something to do."""

    def __init__(self, unit: str) -> None:
        self.unit = unit
        self.bar: tqdm[Any] | None = None

    def __call__(self, phase: str, done: int, total: int, chunks: int) -> None:
        if total == 0:
            return
        if self.bar is None:
            self.bar = tqdm(total=total, unit=self.unit, desc=phase, file=sys.stderr)
        self.bar.n = done
        self.bar.total = total
        seconds = max(self.bar.format_dict["elapsed"], 1e-3)
        self.bar.set_postfix_str(f"{chunks} chunks, {chunks / seconds:.0f}/s", refresh=False)
        self.bar.refresh()

    def close(self) -> None:
        if self.bar:
            self.bar.close()
