"""What a process and its children take of the machine, by /proc."""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 1e6


@dataclass(frozen=True, slots=True)
class Usage:
    """cpu: seconds so far, of children that ended too. rss_mb, threads and files: now; memory that processes share is
    counted for each of them."""

    cpu: float
    rss_mb: float
    threads: int
    files: int


def usage(pid: int) -> Usage:
    """Of the process and all below it; nothing of those that are gone."""
    cpu, rss, threads, files = 0, 0, 0, 0
    for one in family(pid):
        try:
            # The name, in parentheses, may hold blanks: what counts comes after it.
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            files += len(os.listdir(f"/proc/{one}/fd"))  # noqa: PTH208 (names alone)
        except OSError:
            continue
        cpu += sum(int(value) for value in fields[11:15])  # utime, stime, and those of children that ended
        threads += int(fields[17])
        rss += int(fields[21])
    return Usage(cpu / TICKS, rss * PAGE_MB, threads, files)


def memory_mb(pid: int) -> float:
    """Of the process and all below it; pages that several of them share are counted once."""
    kilobytes = 0
    for one in family(pid):
        with contextlib.suppress(OSError, IndexError):
            kilobytes += int(re.findall(r"\nPss: +(\d+)", Path(f"/proc/{one}/smaps_rollup").read_text())[0])
    return kilobytes / 1000


def family(pid: int) -> list[int]:
    """The process and its children, grandchildren and so on."""
    try:
        tasks = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    except OSError:
        return []
    return [pid, *(one for text in tasks for child in text.split() for one in family(int(child)))]


def load() -> float:
    """Of the machine, over the last minute."""
    return os.getloadavg()[0]
