"""What each command of `python -m evals` does. Django and the models come with a temporary instance, and not before."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from evals.samples import ROOT, Dataset, DatasetError, load_dataset

if TYPE_CHECKING:
    from evals.recordings import Recordings
    from evals.remote import RemoteClient
    from evals.runner import Options, Run
    from evals.samples import Sample

STARTER = ROOT / "evals" / "datasets" / "starter"
WITHOUT_URL = "needs an instance of its own, so it cannot be had with --url"


class Refused(Exception):
    """The command cannot be done; the message says why, in a line."""


def run_dataset(options: argparse.Namespace) -> int:
    for path in (options.output, options.html, options.junit):
        _require_folder(path)
    if options.noise and not options.noise.is_dir():
        raise Refused(f"There is no folder {options.noise} to take noise from.")
    dataset = _load(options.dataset)
    from evals import document, report
    from evals.runner import Options

    how = Options(options.limit, options.seed, options.k, options.search_only, options.workers)
    judge = _judge(options)
    with _recordings(options) as recordings:
        if options.url:
            product = _on_a_server(dataset, how, recordings, options)
        else:
            product = _in_an_instance(dataset, how, recordings, options)
    measured, settings, robustness = product
    run = document.as_document(
        measured,
        settings,
        {"at": datetime.now(UTC).isoformat(timespec="seconds")},
        robustness=robustness,
        judged=judge(measured) if judge else None,
    )
    print(report.as_table(run))
    if robustness is not None:
        print("\n" + report.as_robustness(robustness))
    if "judged" in run:
        print("\n" + report.as_judged(run["judged"]))
    if options.output:
        document.write(document.brief(run) if options.brief else run, options.output)
    _write_reports([run], [_name(options)], options)
    return 1 if len(measured.errors) == len(measured.results) else 0


def calibrate(options: argparse.Namespace) -> int:
    """Decide by the user's own questions from which confidence on to answer."""
    _require_folder(options.output)
    dataset = _load(options.dataset)
    from backend.environment import SHIPPED_CALIBRATION, read_environment
    from evals import calibration
    from evals.runner import Options
    from vectorstore.embeddings import load_embeddings

    options.prompt = options.timeout = None
    options.model, options.robustness, options.calibration = "extractive", False, SHIPPED_CALIBRATION
    environment = read_environment()
    with _recordings(options) as recordings:
        run, _, _ = _in_an_instance(dataset, Options(options.limit, options.seed), recordings, options)
    with _refusing(calibration.CannotCalibrate):
        fitted = calibration.fit(
            calibration.pairs(run),
            options.max_false_refusals,
            options.seed,
            load_embeddings(environment.embedding_model, environment.data_dir).fingerprint,
            f"{dataset.name}@{dataset.digest[:12]}",
        )
    print(calibration.as_table(fitted, run.dataset.name))
    target = options.output or environment.data_dir / "calibration.json"
    fitted.calibration.write(target)
    if environment.calibration_file == target.resolve():
        print(f"\nWritten to {target}. A server with this DATA_DIR decides by it from the next question on.")
    else:
        print(f"\nWritten to {target}. CALIBRATION={target} makes a server decide by it.")
    return 0


def compare_runs(options: argparse.Namespace) -> int:
    _require_folder(options.html)
    _require_folder(options.output)
    from evals import page, report
    from evals.comparison import NotComparable, changed, compare

    paths = [options.first, *options.others]
    runs = [_read(path) for path in paths]
    with _refusing(NotComparable):
        compared, verdicts = compare(runs, options.seed, options.figure)
    names = [path.stem for path in paths]
    print(report.as_comparison(names, compared, verdicts))
    for other in runs[1:]:
        print("\n" + report.as_changes(changed(runs[0], other), options.changes))
    rows = [
        {"name": name, "verdict": asdict(verdict), "differences": [asdict(one) for one in differences]}
        for name, verdict, differences in zip(names[1:], verdicts, compared, strict=True)
    ]
    if options.output:
        text = json.dumps({"first": names[0], "seed": options.seed, "others": rows}, ensure_ascii=False, indent=1)
        options.output.write_text(text + "\n", encoding="utf-8")
    if options.html:
        page.write(runs, names, options.html, rows)
    return 0


def gate_run(options: argparse.Namespace) -> int:
    from evals.comparison import NotComparable
    from evals.gate import BadRule, reasons

    run = _read(options.run)
    baseline = _read(options.baseline) if options.baseline else None
    try:
        with _refusing(BadRule):
            found = reasons(run, options.fail_on, baseline, options.seed)
    except NotComparable as error:
        found = [f"it cannot be compared with the baseline. {error}"]
    for reason in found:
        print(f"The gate is shut: {reason}")
    if not found:
        print(f"The gate is open: {options.run} passes {'; '.join(options.fail_on)}")
    return 1 if found else 0


