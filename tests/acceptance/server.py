"""The real server in a process of its own, and a client that has nothing but HTTP."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import httpx

from backend.environment import BASE_DIR, as_unset

PATIENCE = 60.0  # seconds; a request takes a few at the most
WAITS = 180.0  # seconds for what processes do: those of `make up` need a minute to start where other tests run beside
PASSWORD = "seven-green-bicycles"


class Server:
    """`manage.py serve` (or another command that goes on) over `data` and `knowledge`, with every other setting at its
    default.
    """

    def __init__(self, data: Path, knowledge: Path, *, command: str = "serve", **settings: str) -> None:
        self.command = command
        self.data = data
        self.knowledge = knowledge
        self.port = free_port()
        given = {"DATA_DIR": str(data), "KNOWLEDGE_DIR": str(knowledge), "PORT": str(self.port), **settings}
        self.environment = os.environ | as_unset() | given
        self.environment.pop("DJANGO_SETTINGS_MODULE", None)  # the tests' own
        self.process: subprocess.Popen[bytes] | None = None
        self.log = data.with_name(f"{data.name}-{command}-{self.port}.log")

    def start(self, *, wait: bool = True) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", self.command],
                cwd=BASE_DIR,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if wait:
            self.wait_until(self.is_ready, "ready")

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Another manage.py command beside the server."""
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=BASE_DIR,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=WAITS,
            check=False,
        )

    def make_staff(self, name: str = "operator") -> None:
        """An account that may change what is known, with the password of all."""
        made = subprocess.run(
            [sys.executable, "manage.py", "createsuperuser", "--noinput"],
            cwd=BASE_DIR,
            env=self.environment
            | {
                "DJANGO_SUPERUSER_USERNAME": name,
                "DJANGO_SUPERUSER_EMAIL": f"{name}@example.org",
                "DJANGO_SUPERUSER_PASSWORD": PASSWORD,
            },
            capture_output=True,
            text=True,
            timeout=WAITS,
            check=False,
        )
        assert made.returncode == 0, made.stderr

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + WAITS
        while not condition():
            assert self.process is not None
            assert self.process.poll() is None, f"the server ended: {self.log.read_text()}"
            assert time.monotonic() < deadline, f"not within {WAITS:.0f} s: {what}\n{self.log.read_text()}"
            time.sleep(0.05)

    def interrupt(self) -> int:
        """Ctrl-C in its terminal: SIGINT to every process of it. Returns the exit code."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(PATIENCE)

    def kill(self) -> None:
        """SIGKILL to every process of it."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(PATIENCE)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class Client(httpx.Client):
    """In a `with`: signs up, logs in, and speaks with its token."""

    def __init__(self, server: Server, name: str = "maria") -> None:
        super().__init__(base_url=server.url, timeout=PATIENCE)
        self.name = name

    def __enter__(self) -> Self:
        super().__enter__()
        self.post("/signup", json={"username": self.name, "email": f"{self.name}@example.org", "password": PASSWORD})
        login = self.post("/login", json={"username": self.name, "password": PASSWORD})
        assert login.status_code == 200, login.text
        self.headers["Authorization"] = f"Bearer {login.json()['access']}"
        return self

    def ask(self, message: str, **options: Any) -> dict[str, Any]:
        answer = self.post("/chat", json={"message": message, **options})
        assert answer.status_code == 200, answer.text
        result: dict[str, Any] = answer.json()
        return result

    def states(self) -> dict[str, str]:
        """Every source's state by path."""
        rows = self.get("/sources", params={"page_size": 200}).json()["results"]
        return {row["path"]: row["state"] for row in rows}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    try:
        server.start()
        yield server
    finally:
        server.kill()
