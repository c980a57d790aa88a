"""Whether a quote is what it says it is.

A citation is valid when its quote is not empty and equals the source's text between its offsets, character for
character: `text[start:end] == quote`. Nothing is forgiven, neither whitespace nor case. Validity says that the words
stand there, not that they support the answer; answers made of quotes reach 1.0 easily, so read it beside recall and
refusals. (Quote verification as in Menick et al. 2022, arXiv 2203.11147, where quotes are verbatim by construction.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def is_valid(citation: Mapping[str, Any], source_text: str | None) -> bool:
    """Whether the citation holds against the text of its source; without a text (no such source) it does not."""
    quote, start, end = citation.get("quote"), citation.get("start"), citation.get("end")
    if source_text is None or not quote or not isinstance(start, int) or not isinstance(end, int):
        return False
    # Negative offsets would count from the end of the text.
    return 0 <= start < end <= len(source_text) and source_text[start:end] == quote
