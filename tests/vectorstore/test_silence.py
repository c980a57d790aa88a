"""The libraries that make vectors report to nobody."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from backend.environment import BASE_DIR

# OpenVINO reports from a process that it forks off, which its own end waits for.
PROGRAM = """
import os, sys
ASKING = ("urllib.Request", "socket.getaddrinfo", "socket.connect")
sys.addaudithook(lambda name, given: os.write(1, f"{name} {given[:2]}\\n".encode()) if name in ASKING else None)
import vectorstore.embeddings
import openvino
openvino.Core()
"""


def test_openvino_asks_nobody_and_leaves_no_file(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=BASE_DIR,
        env={"HOME": str(tmp_path), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout == ""
    assert "telemetry" not in done.stderr
    assert not list(tmp_path.iterdir())
