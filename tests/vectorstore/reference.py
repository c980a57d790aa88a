"""all-MiniLM-L6-v2 in numpy and float32, one text at a time: slow and plain, to check the fast one by.

BERT: Devlin et al. 2018, arXiv 1810.04805; attention: Vaswani et al. 2017, arXiv 1706.03762; GELU by its
error function.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import cache

import numpy as np
from tokenizers import Tokenizer

from vectorstore.embeddings import MAX_TOKENS, _package_folder

_erf = np.vectorize(math.erf, otypes=[np.float32])


def embed(texts: Sequence[str]) -> np.ndarray:
    """Vectors of unit length, float32 of shape (texts, 384)."""
    return np.stack([_embed(text) for text in texts])


def _embed(text: str) -> np.ndarray:
    w = _weights()
    ids = _tokenizer().encode(text).ids
    x = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.position_embeddings.weight"][: len(ids)]
    x = _norm(x + w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    for layer in range(6):
        at = f"encoder.layer.{layer}"
        q, k, v = (_linear(x, f"{at}.attention.self.{n}").reshape(-1, 12, 32) for n in ("query", "key", "value"))
        scores = np.einsum("ihd,jhd->hij", q, k) / math.sqrt(32)
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        context = np.einsum("hij,jhd->ihd", scores / scores.sum(-1, keepdims=True), v).reshape(-1, 384)
        x = _norm(x + _linear(context, f"{at}.attention.output.dense"), f"{at}.attention.output.LayerNorm")
        inner = _linear(x, f"{at}.intermediate.dense")
        inner = inner * 0.5 * (1 + _erf(inner / math.sqrt(2)))
        x = _norm(x + _linear(inner, f"{at}.output.dense"), f"{at}.output.LayerNorm")
    mean = x.mean(0)
    return np.asarray(mean / np.linalg.norm(mean), np.float32)


def _linear(x: np.ndarray, name: str) -> np.ndarray:
    w = _weights()
    return np.asarray(x @ w[f"{name}.weight"].T + w[f"{name}.bias"])


def _norm(x: np.ndarray, name: str) -> np.ndarray:
    w = _weights()
    centred = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12)
    return np.asarray(centred * w[f"{name}.weight"] + w[f"{name}.bias"])


@cache
def _weights() -> dict[str, np.ndarray]:
    raw = (_package_folder() / "model.safetensors").read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + size])
    return {
        name: np.frombuffer(raw[8 + size :][slice(*entry["data_offsets"])], np.float32).reshape(entry["shape"])
        for name, entry in header.items()
        if name != "__metadata__" and entry["dtype"] == "F32"
    }


@cache
def _tokenizer() -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(_package_folder() / "tokenizer.json"))
    tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.no_padding()
    return tokenizer
