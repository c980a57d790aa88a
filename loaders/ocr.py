"""Text of pictures of pages, by tesseract, where it is installed and asked for.

A page is rendered in grey at 200 dots per inch, at most 25 megapixels, and read in a process of its own on one core;
two to four seconds a page.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from typing import Any

DOTS_PER_INCH = 200
MOST_PIXELS = 25_000_000
PAGE_SECONDS = 60.0
FEWEST_CHARACTERS = 20  # of a page that has a text layer worth the name


@dataclass(frozen=True, slots=True)
class Reading:
    """Whether pictures are read. languages: empty for no. seconds: for all pages of a file together."""

    languages: str = ""
    seconds: float = 600.0


class Reader:
    """Reads pages until its time is used up."""

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.ends = time.monotonic() + reading.seconds
        self.pages: list[int] = []  # numbers (from 1) of those that were read

    @property
    def problem(self) -> str:
        """Why nothing can be read; empty when it can."""
        if not self.reading.languages:
            return "run them through OCR first, or set OCR=on where tesseract is installed"
        return "" if shutil.which("tesseract") else "OCR is on, but tesseract is not installed"

    def read(self, page: Any, number: int) -> str:
        """The text of a page of pypdfium2; empty when there is none, no time or no tesseract."""
        left = self.ends - time.monotonic()
        if self.problem or left <= 0:
            return ""
        width, height = page.get_size()
        scale = min(DOTS_PER_INCH / 72, (MOST_PIXELS / max(1.0, width * height)) ** 0.5)
        picture = page.render(scale=scale, grayscale=True).to_numpy()
        rows, columns = picture.shape[:2]
        command = ["tesseract", "-", "-", "-l", self.reading.languages, "--dpi", str(round(72 * scale))]
        try:
            done = subprocess.run(  # noqa: S603 (fixed but for the languages, which are checked)
                command,
                input=b"P5 %d %d 255\n" % (columns, rows) + picture.tobytes(),
                capture_output=True,
                timeout=min(left, PAGE_SECONDS),
                check=True,
                env={**os.environ, "OMP_THREAD_LIMIT": "1"},
            )
        except (OSError, subprocess.SubprocessError):
            return ""
        text: str = done.stdout.decode("utf-8", "replace").replace("\f", "").strip()
        if text:
            self.pages.append(number)
        return text
