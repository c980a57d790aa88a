"""Whether a port can be listened on, said before anything depends on it."""

from __future__ import annotations

import socket


def why_taken(host: str, port: int) -> str:
    """What keeps this process from listening there; empty when nothing does."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.strerror or str(error)
    return ""
