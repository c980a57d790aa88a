"""python -m evals.stores [--vectors 10000] [--pgvector CONNINFO] [STORE ...]: the vector stores side by side.

The vectors are drawn, in clusters, as those of passages are; each store is measured by a process of its own: seconds to
write them in batches of 500, milliseconds of a question for 60 and of one among half of the sources, recall@10 against
exact comparison, megabytes on disk, and the peak memory of the process without the server's.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from vectorstore.store import Kind, Place, VectorStore, open_store

DIMENSIONS, CLUSTERS, NOISE = 384, 400, 0.9
BATCH, QUESTIONS, DEPTH, RECALL_AT, PER_SOURCE = 500, 200, 60, 10, 25


def draw(count: int, seed: int) -> np.ndarray:
    """Unit vectors around centres that every seed shares."""
    centres = np.random.default_rng(0).normal(size=(CLUSTERS, DIMENSIONS))
    chance = np.random.default_rng(seed)
    drawn = centres[chance.integers(CLUSTERS, size=count)] + NOISE * chance.normal(size=(count, DIMENSIONS))
    unit: np.ndarray = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)
    return unit


def measure(place: Place, count: int) -> dict[str, float]:
    """What this process found out about this store."""
    vectors, questions = draw(count, 1), draw(QUESTIONS, 2)
    ids = [f"{i:032x}" for i in range(count)]
    owners = [f"source-{i // PER_SOURCE:08}" for i in range(count)]
    before = _peak_mb()
    store = open_store(place, "measured", DIMENSIONS)
    began = time.perf_counter()
    for start in range(0, count, BATCH):
        part = slice(start, start + BATCH)
        store.upsert(ids[part], vectors[part], owners[part])
    ingest = time.perf_counter() - began
    store.warm_up()
    half = sorted(set(owners))[::2]
    open_ms = [_ms(store, question, None) for question in questions]
    half_ms = [_ms(store, question, half) for question in questions[:40]]
    found = 0
    for question in questions:
        exact = np.argsort(-(vectors @ question), kind="stable")[:RECALL_AT]
        found += len({ids[i] for i in exact} & {hit.id for hit in store.query(question, RECALL_AT)})
    began = time.perf_counter()
    store.delete(ids[: count // 10])
    deleted = time.perf_counter() - began
    assert store.ids() == set(ids[count // 10 :])  # noqa: S101 (a figure of a store that forgets nothing is none)
    store.close()
    began = time.perf_counter()
    again = open_store(place, "measured", DIMENSIONS)
    again.warm_up()
    opened = time.perf_counter() - began
    again.drop("measured-no-more")
    again.close()
    return {
        "written in, s": ingest,
        "question p50, ms": float(np.percentile(open_ms, 50)),
        "question p95, ms": float(np.percentile(open_ms, 95)),
        "in half of the sources p50, ms": float(np.percentile(half_ms, 50)),
        "recall@10": found / (QUESTIONS * RECALL_AT),
        "a tenth deleted in, s": deleted,
        "opened again in, s": opened,
        "on disk, MB": sum(path.stat().st_size for path in place.folder.rglob("*") if path.is_file()) / 1e6,
        "memory more, MB": _peak_mb() - before,
    }


def _ms(store: VectorStore, question: np.ndarray, source_ids: list[str] | None) -> float:
    began = time.perf_counter()
    store.query(question, DEPTH, source_ids)
    return (time.perf_counter() - began) * 1e3


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Print a table, a store in each column."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stores", nargs="*", default=["chroma", "faiss"], metavar="STORE")
    parser.add_argument("--vectors", type=int, default=10_000)
    parser.add_argument("--pgvector", default="", metavar="CONNINFO", help="a database with pgvector")
    parser.add_argument("--measure", choices=["chroma", "faiss", "pgvector"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    kind: Kind | None = given.measure
    if kind:
        with tempfile.TemporaryDirectory(prefix="footnote-stores-") as folder:
            print(json.dumps(measure(Place(kind, Path(folder), postgresql=given.pgvector), given.vectors)))
        return
    command = [sys.executable, "-m", "evals.stores", "--vectors", str(given.vectors), "--pgvector", given.pgvector]
    told: list[dict[str, Any]] = [
        json.loads(subprocess.run([*command, "--measure", store], check=True, stdout=subprocess.PIPE).stdout)  # noqa: S603
        for store in given.stores
    ]
    print(f"| {given.vectors:,} vectors | " + " | ".join(given.stores) + " |")
    print("|---" * (1 + len(told)) + "|")
    for name in told[0]:
        print(f"| {name} | " + " | ".join(f"{one[name]:.3g}" for one in told) + " |")


if __name__ == "__main__":
    main()
