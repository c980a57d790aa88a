"""The passages that `--scale` makes: as many as asked for, of the folder's own sentences, the same every time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from evals import bench, scale
from vectorstore.embeddings import Embedder

SENTENCES = scale.read_sentences(bench.SHIPPED)


def test_the_shipped_folder_holds_enough_text() -> None:
    assert len(scale.make_questions(SENTENCES)) == scale.QUESTIONS + scale.WARM_UP


def test_as_many_different_passages_as_asked_for_in_files_for_each_filter() -> None:
    files = scale.make_files(SENTENCES, 1_010)
    passages = [part for text in files.values() for part in text.decode().split("\n\n") if not part.startswith("#")]
    assert len(passages) == 1_010
    assert len(set(passages)) > 1_000
    known = {sentence for text in SENTENCES for sentence in text}
    assert {line.strip() for passage in passages for line in passage.splitlines()} <= known
    assert [path for path in files if not path.startswith(f"{scale.REST}/")] == [scale.LONE]
    halves = [path for path in files if path.startswith(f"{scale.HALF}/")]
    assert abs(len(halves) - len(files) / 2) <= 1
    assert files == scale.make_files(SENTENCES, 1_010)


def test_a_passage_has_the_mean_of_its_sentences_and_no_two_have_the_same(embedder: Embedder) -> None:
    some = SENTENCES[0][:4]
    means = scale.SentenceMeans(embedder, some)
    [first, again, other, unknown] = means.embed_array(
        ["\n".join(some), "\n".join(some), "Title\n\n" + "\n".join(some), "Lunch is free."]
    )
    mean = embedder.embed_array(some).mean(axis=0)
    assert np.array_equal(first, again)
    assert first @ mean / np.linalg.norm(mean) == pytest.approx(1, abs=0.05)
    assert 0.9 < first @ other < 1
    assert np.linalg.norm(first) == pytest.approx(1, abs=1e-6)
    assert unknown == pytest.approx(embedder.embed_array(["Lunch is free."])[0])


@pytest.mark.parametrize("value", ["", "many", "0", "1000,99", "-5"])
def test_sizes_that_are_none_are_refused(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench.main([f"--scale={value}"])
    assert "numbers from 100 on" in capsys.readouterr().err


def test_a_folder_without_text_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["--scale=100", str(tmp_path)]) == 2
    assert "holds no text file" in capsys.readouterr().err
