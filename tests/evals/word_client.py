"""A Client over texts in memory, to test runs without the product: it finds by shared words and quotes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from evals.samples import Turn


@dataclass(frozen=True)
class WordClient:
    """One passage per source. Abstains when the question shares no word with any; fails on the questions `explode` and
    `wait`.
    """

    texts: dict[str, str]

    def search(self, question: str, k: int, history: Sequence[Turn] = ()) -> list[dict[str, Any]]:
        words = set(" ".join([*(turn.content for turn in history), question]).lower().split())
        scored = [(len(words & set(text.lower().split())), name) for name, text in self.texts.items()]
        best = sorted(((score, name) for score, name in scored if score), key=lambda pair: (-pair[0], pair[1]))
        return [
            {"source": name, "page": None, "heading": [], "text": self.texts[name], "score": score, "chunk_id": name}
            for score, name in best[:k]
        ]

    def ask(self, question: str, history: Sequence[Turn]) -> dict[str, Any]:
        if question == "explode":
            raise ConnectionError("the model\nis down")
        if question == "wait":
            raise RuntimeError("no answer") from TimeoutError()
        found = self.search(question, 1, history)
        citations = [
            {
                "n": 1,
                "source": row["source"],
                "page": None,
                "heading": [],
                "start": 0,
                "end": len(row["text"]),
                "quote": row["text"],
                "score": 1 / 3,
            }
            for row in found
        ]
        return {
            "answer": found[0]["text"] if found else "The documents do not hold the answer.",
            "outcome": "grounded" if found else "abstained",
            "confidence": found[0]["score"] / 10 if found else 0.0,
            "citations": citations,
            "model": "words",
            "prompt": "default@1",
            "latency_ms": {"retrieve": 1.0, "generate": 2.0, "total": 3.0},
            "usage": {"input_tokens": 10, "output_tokens": 2, "cost": None if question == "and" else 0.5},
            "message_id": uuid4().hex,
        }

    def source_text(self, source: str, start: int, end: int) -> str | None:
        text = self.texts.get(source)
        return None if text is None else text[start:end]
