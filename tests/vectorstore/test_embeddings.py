"""The bundled model gives the vectors of the reference, whatever the texts and however they are batched."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from langchain_core.embeddings import Embeddings

from tests.vectorstore import reference
from vectorstore import embeddings
from vectorstore.embeddings import Embedder, MiniLM, embed_passages, load_embeddings
from vectorstore.errors import EmbeddingsUnavailable

TEXTS = [
    "How long is parental leave?",
    "Parental leave is 16 weeks, paid in full.",
    "The boiling point of tungsten is 5555 °C.",
    "def main() -> None:\n    print('hello')",
    "Größe, naïve, 漢字, العربية, 🙂",
    "a",
    "",
    "   \n\t ",
    "word " * 2_000,
    "The committee met again in the spring and approved the budget for the coming year. " * 12,
    "x" * 5_000,
]


def test_vectors_are_those_of_the_reference(embedder: Embedder) -> None:
    cosines = (embedder.embed_array(TEXTS) * reference.embed(TEXTS)).sum(1)
    assert cosines.mean() >= 0.99
    assert cosines.min() >= 0.98


def test_kept_vectors_have_not_moved(embedder: Embedder) -> None:
    """The first five numbers of two vectors, so that reference and model cannot drift away together."""
    vectors = embedder.embed_array(["How long is parental leave?", "The office in Oslo opens at 8."])
    assert vectors[:, :5] == pytest.approx(np.array(KEPT), abs=0.01)


KEPT = [[0.039, -0.010, 0.026, 0.037, 0.099], [0.027, 0.041, 0.062, 0.008, -0.025]]


def test_a_vector_does_not_depend_on_its_company(embedder: Embedder) -> None:
    alone = np.concatenate([embedder.embed_array([text]) for text in TEXTS])
    assert (alone * embedder.embed_array(TEXTS)).sum(1).min() > 0.999
    assert np.array_equal(embedder.embed_array(TEXTS), embedder.embed_array(TEXTS))


def test_it_is_a_langchain_embeddings(embedder: Embedder) -> None:
    assert isinstance(embedder, Embeddings)
    assert embedder.embed_query("office") == pytest.approx(embedder.embed_documents(["office"])[0])
    assert len(embedder.embed_query("office")) == embedder.dimensions == 384
    assert embedder.embed_documents([]) == []


def test_many_threads_get_the_same_vectors(embedder: Embedder) -> None:
    expected = embedder.embed_array(TEXTS)
    with ThreadPoolExecutor(8) as pool:
        for vectors in pool.map(lambda _: embedder.embed_array(TEXTS), range(16)):
            assert (vectors * expected).sum(1).min() > 0.999


def test_a_question_does_not_wait_for_the_batches_of_a_sync(embedder: Embedder) -> None:
    """A question beside an endless sync is answered in the middle of one call's batches, not after them."""
    long_call = [f"Passage {number} " + "about the budget of the coming year " * 30 for number in range(96)]
    embedder.embed_query("both models are loaded")
    with ThreadPoolExecutor(1) as pool:
        sync = pool.submit(embedder.embed_array, long_call)
        asked = 0
        while not sync.done():
            embedder.embed_query(f"How long is leave number {asked}?")
            asked += 1
    assert asked > 3 * len(long_call) / embeddings.BATCH_TEXTS, "several for each batch"


def test_the_first_inferences_of_a_process_do_not_wait_for_each_other(embedder: MiniLM) -> None:
    """A question beside the first batch of a sync, in new processes; each way round happens in some of them."""
    script = (
        "import sys, threading; from pathlib import Path; from vectorstore.embeddings import MiniLM\n"
        "model, start = MiniLM(Path(sys.argv[1])), threading.Barrier(4)\n"
        "def embed(texts): start.wait(); model.embed_array(texts)\n"
        "works = [threading.Thread(target=embed, args=[['word'] * n]) for n in (1, 1, 8, 8)]\n"
        "[work.start() for work in works]; [work.join() for work in works]"
    )
    for _ in range(4):
        done = subprocess.run([sys.executable, "-c", script, embedder.cache], timeout=60, check=False)
        assert done.returncode == 0


def test_a_faq_pair_lies_half_way_between_its_question_and_the_whole(embedder: Embedder) -> None:
    question, pair = "How do I log in?", "How do I log in?\nUse your mail address."
    both = embedder.embed_array([question, pair])
    halfway = both.sum(0) / np.linalg.norm(both.sum(0))
    vectors = embed_passages(embedder, [pair, "Other text."], [question, None])
    assert float(vectors[0] @ halfway) == pytest.approx(1, abs=1e-3)
    assert float(vectors[1] @ embedder.embed_array(["Other text."])[0]) == pytest.approx(1, abs=1e-3)


def test_processes_that_convert_at_once_all_end_up_with_one_model(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from vectorstore.embeddings import load_embeddings\n"
        "print(len(load_embeddings('minilm', Path(sys.argv[1])).embed_query('a')))"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert [process.communicate()[0].strip() for process in started] == ["384"] * 3
    assert [path.name.startswith("minilm-") for path in (tmp_path / "models").iterdir()] == [True]


def test_other_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(b"other")
    (tmp_path / "model" / "tokenizer.json").write_bytes(embeddings.tokenizer_path().read_bytes())
    monkeypatch.setattr(embeddings, "_package_folder", lambda: tmp_path / "model")
    with pytest.raises(EmbeddingsUnavailable, match="sha256"):
        load_embeddings("minilm", tmp_path).embed_query("a")


@pytest.mark.parametrize("name", ["nonsense", "nobody:model"])
def test_an_unknown_model_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(EmbeddingsUnavailable, match=name):
        load_embeddings(name, tmp_path).embed_query("a")
