"""An answer as OpenAI's objects: a chat completion, its chunks, its citations as annotations.

What OpenAI's format has no place for stands under the key `footnote`, which its clients pass on.
"""

from __future__ import annotations

import re
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from backend.chat.exchange import describe_passage
from backend.chat.serializers import describe_citation
from chains.model import Answer, Citation

MARKER = re.compile(r"\[(\d{1,4})\]")


@dataclass(frozen=True, slots=True)
class Completion:
    """What all parts of one answer have in common. site: the address of this server, without a slash at its end."""

    model: str
    prompt: str
    site: str
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, answer: Answer, kept: dict[str, str]) -> dict[str, Any]:
        message = {
            "role": "assistant",
            "content": answer.text,
            "refusal": None,
            "annotations": self.annotations(answer),
            "footnote": extension(answer, kept),
        }
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason(answer)}
        return {**self._head("chat.completion"), "choices": [choice], "usage": usage(answer)}

    def chunk(self, delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return {**self._head("chat.completion.chunk"), "choices": [choice]}

    def usage_chunk(self, answer: Answer) -> dict[str, Any]:
        return {**self._head("chat.completion.chunk"), "choices": [], "usage": usage(answer)}

    def annotations(self, answer: Answer) -> list[dict[str, Any]]:
        """One for each marker: text[start_index:end_index], counted in code points, is `[n]`."""
        cited = {citation.n: citation for citation in answer.citations}
        sources = {passage.metadata["version_id"]: passage.metadata["source_id"] for passage in answer.passages}
        return [
            {
                "type": "url_citation",
                "url_citation": {
                    "start_index": marker.start(),
                    "end_index": marker.end(),
                    "title": _title(citation),
                    "url": self._address(citation, sources.get(citation.version_id)),
                },
            }
            for marker in MARKER.finditer(answer.text)
            if (citation := cited.get(int(marker[1])))
        ]

    def _head(self, kind: str) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.prompt,
        }

    def _address(self, citation: Citation, source_id: str | None) -> str:
        """Where the API tells about the file; the fragment (RFC 5147) tells the quote's place in its text."""
        place = f"#char={citation.start},{citation.end}"
        return f"{self.site}/sources/{source_id}{place}" if source_id else f"{self.site}/sources{place}"


def extension(answer: Answer, kept: dict[str, str]) -> dict[str, Any]:
    """The rest of the answer object of POST /chat."""
    return {
        **kept,
        "outcome": answer.outcome,
        "confidence": answer.confidence,
        "grounding": {"claims": answer.claims, "supported": answer.supported, "dropped": answer.dropped},
        "citations": [describe_citation(citation) for citation in answer.citations],
        "retrieved": [describe_passage(passage) for passage in answer.passages],
        "model": answer.model,
        "prompt": answer.prompt,
        "latency_ms": answer.latency_ms,
    }


def usage(answer: Answer) -> dict[str, int]:
    """The chat model's tokens; zeros where none was asked."""
    asked, said = answer.usage["input_tokens"], answer.usage["output_tokens"]
    return {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}


def finish_reason(answer: Answer) -> str:
    """The chat model's: stop, length, content_filter; an abstention is a whole answer too."""
    return "stop" if answer.outcome == "abstained" else answer.finish_reason or "stop"


def _title(citation: Citation) -> str:
    if citation.page:
        return f"{citation.source}, page {citation.page}"
    return f"{citation.source}, {citation.heading[-1]}" if citation.heading else citation.source
