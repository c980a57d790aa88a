"""python -m evals: does it answer well, how fast, which prompt is better, and are we sure.

run       asks a temporary instance, or a running server, every question of a data set and prints the figures
compare   says which of several runs is better, by how much, and whether that is more than chance
calibrate fits, on questions with and without an answer, when the answers without a model decline
gate      fails when a run is worse than a baseline or a figure beyond its bound
report    makes the HTML page or the JUnit file of runs that were made before
init      writes a data set to start from
make      drafts questions from documents, or from chats that went wrong, for a person to check

Exit status: 0 when all went well; 1 when every question ended in an error, or the gate is shut; 2 when the command, the
data set or a run is wrong; 130 when interrupted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from evals import commands


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except commands.Refused as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped. What was answered is kept: the same command goes on from there.", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m evals", description="Does it answer well, how fast, which prompt is better, and are we sure."
    )
    subcommands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = subcommands.add_parser("run", help="ask every question of a data set and print the figures")
    command.add_argument("dataset", metavar="DATASET", help="`sample`, or a folder with files/ and questions.jsonl")
    command.add_argument("--limit", type=_positive, metavar="N", help="only N questions, drawn with --seed")
    command.add_argument("--seed", type=int, default=0, metavar="S", help="of draws and intervals (default 0)")
    command.add_argument("--k", type=_positive, default=10, metavar="K", help="passages per search (default 10)")
    command.add_argument("--workers", type=_positive, default=1, metavar="N", help="questions at a time (default 1)")
    command.add_argument("--timeout", type=_seconds, metavar="S", help="seconds for a model's answer (default 60)")
    command.add_argument("--search-only", action="store_true", help="measure retrieval alone; no answers are made")
    command.add_argument("--prompt", metavar="NAME", help="a file in chains/prompts/ (default: the configured one)")
    command.add_argument("--model", metavar="MODEL", help="extractive or provider:model (default: the configured one)")
    command.add_argument("--robustness", action="store_true", help="also reworded, among noise, with altered documents")
    command.add_argument("--noise", type=Path, metavar="FOLDER", help="documents to add for the noise condition")
    command.add_argument("--judge", metavar="MODEL", help="a chat model that judges faithfulness and relevance")
    command.add_argument(
        "--url", metavar="URL", help="a running server that has indexed the files, instead of an own one"
    )
    command.add_argument("--username", metavar="NAME", help="account on it; the password is in FOOTNOTE_PASSWORD")
    command.add_argument("--cache", type=Path, metavar="DIR", help="where answers are kept (default DATA_DIR/evals)")
    command.add_argument("--no-cache", action="store_true", help="ask everything anew, and keep nothing")
    command.add_argument("--output", type=Path, metavar="FILE", help="write the whole run as JSON")
    command.add_argument("--brief", action="store_true", help="without passages in it: small enough for a baseline")
    _add_reports(command)
    command.set_defaults(command=commands.run_dataset, calibration=None)

    command = subcommands.add_parser("calibrate", help="decide by your own questions when to answer")
    command.add_argument(
        "dataset", metavar="DATASET", help="a folder with files/ and questions.jsonl, with and without answers"
    )
    command.add_argument(
        "--max-false-refusals",
        type=_share,
        default=0.1,
        metavar="SHARE",
        help="of the answerable questions, at most this share is declined (default 0.1)",
    )
    command.add_argument("--limit", type=_positive, metavar="N", help="only N questions, drawn with --seed")
    command.add_argument("--seed", type=int, default=0, metavar="S", help="of draws and folds (default 0)")
    command.add_argument("--cache", type=Path, metavar="DIR", help="where answers are kept (default DATA_DIR/evals)")
    command.add_argument("--no-cache", action="store_true", help="ask everything anew, and keep nothing")
    command.add_argument("--output", type=Path, metavar="FILE", help="default DATA_DIR/calibration.json")
    command.set_defaults(command=commands.calibrate)

    command = subcommands.add_parser("compare", help="which run is better, and is it more than chance")
    command.add_argument("first", type=Path, metavar="A", help="what `evals run --output` wrote")
    command.add_argument("others", type=Path, nargs="+", metavar="B", help="runs to compare with it")
    command.add_argument("--figure", metavar="NAME", help="the figure that decides (default `right answers`)")
    command.add_argument("--seed", type=int, default=0, metavar="S", help="of the bootstrap (default 0)")
    command.add_argument("--changes", type=int, default=5, metavar="N", help="answers to show side by side (default 5)")
    command.add_argument("--html", type=Path, metavar="FILE", help="write a page with charts and every question")
    command.add_argument("--output", type=Path, metavar="FILE", help="write the comparison as JSON")
    command.set_defaults(command=commands.compare_runs)

    command = subcommands.add_parser("gate", help="fail when a run is not good enough")
    command.add_argument("run", type=Path, metavar="RUN", help="what `evals run --output` wrote")
    command.add_argument("--baseline", type=Path, metavar="FILE", help="an earlier run over the same questions")
    command.add_argument(
        "--fail-on",
        action="append",
        required=True,
        metavar="RULE",
        help='a bound such as "recall@5<0.8" or "errors>0", or `worse`: than the baseline, in any figure; repeat it',
    )
    command.add_argument("--seed", type=int, default=0, metavar="S", help="of the bootstrap (default 0)")
    command.set_defaults(command=commands.gate_run)

    command = subcommands.add_parser("report", help="the page or the JUnit file of earlier runs")
    command.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="what `evals run --output` wrote")
    _add_reports(command)
    command.set_defaults(command=commands.report_runs)

    command = subcommands.add_parser("init", help="write a data set to start from")
    command.add_argument("folder", type=Path, metavar="FOLDER", help="a new or empty folder")
    command.set_defaults(command=commands.init_dataset)

    command = subcommands.add_parser("make", help="draft questions, for a person to check")
    command.add_argument("folder", type=Path, metavar="DATASET", help="a folder with files/")
    command.add_argument(
        "--chats", action="store_true", help="from this instance's chats that were declined or disliked"
    )
    command.add_argument("--number", type=_positive, default=20, metavar="N", help="questions to draft (default 20)")
    command.add_argument("--seed", type=int, default=0, metavar="S", help="of the draw (default 0)")
    command.add_argument("--model", metavar="MODEL", help="a chat model that writes them (default: the configured one)")
    command.set_defaults(command=commands.draft_questions)
    return parser


def _add_reports(command: argparse.ArgumentParser) -> None:
    command.add_argument("--html", type=Path, metavar="FILE", help="write a page with charts and every question")
    command.add_argument("--junit", type=Path, metavar="FILE", help="write a JUnit file, a test case per question")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return number


def _share(text: str) -> float:
    share = float(text)
    if not 0 <= share < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a share from 0 up to 1")
    return share


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
