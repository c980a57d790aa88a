"""OpenAI's wire format, as far as the stand-ins for a model speak it: completions, chunks of a stream, embeddings."""

from __future__ import annotations

import base64
import re
import struct
import zlib
from typing import Any

DIMENSIONS = 64  # of the embeddings
Messages = list[dict[str, Any]]


def chunk(request: dict[str, Any], delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
    """One event of a stream."""
    return {
        "id": "chatcmpl-test",
        "object": "chat.completion.chunk",
        "created": 0,
        "model": request["model"],
        "choices": [{"index": 0, "delta": delta, "finish_reason": reason}],
    }


def last_chunks(request: dict[str, Any], text: str) -> list[dict[str, Any]]:
    """What comes after the text: the reason why it ends, and the token counts when they were asked for."""
    chunks = [chunk(request, {}, "stop")]
    if (request.get("stream_options") or {}).get("include_usage"):
        chunks.append({**chunk(request, {}), "choices": [], "usage": usage(request, text)})
    return chunks


def completion(request: dict[str, Any], text: str) -> dict[str, Any]:
    """An answer that is not streamed."""
    return {
        "id": "chatcmpl-test",
        "object": "chat.completion",
        "created": 0,
        "model": request["model"],
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": usage(request, text),
    }


def usage(request: dict[str, Any], text: str) -> dict[str, int]:
    asked = sum(len(str(message["content"]).split()) for message in request["messages"])
    said = len(text.split())
    return {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}


def pieces(text: str) -> list[str]:
    """The text as a stream brings it: word by word, each after the first with the space before it."""
    return [word if i == 0 else f" {word}" for i, word in enumerate(text.split(" "))]


def embeddings(request: dict[str, Any]) -> dict[str, Any]:
    """Words thrown into DIMENSIONS bins: texts that share words are near."""
    texts = request["input"] if isinstance(request["input"], list) else [request["input"]]
    rows = []
    for i, text in enumerate(texts):
        vector = [0.001] * DIMENSIONS
        for word in re.findall(r"\w+", text.casefold()):
            vector[zlib.crc32(word.encode()) % DIMENSIONS] += 1.0
        if request.get("encoding_format") == "base64":
            packed = base64.b64encode(struct.pack(f"<{DIMENSIONS}f", *vector)).decode()
            rows.append({"object": "embedding", "index": i, "embedding": packed})
        else:
            rows.append({"object": "embedding", "index": i, "embedding": vector})
    return {"object": "list", "model": request["model"], "data": rows, "usage": {"prompt_tokens": 0, "total_tokens": 0}}
