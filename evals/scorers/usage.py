"""Tokens and cost, as the chat model's server counts them and the product prices them.

Cost is in the currency of the product's prices. Where a model's price is not known, its cost is not known either; such
answers are counted apart and not as free.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from evals.recordings import Recording


def totals(recordings: Iterable[Recording]) -> dict[str, Any]:
    """Sums over all answers: input_tokens, output_tokens, cost, and the number of answers without a price."""
    usages = [recording.reply["usage"] for recording in recordings if recording.reply]
    costs = [usage.get("cost") for usage in usages]
    return {
        "input_tokens": sum(usage.get("input_tokens") or 0 for usage in usages),
        "output_tokens": sum(usage.get("output_tokens") or 0 for usage in usages),
        "cost": round(sum(cost for cost in costs if cost is not None), 6),
        "answers_without_price": sum(cost is None for cost in costs),
    }
