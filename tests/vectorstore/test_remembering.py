"""Vectors of texts that were embedded lately: the same to the last bit, and the model reads each text once."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from vectorstore import remembering
from vectorstore.embeddings import Embedder
from vectorstore.remembering import Remembering

TEXTS = [f"Parental leave is {weeks} weeks{', paid in full' * (weeks % 4)}." for weeks in range(40)]


class Watched(Embedder):
    """The bundled model, or another one of the same vectors, that tells what it has read."""

    def __init__(self, embedder: Embedder, fingerprint: str = "watched") -> None:
        self.embedder = embedder
        self.fingerprint = fingerprint
        self.read: list[str] = []

    def embed_array(self, texts: Sequence[str]) -> np.ndarray:
        self.read += texts
        return self.embedder.embed_array(texts)


@pytest.fixture(autouse=True)
def _nothing_remembered() -> Iterator[None]:
    remembering._vectors.clear()
    yield
    remembering._vectors.clear()


def test_a_text_is_read_once_and_its_vector_is_the_same_to_the_last_bit(embedder: Embedder) -> None:
    watched = Watched(embedder)
    kept = Remembering(watched)
    kept.embed_array(TEXTS[:7])
    kept.embed_array([TEXTS[3], TEXTS[30], TEXTS[30]])
    np.testing.assert_array_equal(kept.embed_array(TEXTS), embedder.embed_array(TEXTS))
    np.testing.assert_array_equal(kept.embed_array(TEXTS[::-1]), embedder.embed_array(TEXTS)[::-1])
    assert sorted(watched.read) == sorted(TEXTS)


def test_another_model_reads_for_itself(embedder: Embedder) -> None:
    first, second = Watched(embedder, "one"), Watched(embedder, "two")
    for watched in (first, second, first):
        Remembering(watched).embed_array(TEXTS[:3])
    assert first.read == second.read == TEXTS[:3]


def test_what_was_not_asked_for_longest_is_forgotten(embedder: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembering, "TEXTS", 5)
    watched = Watched(embedder)
    kept = Remembering(watched)
    kept.embed_array(TEXTS[:5])
    kept.embed_array(TEXTS[:1])
    kept.embed_array(TEXTS[5:7])
    assert len(remembering._vectors) == 5
    watched.read.clear()
    kept.embed_array([TEXTS[0], TEXTS[6]])
    assert watched.read == []
    kept.embed_array(TEXTS[1:2])
    assert watched.read == TEXTS[1:2]
    np.testing.assert_array_equal(kept.embed_array(TEXTS), embedder.embed_array(TEXTS))  # more than it can remember
    assert len(remembering._vectors) == 5


def test_threads_share_it(embedder: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembering, "TEXTS", 10)
    kept = Remembering(Watched(embedder))
    wanted = embedder.embed_array(TEXTS)
    wrong: list[int] = []

    def work(first: int) -> None:
        for step in range(20):
            rows = [(first * 7 + step * 3 + i) % len(TEXTS) for i in range(6)]
            if not np.array_equal(kept.embed_array([TEXTS[i] for i in rows]), wanted[rows]):
                wrong.append(first)

    threads = [threading.Thread(target=work, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
