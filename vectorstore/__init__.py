"""Chunks become searchable: embeddings, the vector index, the word index, the retriever. Knows nothing of Django."""

import sys

# OpenVINO reports each import of itself to its makers, unless its package for that is missing. To it, it is.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
