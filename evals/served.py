"""The product's real server in a process and folders of its own, with nothing but HTTP to it."""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from backend.environment import as_unset
from evals.instance import isolated_settings
from evals.processes import Usage, usage

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 120.0  # seconds
SPARSE = 0.01  # seconds between two looks whether it is ready
PASSWORD = "seven-green-bicycles"  # noqa: S105 (of accounts that are gone with the instance)


class NotServing(Exception):
    """A server did not start, or ended; the message holds what it said."""


class Served:
    """A server process over HTTP: its address and what it takes."""

    def __init__(self, command: list[str], environment: Mapping[str, str], port: int, ready: str, log: Path) -> None:
        self.command = command
        self.environment = environment
        self.port = port
        self.ready = ready
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> float:
        """Returns the seconds until it is ready."""
        began = time.perf_counter()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603
                self.command, cwd=ROOT, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        while not self._is_ready():
            if self.process.poll() is not None or time.perf_counter() - began > PATIENCE:
                self.stop()
                raise NotServing(f"{' '.join(self.command)} is not ready:\n{self.log.read_text('utf-8', 'replace')}")
            time.sleep(SPARSE)
        return time.perf_counter() - began

    def stop(self) -> None:
        """As the product's supervisor would; by force where that does not do."""
        if self.process is None:
            return
        for sign in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, sign)
                self.process.wait(15)
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue
            break
        self.process = None

    @property
    def pid(self) -> int:
        """Of its first process. NotServing when it has ended."""
        if self.process is None or self.process.poll() is not None:
            raise NotServing(f"The server ended:\n{self.log.read_text('utf-8', 'replace')[-5000:]}")
        return self.process.pid

    def usage(self) -> Usage:
        """Of the server and its children."""
        return usage(self.pid)

    def call(self, path: str, data: Any = None, token: str = "") -> Any:
        """The JSON of a GET, or of a POST where there is data. NotServing says what else came."""
        body = None if data is None else json.dumps(data).encode()
        request = urllib.request.Request(self.url + path, body)  # noqa: S310 (of this machine)
        request.add_header("Content-Type", "application/json")
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as response:  # noqa: S310 (of this machine)  # nosec B310
                return json.load(response)
        except urllib.error.HTTPError as error:
            raise NotServing(f"{path} answered {error.code}: {error.read()[:500]!r}") from error

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(self.url + self.ready, timeout=5) as response:  # noqa: S310 (the same)  # nosec B310
                return bool(response.status == 200)
        except OSError:  # HTTPError is one too: 503 until it is ready
            return False


class Footnote(Served):
    """`manage.py serve` over `knowledge`, with its data in `home` and every other setting at its default.

    models: where the embedding model is kept that was converted before; None: in `home`, by the first start.
    """

    def __init__(self, home: Path, knowledge: Path, models: Path | None = None, **settings: str) -> None:
        data = home / "data"
        data.mkdir(parents=True, exist_ok=True)
        if models is not None:
            (data / "models").symlink_to(models)
        port = free_port()
        given = isolated_settings(data, knowledge.resolve()) | {"DEBUG": "", "PORT": str(port)} | settings
        environment = os.environ | as_unset() | given
        environment.pop("DJANGO_SETTINGS_MODULE", None)  # that of tests
        super().__init__([sys.executable, "manage.py", "serve"], environment, port, "/readyz", home / "server.log")
        self.database = data / "footnote.sqlite3"

    def wait_until_indexed(self) -> None:
        """Until the first sync is done and every file of the folder answers, or has failed."""
        token = self.sign_up("waits")
        deadline = time.perf_counter() + PATIENCE
        while True:
            rows = self.call("/sources?page_size=200", token=token)["results"]
            if rows and not any(row["state"] == "pending" for row in rows):
                return
            if time.perf_counter() > deadline:
                raise NotServing(f"The folder is not indexed within {PATIENCE:.0f} s.")
            time.sleep(0.2)

    def sign_up(self, name: str) -> str:
        """An access token of a new user."""
        self.call("/signup", {"username": name, "email": f"{name}@example.org", "password": PASSWORD})
        return self.log_in(name)

    def log_in(self, name: str) -> str:
        """An access token, which lasts as long as the product lets it."""
        token: str = self.call("/login", {"username": name, "password": PASSWORD})["access"]
        return token


class FullStack(Footnote):
    """The processes of `make up` in its place: a Chroma server, web workers, the scheduler."""

    def __init__(self, home: Path, knowledge: Path, models: Path | None = None, **settings: str) -> None:
        chroma = f"http://127.0.0.1:{free_port()}"
        super().__init__(home, knowledge, models, **{"CHROMA_URL": chroma, **settings})
        self.command = [sys.executable, "-m", "tasks.up"]
        if "WEB_WORKERS" not in settings:  # then it is for `make up` to say how many
            self.environment = {name: value for name, value in self.environment.items() if name != "WEB_WORKERS"}


@contextmanager
def serving(server: Served) -> Iterator[Served]:
    """Started; stopped with the block."""
    try:
        server.start()
        yield server
    finally:
        server.stop()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def setting(value: str) -> tuple[str, str]:
    """NAME=VALUE, as a command line has a setting of a server. ArgumentTypeError."""
    name, equals, content = value.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{value!r} is not NAME=VALUE")
    return name, content
