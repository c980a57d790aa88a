"""gunicorn, configured in code: one process that owns the index, many threads (docs/adr/0003).

The master process stays small and only restarts the worker when it dies; the worker imports everything.
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
from gunicorn.workers.gthread import ThreadWorker

from backend.api.stopping import told_to_stop

STOP_SECONDS = 4  # for answers under way when the server is told to stop (SIGTERM), and until the master kills
MANY_FILES = 65_536
SOCKET_SECONDS = 30  # that a client may take until it takes, or gives, the next bytes
QUIT_SECONDS = 1  # the same on Ctrl-C


class Worker(ThreadWorker):  # type: ignore[misc]
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


class Server(BaseApplication):  # type: ignore[misc]
    """Serves `backend.wsgi` on host:port with at most the given number of threads; they are made as they are needed."""

    def __init__(self, host: str, port: int, threads: int) -> None:
        self.given = {
            "bind": f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
            "workers": 1,
            "worker_class": Worker,
            "threads": threads,
            "worker_connections": threads + 1000,
            "keepalive": 15,
            "timeout": 120,
            "graceful_timeout": STOP_SECONDS,
            "limit_request_line": 8190,
            "loglevel": "warning",
            "control_socket_disable": True,
            "post_worker_init": _start_runtime,
            "worker_exit": _stop_runtime,
        }
        allow_many_files()
        super().__init__()

    def load_config(self) -> None:
        for name, value in self.given.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> Any:
        from backend.wsgi import application

        return application


def _start_runtime(worker: Any) -> None:
    from tasks.runtime import runtime

    if worker.alive:  # otherwise it was told to stop while it was loading
        runtime.start()


def _stop_runtime(server: Any, worker: Any) -> None:
    from tasks.runtime import runtime

    runtime.stop()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # a thread that still waits for a model would hold the end up; its question is stored
