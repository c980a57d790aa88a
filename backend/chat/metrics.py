"""What was answered, for GET /metrics."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from backend.api.metrics import registry
from chains.model import Answer

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)

ANSWERS = Counter("footnote_chat_answers", "Answers by outcome.", ["outcome"], registry=registry)
CUT = Counter("footnote_chat_cut", "Answers whose reader hung up before their end.", registry=registry)
FAILED = Counter("footnote_chat_failed", "Questions that got no answer, by error code.", ["code"], registry=registry)
STAGES = Histogram(
    "footnote_chat_stage_seconds", "Seconds of each stage of an answer.", ["stage"], buckets=BUCKETS, registry=registry
)
FIRST_TOKEN = Histogram(
    "footnote_chat_first_token_seconds",
    "Seconds from the turn to the first word of a streamed answer.",
    buckets=BUCKETS,
    registry=registry,
)
TOKENS = Counter("footnote_chat_tokens", "Tokens of chat models by direction.", ["direction"], registry=registry)
COST = Counter("footnote_chat_cost", "In the price table's currency.", registry=registry)
UNPRICED = Counter("footnote_chat_unpriced", "Answers of models whose price is not known.", registry=registry)
SEATS = Gauge(
    "footnote_chat_seats_taken", "Answers that are being written.", registry=registry, multiprocess_mode="livesum"
)


def note_answer(answer: Answer, cost: float | None, *, cut: bool) -> None:
    """An answer that was stored."""
    ANSWERS.labels(answer.outcome).inc()
    if cut:
        CUT.inc()
    for stage, milliseconds in answer.latency_ms.items():
        STAGES.labels(stage).observe(milliseconds / 1000)
    TOKENS.labels("input").inc(answer.usage["input_tokens"])
    TOKENS.labels("output").inc(answer.usage["output_tokens"])
    if cost is None:
        UNPRICED.inc()
    else:
        COST.inc(cost)
