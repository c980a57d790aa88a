"""gunicorn, configured in code: one process, or several where they share the index, of many threads (docs/adr/0003,
0017).

The master process stays small and only restarts a worker when it dies; workers import everything.
"""

from __future__ import annotations

import os
import resource
import socket
import struct
import sys
import time
from typing import Any

from gunicorn.app.base import BaseApplication

from backend.api.stopping import told_to_stop
from tasks.arrivals import ArrivingWorker
from tasks.bound import end_with_parent

STOP_SECONDS = 4  # for answers under way when the server is told to stop (SIGTERM), and until the master kills
MANY_FILES = 65_536
MANY_CONNECTIONS = 8_000  # beside those that a thread answers
FILES_PER_THREAD = 4  # a client, a model, databases
SOCKET_SECONDS = 30  # that a client may take until it takes, or gives, the next bytes
QUIT_SECONDS = 1  # the same on Ctrl-C


class Worker(ArrivingWorker):
    """Leaves its loop when it is told to stop, and has the streams end. A client that neither reads nor writes for a
    while loses its connection, and its thread is free again.

    gunicorn's own raises SystemExit wherever the signal strikes: also in the middle of its end, because Ctrl-C comes
    twice, from the terminal and from the master, and in finalisers, where it is lost.
    """

    _told = float("-inf")

    def notify(self) -> None:
        """Tell the master that this process lives: once a second, not with every event."""
        now = time.monotonic()
        if now - self._told >= 1:
            self._told = now
            super().notify()

    def enqueue_req(self, conn: Any) -> None:
        for direction in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            conn.sock.setsockopt(socket.SOL_SOCKET, direction, struct.pack("ll", SOCKET_SECONDS, 0))
        super().enqueue_req(conn)

    def handle_quit(self, sig: int, frame: Any) -> None:
        self.cfg.set("graceful_timeout", QUIT_SECONDS)
        self.handle_exit(sig, frame)

    def handle_exit(self, sig: int, frame: Any) -> None:
        told_to_stop.set()
        super().handle_exit(sig, frame)


def allow_many_files() -> None:
    """Raise the number of open files to what the system allows: each stream takes two connections and a database."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MANY_FILES if hard == resource.RLIM_INFINITY else min(MANY_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def many_connections(threads: int) -> int:
    """How many clients may be connected at once, so that files are left for everything else."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    left = MANY_FILES if files == resource.RLIM_INFINITY else files - FILES_PER_THREAD * threads
    return threads + max(100, min(MANY_CONNECTIONS, left))


class Server(BaseApplication):  # type: ignore[misc]
    """Serves `backend.wsgi` on host:port by worker processes of at most `threads` threads each; they are made as they
    are needed.
    """

    def __init__(self, host: str, port: int, threads: int, workers: int = 1) -> None:
        allow_many_files()
        self.given = {
            "bind": f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
            "workers": workers,
            "worker_class": Worker,
            "threads": threads,
            "worker_connections": many_connections(threads),
            "keepalive": 15,
            "timeout": 120,
            "graceful_timeout": STOP_SECONDS,
            "limit_request_line": 8190,
            "loglevel": "warning",
            "control_socket_disable": True,
            "post_fork": _end_with_master,
            "post_worker_init": _start_runtime,
            "worker_exit": _stop_runtime,
            "child_exit": _forget,
        }
        super().__init__()

    def load_config(self) -> None:
        for name, value in self.given.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> Any:
        from backend.wsgi import application

        return application


def _forget(server: Any, worker: Any) -> None:
    from backend.api.metrics import forget_process

    forget_process(worker.pid)


def _end_with_master(server: Any, worker: Any) -> None:
    """Or a worker whose master was killed would hold the port for some seconds more."""
    end_with_parent()


def _start_runtime(worker: Any) -> None:
    from backend.api import tracing
    from tasks.runtime import runtime

    tracing.start()
    if worker.alive:  # otherwise it was told to stop while it was loading
        runtime.start()


def _stop_runtime(server: Any, worker: Any) -> None:
    from backend.api import tracing
    from tasks.runtime import runtime

    runtime.stop()
    tracing.stop()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # a thread that still waits for a model would hold the end up; its question is stored
