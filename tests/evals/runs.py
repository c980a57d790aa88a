"""Runs as `evals run --output` writes them, made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

RATE = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 2, "more_is_better": True, "per_question": True, "yes_no": True}
MEAN = RATE | {"yes_no": False}


def a_run(hits: Sequence[bool], clusters: int = 40, **changes: Any) -> dict[str, Any]:
    """Answerable questions, right at rank 1 and answered, or not found and declined; about so many documents."""
    questions = [
        {
            "id": f"q{number}",
            "question": f"Question {number}?",
            "history": [],
            "answerable": True,
            "references": ["so"],
            "gold": [{"file": f"{number % clusters}.md", "page": None, "text": f"Text {number}"}],
            "about": f"{number % clusters}.md",
            "kind": "",
            "tags": [],
            "error": None,
            "timed_out": False,
            "rank": 1 if hit else None,
            "confidence": 0.9 if hit else 0.1,
            "outcome": "grounded" if hit else "abstained",
            "answer": "It is so. [1]" if hit else "I could not find an answer.",
            "scores": {
                "right answers": float(hit),
                "recall@5": float(hit),
                "MRR@10": float(hit),
                "false refusals": float(not hit),
                "token F1": 0.5 * hit,
            },
            "citations": [],
            "passages": [],
        }
        for number, hit in enumerate(hits)
    ]
    run = {
        "format": 2,
        "dataset": {"name": "made", "digest": "d1" * 32, "questions": len(questions), "files": {"0.md": "00"}},
        "settings": {
            "limit": None,
            "seed": 0,
            "k": 10,
            "search_only": False,
            "models": ["extractive"],
            "prompts": ["default@1"],
            "product": {},
        },
        "metrics": {
            "right answers": RATE | {"value": sum(hits) / len(hits)},
            "recall@5": RATE | {"value": sum(hits) / len(hits)},
            "MRR@10": MEAN,
            "false refusals": RATE | {"more_is_better": False},
            "token F1": MEAN,
            "AURC": MEAN | {"value": None, "low": None, "high": None, "per_question": False},
        },
        "errors": 0,
        "timeouts": 0,
        "usage": {"input_tokens": 0, "output_tokens": 0, "cost": 0, "answers_without_price": 0},
        "risk_coverage": [[0.5, 0.1], [0.9, 0.2]],
        "questions": questions,
        "measured": {
            "reused": 0,
            "latency": {"ask": {"p50_ms": 20.0, "p95_ms": 30.0, "p99_ms": 31.0, "max_ms": 32.0}},
            "milliseconds": {question["id"]: {"ask": 20.0 + i % 7} for i, question in enumerate(questions)},
        },
    }
    return run | changes
