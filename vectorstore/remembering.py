"""Vectors of texts that were embedded lately, so that a sentence that many questions lead to is read once by the model,
or paid for once.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from vectorstore.embeddings import Embedder

TEXTS = 8192  # of 384 dimensions about 14 MB

_vectors: OrderedDict[bytes, np.ndarray] = OrderedDict()  # of all models, least lately used first
_lock = threading.Lock()


class Remembering:
    """Embeds as its model does, to the last bit. Of a text its hash alone is kept. Threads may share it."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    def embed_array(self, texts: Sequence[str]) -> np.ndarray:
        """As Embedder.embed_array, of one text at least."""
        keys = [self._key(text) for text in texts]
        found: dict[bytes, np.ndarray] = {}
        with _lock:
            for key in keys:
                if key in _vectors:
                    _vectors.move_to_end(key)
                    found[key] = _vectors[key]
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in found}
        if missing:
            made = self._embedder.embed_array(list(missing.values()))
            found.update(zip(missing, (vector.copy() for vector in made), strict=True))
            with _lock:
                _vectors.update((key, found[key]) for key in missing)
                while len(_vectors) > TEXTS:
                    _vectors.popitem(last=False)
        return np.stack([found[key] for key in keys])

    def _key(self, text: str) -> bytes:
        return hashlib.blake2b(f"{self._embedder.fingerprint}\n{text}".encode(), digest_size=16).digest()
