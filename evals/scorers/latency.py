"""How long it took, stage by stage: p50, p95, p99 and the maximum, in milliseconds.

`search` and `ask` are measured around the calls; condense, retrieve, generate, verify and total are what the product
says of itself in each answer. Percentiles are linear between observations (type 7 of Hyndman and Fan 1996).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import quantiles

from evals.recordings import Recording

STAGES = ("search", "ask", "condense", "retrieve", "generate", "verify", "total")


def stages(recording: Recording) -> dict[str, float]:
    """Milliseconds of one question, by stage."""
    told = dict(recording.reply["latency_ms"]) if recording.reply else {}
    return {**{name: seconds * 1000 for name, seconds in recording.seconds.items()}, **told}


def latencies(recordings: Iterable[Recording]) -> dict[str, dict[str, float]]:
    """The spread of each stage, in the order of STAGES."""
    by_stage = defaultdict(list)
    for recording in recordings:
        for name, milliseconds in stages(recording).items():
            by_stage[name].append(milliseconds)
    return {name: spread(by_stage[name]) for name in STAGES if name in by_stage}


def spread(milliseconds: Sequence[float]) -> dict[str, float]:
    several = len(milliseconds) > 1
    cuts = quantiles(milliseconds, n=100, method="inclusive") if several else [milliseconds[0]] * 99
    figures = {"p50_ms": cuts[49], "p95_ms": cuts[94], "p99_ms": cuts[98], "max_ms": max(milliseconds)}
    return {name: round(value, 3) for name, value in figures.items()}
