"""The real tokeniser, and the loaders in this process; the process of its own is for test_parser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from loaders.chunking import Tokens
from loaders.model import LoadedSource
from loaders.registry import Limits, read_source
from tests.folder import write
from vectorstore.embeddings import tokenizer_path

ReadFile = Callable[..., LoadedSource]


@pytest.fixture(scope="session")
def tokens() -> Tokens:
    return Tokens(tokenizer_path())


@pytest.fixture
def read(tmp_path: Path, tokens: Tokens) -> ReadFile:
    """Write a file and read it; the law of offsets is checked for every chunk."""

    def run(name: str, content: str | bytes | None = None, limits: Limits | None = None) -> LoadedSource:
        path = tmp_path / name if content is None else write(tmp_path, name, content)
        loaded = read_source(path, name, limits or Limits(), tokens)
        check_law(loaded, tokens)
        return loaded

    return run


def check_law(loaded: LoadedSource, tokens: Tokens) -> None:
    """Every chunk is the source text at its offsets, in order, without overlap, and small enough to be read whole."""
    last = 0
    for chunk in loaded.chunks:
        assert loaded.text[chunk.start : chunk.end] == chunk.text
        assert chunk.text.strip()
        assert chunk.start >= last
        assert len(tokens(chunk.embed_text)) <= 254
        last = chunk.end
