"""python -m evals run DATASET: asks a temporary instance every question of a data set and prints the figures.
python -m evals compare A B ...: says which of the runs is better, by how much, and whether that is more than chance.

Exit status: 0 when figures were measured, 1 when every question ended in an error, 2 when the command, the data set or
a run is wrong.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from tqdm import tqdm

from evals.comparison import NotComparable, changed, compare
from evals.report import as_changes, as_comparison, as_json, as_table
from evals.runner import run
from evals.samples import DatasetError, Sample, load_dataset


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    return command(options)


def _run(options: argparse.Namespace) -> int:
    if options.output and not options.output.resolve().parent.is_dir():
        return _refuse(f"There is no folder {options.output.parent} to write {options.output.name} into.")
    try:
        dataset = load_dataset(options.dataset)
    except DatasetError as error:
        return _refuse(str(error))
    from chains.errors import UnknownPrompt
    from chains.prompts import load_prompt
    from evals.instance import temporary_instance  # brings Django, which --help and a wrong path can do without

    settings = {name: value for name, value in (("PROMPT", options.prompt), ("CHAT_MODEL", options.model)) if value}
    try:
        if options.prompt:
            load_prompt(options.prompt)
    except UnknownPrompt as error:
        return _refuse(str(error))
    with temporary_instance(dataset.folder, dataset.names, settings) as client:
        measured = run(
            dataset,
            client,
            limit=options.limit,
            seed=options.seed,
            k=options.k,
            search_only=options.search_only,
            progress=_progress,
        )
    print(as_table(measured))
    if options.output:
        options.output.write_text(as_json(measured, datetime.now(UTC).isoformat(timespec="seconds")), encoding="utf-8")
    return 1 if len(measured.errors) == len(measured.results) else 0


def _compare(options: argparse.Namespace) -> int:
    try:
        runs = [json.loads(path.read_text(encoding="utf-8")) for path in (options.first, *options.others)]
        compared = compare(runs, options.seed)
    except OSError as error:
        return _refuse(f"{error.filename} cannot be read: {error.strerror}.")
    except (ValueError, KeyError, TypeError):
        return _refuse("One of these files is not a run that `evals run --output` wrote.")
    except NotComparable as error:
        return _refuse(str(error))
    print(as_comparison([path.name for path in (options.first, *options.others)], compared))
    for other in runs[1:]:
        print("\n" + as_changes(changed(runs[0], other), options.changes))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m evals", description="Does it answer well, and how fast.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("run", help="ask every question of a data set and print the figures")
    command.add_argument("dataset", metavar="DATASET", help="`sample`, or a folder with files/ and questions.jsonl")
    command.add_argument("--limit", type=_positive, metavar="N", help="only N questions, drawn with --seed")
    command.add_argument("--seed", type=int, default=0, metavar="S", help="of the draw (default 0)")
    command.add_argument("--k", type=_positive, default=10, metavar="K", help="passages per search (default 10)")
    command.add_argument("--search-only", action="store_true", help="measure retrieval alone; no answers are made")
    command.add_argument("--prompt", metavar="NAME", help="a file in chains/prompts/ (default: the configured one)")
    command.add_argument("--model", metavar="MODEL", help="extractive or provider:model (default: the configured one)")
    command.add_argument("--output", type=Path, metavar="FILE", help="write the whole run as JSON")
    command.set_defaults(command=_run)
    command = commands.add_parser("compare", help="which run is better, and is it more than chance")
    command.add_argument("first", type=Path, metavar="A", help="what `evals run --output` wrote")
    command.add_argument("others", type=Path, nargs="+", metavar="B", help="runs to compare with it")
    command.add_argument("--seed", type=int, default=0, metavar="S", help="of the bootstrap (default 0)")
    command.add_argument("--changes", type=int, default=5, metavar="N", help="answers to show side by side (default 5)")
    command.set_defaults(command=_compare)
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return number


def _progress(samples: Sequence[Sample]) -> Iterable[Sample]:
    bar: Iterable[Sample] = tqdm(samples, unit="question", file=sys.stderr, disable=None)
    return bar


def _refuse(message: str) -> int:
    print(message, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
