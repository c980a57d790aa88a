"""Whether this process runs the jobs."""

from threading import Event

from prometheus_client import Gauge

from backend.api.metrics import registry

LEADER = Gauge("footnote_leader", "1 when this server runs the jobs.", registry=registry, multiprocess_mode="livemax")


class Leading(Event):
    def set(self) -> None:
        super().set()
        LEADER.set(1)

    def clear(self) -> None:
        super().clear()
        LEADER.set(0)


leading = Leading()
