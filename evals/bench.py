"""python -m evals.bench [FOLDER]: ingestion, retrieval and chat beside evals/baseline.py, in the same run.

Machines are noisy and differ, so what counts is the last column: baseline over Footnote, above 1 when Footnote is
quicker. Footnote does more in its time: it keeps a catalogue that a kill cannot damage, searches words too, checks
every citation and knows its users. evals/serving.py tells how chats are measured.

The baseline embeds with sentence-transformers where that is installed, otherwise with Footnote's own model and runtime,
so that the ratio tells of what is around it. The bare model's line is Footnote's model over Footnote's passages, all at
once and nothing else. Peak memory is of a process of its own for each side, with the children that it has.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evals.baseline import Baseline, sentence_transformers
from evals.instance import temporary_instance
from evals.memory import peak_mb
from evals.served import NotServing
from evals.serving import compare_serving, describe_conditions

SIDES = ("footnote", "baseline")
SHIPPED = Path(__file__).resolve().parent.parent / "knowledge"
SMALLEST = 100  # passages, with --scale
WIDTH = 40  # of the rows' names


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m evals.bench", description="How fast, beside a plain script.")
    parser.add_argument("folder", nargs="?", type=Path, default=SHIPPED, help="files to read (default: knowledge/)")
    parser.add_argument(
        "--scale", type=_sizes, metavar="N,N,...", help="only /search, over so many passages made of the folder's texts"
    )
    part = parser.add_mutually_exclusive_group()
    part.add_argument("--ingest-only", action="store_true", help="no searches and no chats")
    part.add_argument("--chat-only", action="store_true", help="the servers alone: searches, chats, history")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)  # ingest on one side, and print it as JSON
    options = parser.parse_args(arguments)
    if not options.folder.is_dir():
        print(f"There is no folder {options.folder}.", file=sys.stderr)
        return 2
    if options.scale:
        from evals.scale import compare_sizes

        return compare_sizes(options.folder, options.scale)
    files = {p.relative_to(options.folder).as_posix(): p for p in sorted(options.folder.rglob("*")) if p.is_file()}
    with tempfile.TemporaryDirectory(prefix="footnote-bench-") as home:
        if options.side:
            ingest = _ingest_here if options.side == "footnote" else _ingest_plainly
            print(json.dumps(ingest(options.folder, files, Path(home))))
            return 0
        print(f"{len(files)} files, {sum(path.stat().st_size for path in files.values()) / 1e6:.1f} MB\n")
        print(f"{'':<{WIDTH}}{'Footnote':>12}{'baseline':>12}{'ratio':>8}")
        if not options.chat_only:
            _compare_ingestion(options.folder)
        if not options.ingest_only:
            try:
                _compare_serving(options.folder)
            except NotServing as error:
                print(error, file=sys.stderr)
                return 2
    return 0


def _sizes(value: str) -> list[int]:
    """Numbers in ascending order; ArgumentTypeError where one is none, or too small to hold what is filtered by."""
    try:
        sizes = sorted({int(part) for part in value.split(",")})
    except ValueError:
        sizes = []
    if not sizes or sizes[0] < SMALLEST:
        raise argparse.ArgumentTypeError(f"{value!r} is not numbers from {SMALLEST} on, separated by commas")
    return sizes


def _compare_ingestion(folder: Path) -> None:
    ours, theirs = (
        json.loads(
            subprocess.run(  # noqa: S603 (this module itself)
                [sys.executable, "-m", "evals.bench", "--side", side, str(folder)],
                stdout=subprocess.PIPE,
                check=True,
                cwd=SHIPPED.parent,
            ).stdout
        )
        for side in SIDES
    )
    _row("ingestion, s", ours["seconds"], theirs["seconds"])
    _row("ingestion, CPU s", ours["cpu"], theirs["cpu"])
    _row("passages/s", ours["passages"] / ours["seconds"], theirs["passages"] / theirs["seconds"], more=True)
    if ours["pages"]:
        _row("pages/s", ours["pages"] / ours["seconds"], ours["pages"] / theirs["seconds"], more=True)
    _row("peak memory, MB", ours["peak_mb"], theirs["peak_mb"])
    print(f"{'bare model, s':<{WIDTH}}{ours['bare']:>12.2f}{theirs['bare']:>12.2f}")
    shares = [side["bare"] / side["seconds"] for side in (ours, theirs)]
    print(f"{'its share of ingestion':<{WIDTH}}{shares[0]:>12.0%}{shares[1]:>12.0%}")
    print(f"(passages: {ours['passages']} and {theirs['passages']}; the baseline embeds with {theirs['model']})\n")


def _ingest_here(folder: Path, files: Mapping[str, Path], home: Path) -> dict[str, Any]:
    with temporary_instance() as instance:
        instance.client()  # of an empty folder: loads, and converts the model
        from backend.knowledge import services
        from backend.knowledge.index import get_index
        from backend.knowledge.models import Chunk, Source

        embedder = get_index().embedder
        embedder.embed_documents(["The first request", "prepares the model."])
        instance.use(files)
        spent = _time(instance.client)
        peak = peak_mb()
        services.end_idle_parser(0)
        texts = list(Chunk.objects.current().values_list("embed_text", flat=True))
        pages = sum(count or 0 for count in Source.objects.values_list("current_version__pages", flat=True))
        bare = _time(lambda: embedder.embed_array(texts))
        return _told(spent, len(texts), bare, peak, pages=pages, model="Footnote's own")


def _ingest_plainly(folder: Path, files: Mapping[str, Path], home: Path) -> dict[str, Any]:
    from vectorstore.embeddings import load_embeddings

    embedder = load_embeddings("minilm", home)
    embedder.embed_documents(["The first request", "prepares the model."])
    embed = sentence_transformers()
    baseline = Baseline(embedder, home / "chroma", embed)
    baseline.embed(["The first request prepares the model."])
    spent = _time(lambda: baseline.ingest(folder))
    peak = peak_mb()
    texts = baseline.collection.get(limit=30_000)["documents"]
    bare = _time(lambda: baseline.embed(texts))
    model = "sentence-transformers" if embed else "Footnote's own"
    return _told(spent, baseline.collection.count(), bare, peak, model=model)


def _told(spent: _Spent, passages: int, bare: _Spent, peak_mb: float, **more: Any) -> dict[str, Any]:
    told = {"seconds": spent.wall, "cpu": spent.cpu, "passages": passages, "bare": bare.wall, "peak_mb": peak_mb}
    return {**told, **more}


def _compare_serving(folder: Path) -> None:
    for row in compare_serving(folder):
        _row(row.name, row.ours, row.theirs, more=row.more)
    print(describe_conditions())


@dataclass(frozen=True)
class _Spent:
    """Seconds by the clock, and of the processor in this process and the children that have ended."""

    wall: float
    cpu: float


def _time(work: Callable[[], Any]) -> _Spent:
    began, began_cpu = time.perf_counter(), _cpu()
    work()
    return _Spent(time.perf_counter() - began, _cpu() - began_cpu)


def _cpu() -> float:
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def _row(name: str, product: float, baseline: float, *, more: bool = False) -> None:
    """more: more of it is better, so the ratio is the other way round."""
    over, under = (product, baseline) if more else (baseline, product)
    print(f"{name:<{WIDTH}}{product:>12.2f}{baseline:>12.2f}{over / under if under else float('inf'):>8.2f}")


if __name__ == "__main__":
    sys.exit(main())