def report_runs(options: argparse.Namespace) -> int:
    if not options.html and not options.junit:
        raise Refused("Say what to write: --html FILE or --junit FILE.")
    if options.junit and len(options.runs) > 1:
        raise Refused("A JUnit file is of one run.")
    _require_folder(options.html)
    _require_folder(options.junit)
    _write_reports([_read(path) for path in options.runs], [path.stem for path in options.runs], options)
    return 0


def init_dataset(options: argparse.Namespace) -> int:
    if options.folder.exists() and (not options.folder.is_dir() or any(options.folder.iterdir())):
        raise Refused(f"{options.folder} is not empty; nothing was written.")
    shutil.copytree(STARTER, options.folder, dirs_exist_ok=True)
    print(
        f"{options.folder} holds a data set of one document and three questions. Put your documents into "
        f"{options.folder / 'files'}, write questions into {options.folder / 'questions.jsonl'}, then:\n\n"
        f"  python -m evals make {options.folder}     drafts questions from the documents, for you to check\n"
        f"  python -m evals run {options.folder}"
    )
    return 0


def draft_questions(options: argparse.Namespace) -> int:
    from evals import drafts

    with _refusing(drafts.CannotDraft):
        if options.chats:
            made = drafts.from_chats(options.folder, options.number)
        else:
            made = drafts.from_documents(options.folder, options.number, options.seed, options.model)
        added = drafts.add(options.folder, made)
    where = options.folder / drafts.FILE
    print(
        f"{added} drafts were added to {where}. Each says under `check` what to look at. Correct them, and move the "
        f"lines that are right to {options.folder / 'questions.jsonl'}; only that file is asked."
    )
    return 0


Measured = tuple["Run", dict[str, Any], dict[str, Any] | None]


def _in_an_instance(dataset: Dataset, how: Options, recordings: Recordings, options: argparse.Namespace) -> Measured:
    from chains.abstention import BadCalibration
    from chains.errors import UnknownPrompt
    from evals.conditions import contents
    from evals.identity import keys, product_settings, temporary_product
    from evals.instance import Files, temporary_instance
    from evals.product import CannotServe
    from evals.runner import run

    chosen = {
        "PROMPT": options.prompt,
        "CHAT_MODEL": options.model,
        "CHAT_MODEL_TIMEOUT": options.timeout,
        "CALIBRATION": options.calibration or _own_calibration(),
    }
    overrides = {name: str(value) for name, value in chosen.items() if value}
    with _refusing(UnknownPrompt), _refusing(BadCalibration):
        settings = product_settings(overrides)
    product = temporary_product(settings)
    with _refusing(CannotServe), temporary_instance(overrides) as instance:

        def ask(asked: Dataset, how: Options, files: Files) -> Run:
            instance.use(files)
            key = keys(product, asked.files, how)
            return run(asked, instance.client, how, recordings=recordings, key=key, progress=_progress)

        measured = ask(dataset, how, contents(dataset))
        robustness = _robustness(measured, settings, ask, options) if options.robustness else None
    return measured, settings, robustness


def _own_calibration() -> Path | str:
    """What the real instance decides by: a temporary one has a DATA_DIR without it."""
    from backend.environment import SHIPPED_CALIBRATION, read_environment

    path = read_environment().calibration_file
    return path if path and path.exists() else SHIPPED_CALIBRATION


def _on_a_server(dataset: Dataset, how: Options, recordings: Recordings, options: argparse.Namespace) -> Measured:
    """What was answered is kept until the run is complete, and no longer: nobody knows when the server changes."""
    from evals.conditions import contents
    from evals.identity import keys
    from evals.instance import Files
    from evals.remote import ServerRefused, connected
    from evals.runner import run

    if options.model:
        raise Refused("A running server answers with its own model: --model cannot be had with --url.")
    timeout = options.timeout or 60.0
    with _refusing(ServerRefused), connected(options.url, options.username, options.prompt, timeout) as client:
        dataset = _as_served(dataset, client)
        done: list[str] = []
        product = ["server", options.url, options.username, options.prompt]

        def ask(asked: Dataset, how: Options, files: Files) -> Run:
            key = keys(product, asked.files, how)
            result = run(asked, lambda: client, how, recordings=recordings, key=key, progress=_progress)
            done.extend(key(sample) for sample in asked.samples)
            return result

        settings = {"url": options.url, "prompt": options.prompt}
        measured = ask(dataset, how, contents(dataset))
        robustness = _robustness(measured, settings, ask, options) if options.robustness else None
        recordings.forget(done)
    return measured, settings, robustness


