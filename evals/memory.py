"""What a process took of memory."""

from __future__ import annotations

import re
import resource
from pathlib import Path


def peak_mb() -> float:
    """Of this process and its living children so far; on other systems than Linux of this process alone."""
    try:
        ids = [
            "self",
            *(pid for tasks in Path("/proc/self/task").glob("*/children") for pid in tasks.read_text().split()),
        ]
        statuses = [Path(f"/proc/{pid}/status").read_text() for pid in ids]
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    return sum(int(re.findall(r"VmHWM:\s*(\d+)", status)[0]) for status in statuses) / 1000
