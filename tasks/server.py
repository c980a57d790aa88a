"""gunicorn, configured in code: one process that owns the index, many threads (docs/adr/0003).

The master process stays small and only restarts the worker when it dies; the worker imports everything.
"""

from __future__ import annotations

import signal
from typing import Any

from gunicorn.app.base import BaseApplication

STOP_SECONDS = 4  # for answers under way when the server is told to stop


class Server(BaseApplication):  # type: ignore[misc]
    """Serves `backend.wsgi` on host:port with the given number of threads."""

    def __init__(self, host: str, port: int, threads: int) -> None:
        self.given = {
            "bind": f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
            "workers": 1,
            "worker_class": "gthread",
            "threads": threads,
            "worker_connections": threads + 1000,
            "keepalive": 15,
            "timeout": 120,
            "graceful_timeout": STOP_SECONDS,
            "limit_request_line": 8190,
            "loglevel": "warning",
            "control_socket_disable": True,
            "post_worker_init": _start_runtime,
            "worker_int": _ignore_further_signals,
            "worker_exit": _stop_runtime,
        }
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

    runtime.start()


def _ignore_further_signals(worker: Any) -> None:
    """Ctrl-C reaches the worker twice, from the terminal and from its master: the second must not cut the end short."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)  # not SIG_IGN: Python complains of a signal that is on its way already


def _stop_runtime(server: Any, worker: Any) -> None:
    from tasks.runtime import runtime

    runtime.stop()