def _as_served(dataset: Dataset, client: RemoteClient) -> Dataset:
    """The data set over the files that the server answers from; Refused when some of its own are not among them."""
    served = client.files()
    missing = [name for name, digest in dataset.files.items() if served.get(name) != digest]
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise Refused(
            f"The server does not answer from these files of the data set, or from other versions of them: "
            f"{', '.join(missing[:5])}{more}."
        )
    return replace(dataset, files=served)


def _robustness(
    measured: Run,
    settings: Mapping[str, Any],
    ask: Callable[[Dataset, Options, Mapping[str, Any]], Run],
    options: argparse.Namespace,
) -> dict[str, Any]:
    """The robustness part of a document: each condition beside the plain run."""
    from evals import document
    from evals.conditions import conditions
    from evals.scorers import robustness

    asked: tuple[Sample, ...] = tuple(result.sample for result in measured.results)
    plain = document.as_document(measured, settings)
    how = replace(measured.options, limit=None)
    found: dict[str, Any] = {}
    for condition in conditions(replace(measured.dataset, samples=asked), how.seed, options.noise):
        skipped = condition.skipped
        if not skipped and options.url and condition.dataset.files != measured.dataset.files:
            skipped = WITHOUT_URL
        if skipped:
            found[condition.name] = {"skipped": skipped}
            continue
        run = ask(condition.dataset, how, condition.contents)
        here = document.as_document(run, settings)
        follows = robustness.follows(run, condition.original) if condition.original and not how.search_only else []
        found[condition.name] = {
            "errors": len(run.errors),
            "differences": [_rounded(one) for one in robustness.differences(plain, here, how.seed)],
            "metrics": {metric.name: _rounded(asdict(metric)) for metric in follows},
            "questions": [
                {name: question[name] for name in ("id", "question", "rank", "outcome", "answer", "error")}
                for question in here["questions"]
            ],
        }
    return found


def _judge(options: argparse.Namespace) -> Callable[[Run], dict[str, Any]] | None:
    if not options.judge:
        return None
    if options.search_only:
        raise Refused("There are no answers to judge with --search-only.")
    from chains.errors import UnknownModel
    from chains.models import load_chat_model
    from evals.scorers import judged

    try:
        llm = load_chat_model(options.judge, options.timeout or 60.0)
    except UnknownModel as error:
        raise Refused(str(error).replace("CHAT_MODEL", "--judge")) from error
    if llm is None:
        raise Refused("The extractive answerer cannot judge: name a chat model.")
    judges = judged.load_judges(llm)
    return lambda run: judged.judge(run, options.judge, judges, options.workers, _progress)


@contextmanager
def _refusing(kind: type[Exception]) -> Iterator[None]:
    """Errors of this kind are the user's to mend: their message is all that is shown."""
    try:
        yield
    except kind as error:
        raise Refused(str(error)) from error


@contextmanager
def _recordings(options: argparse.Namespace) -> Iterator[Recordings]:
    from evals.recordings import Recordings

    folder = None
    if not options.no_cache:
        from backend.environment import read_environment

        folder = options.cache or read_environment().data_dir / "evals"
    try:
        recordings = Recordings(folder)
    except OSError as error:
        raise Refused(f"{folder} cannot keep answers: {error.strerror}. Name another with --cache.") from error
    try:
        yield recordings
    finally:
        recordings.close()


def _load(which: str) -> Dataset:
    with _refusing(DatasetError):
        return load_dataset(which)


def _read(path: Path) -> dict[str, Any]:
    from evals.document import NotARun, read

    with _refusing(NotARun):
        return read(path)


def _write_reports(runs: Sequence[Mapping[str, Any]], names: Sequence[str], options: argparse.Namespace) -> None:
    if options.junit:
        from evals import junit

        junit.write(runs[0], options.junit)
    if options.html:
        from evals import page

        page.write(runs, names, options.html)


def _name(options: argparse.Namespace) -> str:
    return options.output.stem if options.output else Path(options.dataset).resolve().name


def _require_folder(path: Path | None) -> None:
    if path and not path.resolve().parent.is_dir():
        raise Refused(f"There is no folder {path.parent} to write {path.name} into.")


def _progress(results: Iterable[Any], total: int) -> Iterable[Any]:
    bar: Iterable[Any] = tqdm(results, total=total, unit="question", file=sys.stderr, disable=None)
    return bar


def _rounded(row: Mapping[str, Any]) -> dict[str, Any]:
    from evals.document import plain

    return {name: plain(value) for name, value in row.items()}
