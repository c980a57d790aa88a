"""What came back is kept under everything it depends on, and survives a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from chains.errors import UnknownPrompt
from evals.identity import keys, product_settings
from evals.recordings import Passage, Recording, Recordings, digest, processor, product_digest
from evals.runner import Options
from evals.samples import ROOT, Sample, Turn

RECORDING = Recording(
    (Passage("a.md", "text ü", 0.5, 3, ("A", "B")), Passage("b.md", "", 0.25)),
    {"answer": "x", "outcome": "grounded", "citations": [{"n": 1}], "confidence": 0.75},
    ("text", None),
    {"search": 0.01},
)


def test_a_recording_is_read_as_it_was_written(tmp_path: Path) -> None:
    first = Recordings(tmp_path / "new" / "folder")
    first.put("a", RECORDING)
    first.put("b", Recording((), seconds={"search": 1.0}))
    first.close()
    again = Recordings(tmp_path / "new" / "folder")
    assert again.get("a") == RECORDING
    assert again.get("b") == Recording((), seconds={"search": 1.0})
    assert again.get("c") is None
    again.forget(["a", "c"])
    assert again.get("a") is None


def test_several_threads_share_it(tmp_path: Path) -> None:
    recordings = Recordings(tmp_path)

    def put(n: int) -> None:
        for i in range(20):
            recordings.put(f"{n}:{i}", RECORDING)

    threads = [threading.Thread(target=put, args=(n,)) for n in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(recordings.get(f"{n}:{i}") == RECORDING for n in range(5) for i in range(20))


def test_a_kill_loses_nothing_that_was_put(tmp_path: Path) -> None:
    code = """
        import sys
        from pathlib import Path
        from evals.recordings import Recording, Recordings
        recordings = Recordings(Path(sys.argv[1]))
        for i in range(1000):
            recordings.put(str(i), Recording((), seconds={"search": float(i)}))
            print(i, flush=True)
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = [int(process.stdout.readline()) for _ in range(20)]
        os.kill(process.pid, signal.SIGKILL)
        told += [int(line) for line in process.stdout.read().splitlines()]
    recordings = Recordings(tmp_path)
    assert all(recordings.get(str(i)) is not None for i in told)


def test_the_key_follows_everything_that_an_answer_depends_on() -> None:
    base = keys(["p", 1], {"a.md": "00"}, Options())
    sample = Sample("q", "Why?")
    others = [
        keys(["p", 2], {"a.md": "00"}, Options())(sample),
        keys(["p", 1], {"a.md": "01"}, Options())(sample),
        keys(["p", 1], {"b.md": "00"}, Options())(sample),
        keys(["p", 1], {"a.md": "00"}, Options(k=5))(sample),
        keys(["p", 1], {"a.md": "00"}, Options(search_only=True))(sample),
        base(Sample("q", "How?")),
        base(Sample("q", "Why?", history=(Turn("user", "Hm."),))),
    ]
    assert len({base(sample), *others}) == 8
    assert base(sample) == keys(["p", 1], {"a.md": "00"}, Options(limit=3, seed=9, workers=4))(
        Sample("other", "Why?", ("answer",))
    ), "what is scored by, and how fast it is asked, changes no answer"


def test_settings_that_matter_are_in_and_those_that_do_not_are_out(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = product_settings({})
    assert plain["prompt"].startswith("default@")
    assert plain["chat_model"] == "extractive"
    assert plain.keys().isdisjoint({"secret_key", "database_url", "port", "data_dir"})
    monkeypatch.setenv("NO_MATCH", "model")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    assert product_settings({})["no_match"] == "model"
    assert "servers" not in product_settings({}), "the extractive answerer asks no server"
    with_model = product_settings({"CHAT_MODEL": "openai:x", "PROMPT": "brief"})
    assert with_model["servers"] == {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}
    assert with_model["prompt"].startswith("brief@")
    with pytest.raises(UnknownPrompt):
        product_settings({"PROMPT": "nobody"})


def test_digests_are_stable() -> None:
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1}) != digest({"a": 1, "b": [3]})
    assert product_digest() == product_digest()
    assert processor() == processor() != ""
