"""The progress bar of commands."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm

from backend.knowledge.sync import Progress


class Bar:
    """On stderr, with the rate and the remaining time; shown only once there is something to do."""

    def __init__(self) -> None:
        self.bar: tqdm[Any] | None = None

    def __call__(self, progress: Progress) -> None:
        if progress.total == 0:
            return
        if self.bar is not None and self.bar.desc != f"{progress.phase}: ":
            self.close()
        if self.bar is None:
            unit = "file" if progress.phase == "reading" else "passage"
            self.bar = tqdm(total=progress.total, unit=unit, desc=progress.phase, file=sys.stderr)
        self.bar.n = progress.done
        self.bar.total = progress.total
        seconds = max(self.bar.format_dict["elapsed"], 1e-3)
        pages = f"{progress.pages} pages, " if progress.pages else ""
        told = f"{pages}{progress.chunks} chunks, {progress.chunks / seconds:.0f}/s"
        self.bar.set_postfix_str(told, refresh=False)
        self.bar.refresh()

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None
