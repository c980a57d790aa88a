"""Content words and figures of a text, as the checks without a model compare them."""

from __future__ import annotations

import re
import unicodedata

# Function words of English; what is left carries the claim.
STOPWORDS = frozenset(
    "a about above after again all also am an and any are as at be because been before being below between both but by "
    "can could did do does doing done down during each few for from further get gets had has have having he her here "
    "hers him his how i if in into is it its itself just let like may me might more most must my no nor not of off on "
    "once one only or other our ours out over own please same shall she should so some such tell than that the their "
    "theirs them then there these they this those through to too under until up upon us very was we were what when "
    "where which while who whom whose why will with without would you your yours yes".split()
)
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
_NUMBER = re.compile(r"\d+(?:[.,:/-]\d+)*")
_SUFFIXES = ("ations", "ation", "ings", "ing", "edly", "ies", "ied", "ers", "est", "ment", "ed", "es", "er", "ly", "s")


def content_words(text: str) -> set[str]:
    """Lower-case word stems without function words and bare numbers."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    words = (re.sub(r"['’]\w*$", "", match.group()) for match in _WORD.finditer(folded))
    return {_stem(word) for word in words if word not in STOPWORDS and len(word) > 1 and not word.isdigit()}


def numbers(text: str) -> set[str]:
    """Figures of a text without thousands separators: "1,500 in 2023" gives {"1500", "2023"}."""
    folded = unicodedata.normalize("NFKC", text)
    return {re.sub(r"(?<=\d),(?=\d{3}(?:\D|$))", "", match.group()) for match in _NUMBER.finditer(folded)}


def _stem(word: str) -> str:
    """Cut a common English ending; crude on purpose, both sides of a comparison are cut alike."""
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= 3:
            return word[: -len(suffix)]
    return word
