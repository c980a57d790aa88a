"""all-MiniLM-L6-v2 as an OpenVINO graph, built from its safetensors: BERT encoder, mean pooling, L2 norm.

The architecture is BERT's (Devlin et al. 2018, arXiv 1810.04805) with the sizes of the model's config.json: 6 layers,
hidden size 384, 12 heads; the pooling is that of its sentence-transformers modules. Shapes: `input_ids` and
`attention_mask` are int64 (texts, tokens), the result is float32 (texts, 384) of unit length.

The matrices of the linear layers are kept as int8, one scale for each output: `weight = int8 * scale`, with the scale
that makes the largest of the output's weights 127 (symmetric per-channel quantization, arXiv 1806.08342, section 2.2).
"""

from __future__ import annotations

import json
import mmap
from pathlib import Path
from typing import Any

import numpy as np

LAYERS, HEADS, HIDDEN, EPSILON = 6, 12, 384, 1e-12


def build_graph(weights: Path) -> Any:
    """The `openvino.Model` of the weights file."""
    import openvino as ov
    from openvino import opset13 as op

    tensors = _read_safetensors(weights)

    def constant(name: str) -> Any:
        return op.constant(tensors[name])

    def linear(x: Any, name: str) -> Any:
        weight = tensors[f"{name}.weight"]
        scale = np.abs(weight).max(axis=1, keepdims=True) / np.float32(127)
        rounded = op.constant(np.round(weight / scale).astype(np.int8))
        matrix = op.multiply(op.convert(rounded, "f32"), op.constant(scale))
        return op.add(op.matmul(x, matrix, False, True), constant(f"{name}.bias"))

    def norm(x: Any, name: str) -> Any:
        centred = op.mvn(x, op.constant(np.array([-1])), True, EPSILON, "inside_sqrt")
        return op.add(op.multiply(centred, constant(f"{name}.weight")), constant(f"{name}.bias"))

    def heads(x: Any) -> Any:
        split = op.reshape(x, op.constant(np.array([0, 0, HEADS, HIDDEN // HEADS])), True)
        return op.transpose(split, op.constant(np.array([0, 2, 1, 3])))

    ids = op.parameter([-1, -1], np.int64, "input_ids")
    mask = op.parameter([-1, -1], np.int64, "attention_mask")
    ids.output(0).get_tensor().set_names({"input_ids"})
    mask.output(0).get_tensor().set_names({"attention_mask"})
    zero, one = op.constant(np.array(0)), op.constant(np.array(1))

    length = op.gather(op.shape_of(ids), one, zero)
    positions = op.range(zero, length, one, "i64")
    x = op.add(
        op.gather(constant("embeddings.word_embeddings.weight"), ids, zero),
        op.gather(constant("embeddings.position_embeddings.weight"), positions, zero),
    )
    x = op.add(x, op.constant(tensors["embeddings.token_type_embeddings.weight"][0]))
    x = norm(x, "embeddings.LayerNorm")

    as_float = op.convert(mask, "f32")
    hidden_keys = op.multiply(op.subtract(as_float, op.constant(np.float32(1))), op.constant(np.float32(1e4)))
    bias = op.unsqueeze(hidden_keys, op.constant(np.array([1, 2])))
    for layer in range(LAYERS):
        at = f"encoder.layer.{layer}"
        query, key, value = (heads(linear(x, f"{at}.attention.self.{part}")) for part in ("query", "key", "value"))
        context = op.transpose(
            op.scaled_dot_product_attention(query, key, value, bias), op.constant(np.array([0, 2, 1, 3]))
        )
        joined = op.reshape(context, op.constant(np.array([0, 0, HIDDEN])), True)
        x = norm(op.add(x, linear(joined, f"{at}.attention.output.dense")), f"{at}.attention.output.LayerNorm")
        inner = op.gelu(linear(x, f"{at}.intermediate.dense"), "erf")
        x = norm(op.add(x, linear(inner, f"{at}.output.dense")), f"{at}.output.LayerNorm")

    weight = op.unsqueeze(as_float, op.constant(np.array([2])))
    tokens = op.constant(np.array([1]))
    mean = op.divide(
        op.reduce_sum(op.multiply(x, weight), tokens, False),
        op.maximum(op.reduce_sum(weight, tokens, False), op.constant(np.float32(1e-9))),
    )
    unit = op.normalize_l2(mean, op.constant(np.array([1])), 1e-12, "max")
    return ov.Model([op.result(op.convert(unit, "f32"))], [ids, mask], "all-MiniLM-L6-v2")


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """Name to array, mapped from the file. The format: 8 bytes of header length, a JSON header, the data."""
    with path.open("rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__" or entry["dtype"] != "F32":
            continue
        start, end = entry["data_offsets"]
        flat = np.frombuffer(data, np.float32, (end - start) // 4, 8 + size + start)
        tensors[name] = flat.reshape(entry["shape"])
    return tensors
