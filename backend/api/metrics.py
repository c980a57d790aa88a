"""What GET /metrics tells. What lives in this process is counted in `registry`; what lives in the database is read at
the scrape, so that every process tells the same: each app registers its part by a dotted path, as with /readyz. Where
several processes serve, `registry` counts in files, and `scraped` adds up those of all.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from django.db import Error
from django.utils.module_loading import import_string
from prometheus_client import CollectorRegistry, Metric, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from backend.environment import shared_counts

logger = logging.getLogger(__name__)

NAMESPACE = "footnote"

registry = CollectorRegistry(auto_describe=False)

_registered: dict[str, str] = {}


def register(name: str, path: str) -> None:
    """Have each scrape ask the function at this dotted path for its metrics, as part `name`."""
    _registered[name] = path


class _Parts(Collector):
    """The registered parts. One whose database does not answer is left out, and said to be."""

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        there = GaugeMetricFamily(
            "footnote_metrics_read", "1 when the metrics of a part could be read.", None, ["part"]
        )
        for name in sorted(_registered):
            try:
                metrics = list(import_string(_registered[name])())
            except Error as error:
                logger.error("metrics of %s: the database does not answer: %s", name, error)
                metrics = []
                there.add_metric([name], 0)
            else:
                there.add_metric([name], 1)
            yield from metrics
        yield there


class _Processes(Collector):
    """Memory, time and files of each process that counts in the folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        for pid in sorted({file.stem.rpartition("_")[2] for file in self.folder.glob("gauge_live*.db")}):
            for metric in ProcessCollector(NAMESPACE, partial(str, pid), registry=None).collect():
                family = families.setdefault(metric.name, Metric(metric.name, metric.documentation, metric.type))
                for sample in metric.samples:
                    family.add_sample(sample.name, {**sample.labels, "pid": pid}, sample.value)
        yield from families.values()


def forget_process(pid: int) -> None:
    """Of a process that has ended: what it has counted stays, what it was doing does not."""
    if (folder := shared_counts()) is not None:
        mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]


def _make_scraped() -> CollectorRegistry:
    folder = shared_counts()
    if folder is None:
        ProcessCollector(NAMESPACE, registry=registry)
        registry.register(_Parts())
        return registry
    together = CollectorRegistry(auto_describe=False)
    MultiProcessCollector(together, str(folder))  # type: ignore[no-untyped-call]
    together.register(_Processes(folder))
    together.register(_Parts())
    return together


scraped = _make_scraped()
