"""python -m evals.bench [FOLDER]: ingestion, retrieval and chat beside evals/baseline.py, in the same run.

Machines are noisy and differ, so what counts is the last column: baseline over Footnote, above 1 when Footnote is
quicker. Footnote does more in its time: it keeps a catalogue that a kill cannot damage, searches words too, and checks
every citation.

The baseline embeds with sentence-transformers where that is installed, otherwise with Footnote's own model and runtime,
so that the ratio tells of what is around it. The bare model's line is Footnote's model over Footnote's passages, all at
once and nothing else. Peak memory is of a process of its own for each side, with the children it waits for.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

from evals.baseline import Baseline
from evals.instance import temporary_instance
from evals.model_server import running_model_server
from evals.runner import Client

SHIPPED = Path(__file__).resolve().parent.parent / "knowledge"
QUESTIONS = 60  # asked of each side, in turn, so that a slow moment of the machine hits both
WARM_UP = 5
MODEL = "openai:bench"
REPLY = "This is what the passages say about it, in a sentence of about twenty words, which are sent one by one now."


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m evals.bench", description="How fast, beside a plain script.")
    parser.add_argument("folder", nargs="?", type=Path, default=SHIPPED, help="files to read (default: knowledge/)")
    folder = parser.parse_args(arguments).folder
    if not folder.is_dir():
        print(f"There is no folder {folder}.", file=sys.stderr)
        return 2
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    with tempfile.TemporaryDirectory(prefix="footnote-bench-") as home, running_model_server() as server:
        server.reply = lambda _: REPLY
        settings = {"CHAT_MODEL": MODEL, "OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": "none", "DEBUG": ""}
        # Its own ingestion is not counted: it loads and converts the model for both sides.
        with temporary_instance(settings) as instance:
            instance.use(files)
            _measure(instance.client(), folder, Path(home), len(files))
    return 0


def _measure(product: Client, folder: Path, baseline_dir: Path, count: int) -> None:
    from backend.knowledge.index import get_index
    from backend.knowledge.models import Chunk
    from chains.models import load_chat_model

    baseline = Baseline(get_index().embedder, baseline_dir)
    ours, theirs = _time(_ingest_again), _time(lambda: baseline.ingest(folder))
    texts = list(Chunk.objects.current().values_list("text", flat=True))
    print(f"{count} files; {len(texts)} passages, baseline {baseline.collection.count()}\n")
    print(f"{'':<24}{'Footnote':>12}{'baseline':>12}{'ratio':>8}")
    _row("ingestion, s", ours.wall, theirs.wall)
    _row("ingestion, CPU s", ours.cpu, theirs.cpu)

    questions = [" ".join(text.split()[:12]) + "?" for text in texts[:: max(1, len(texts) // QUESTIONS)]]
    _compare("search", questions, lambda question: product.search(question, 4), baseline.search)
    model = load_chat_model(MODEL, 60.0)
    assert model is not None  # noqa: S101 (for the type checker)
    _compare(
        "chat",
        questions,
        lambda question: product.ask(question, ()),
        lambda question: baseline.answer(question, model),
    )


def _ingest_again() -> None:
    """Index the folder into emptied stores, from the start of the parsing process to its end, so that it counts too."""
    from backend.knowledge import services
    from backend.knowledge.index import get_index
    from backend.knowledge.models import Source

    services.end_idle_parser(0)
    Source.objects.all().delete()
    index = get_index()
    index.vectors.delete(sorted(index.vectors.ids()))
    index.lexical.delete(sorted(index.lexical.ids()))
    index.lexical.commit()
    services.sync("bench")
    services.end_idle_parser(0)


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


def _compare(
    name: str, questions: Sequence[str], product: Callable[[str], Any], baseline: Callable[[str], Any]
) -> None:
    """Both sides in turn; the first rounds warm up and are not counted."""
    ours, theirs = [], []
    for question in questions:
        ours.append(_time(functools.partial(product, question)))
        theirs.append(_time(functools.partial(baseline, question)))
    ours, theirs = ours[WARM_UP:], theirs[WARM_UP:]
    _row(f"{name}, p50 ms", median(spent.wall for spent in ours) * 1000, median(spent.wall for spent in theirs) * 1000)
    _row(f"{name}, CPU ms", mean(spent.cpu for spent in ours) * 1000, mean(spent.cpu for spent in theirs) * 1000)


def _row(name: str, product: float, baseline: float) -> None:
    print(f"{name:<24}{product:>12.2f}{baseline:>12.2f}{baseline / product if product else float('inf'):>8.2f}")


if __name__ == "__main__":
    sys.exit(main())
