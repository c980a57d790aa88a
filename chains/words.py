"""Content words and figures of a text, as the checks without a model compare them."""

from __future__ import annotations

import re
import unicodedata
from functools import cache, lru_cache

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
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*(?:\s*(?:%|per\s?cent\b))?", re.IGNORECASE)
_SPACED = re.compile(r"(?<=\d)[\u00a0\u2009\u202f](?=\d{3}(?:\D|$))")  # thousands are set apart by narrow blanks, too
_TEENS = (
    "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen "
    "nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_SPELLED = re.compile(rf"\b(?:({'|'.join(_TENS)})(?:[-\s](one|{'|'.join(_TEENS[:8])}))?|({'|'.join(_TEENS)}))\b", re.I)
_SPELLED_WORDS = frozenset(_TEENS + _TENS)
_SUFFIXES = ("ations", "ation", "ings", "ing", "edly", "ies", "ied", "ers", "est", "ment", "ed", "es", "er", "ly", "s")


def content_words(text: str) -> set[str]:
    """Lower-case word stems without function words and bare numbers."""
    return set(_content_words(text))


@lru_cache(maxsize=4096)  # the sentences of a passage are compared with each claim of an answer
def _content_words(text: str) -> frozenset[str]:
    folded = unicodedata.normalize("NFKC", text).casefold()
    words = (match.group().replace("’", "'").partition("'")[0] for match in _WORD.finditer(folded))
    return frozenset(stem(word) for word in words if word not in STOPWORDS and len(word) > 1 and not word.isdigit())


def numbers(text: str) -> set[str]:
    """Figures of a text, however they are written: "1,500 in 2023" gives {"1500", "2023"}, "twelve" {"12"}, "5 percent"
    {"5", "5%"}, "08:00" {"8"}, and a range its ends. "one" is mostly no figure and left out.
    """
    folded = unicodedata.normalize("NFKC", _SPACED.sub("", text))
    found = set()
    for match in _NUMBER.finditer(folded):
        figure = re.match(r"[\d.,:]*\d", match.group())
        assert figure is not None  # noqa: S101 (the pattern begins with a digit)
        plain = re.sub(r"(?<=\d),(?=\d{3}(?:\D|$))", "", figure.group())
        plain = re.sub(r"^0+(?=\d)|:00$", "", plain)
        found |= {plain} if plain and match.group()[-1].isdigit() else {plain, f"{plain}%"}
    if _SPELLED_WORDS.isdisjoint(re.split(r"[\W\d_]+", folded.casefold())):
        return found
    return found | {_value(*match.groups("")) for match in _SPELLED.finditer(folded)}


@cache
def number_words() -> frozenset[str]:
    """The stems of the words that `numbers` reads."""
    return frozenset(content_words(" ".join((*_TEENS, *_TENS, "one percent cent"))))


def _value(tens: str, ones: str, teens: str) -> str:
    if teens:
        return str(_TEENS.index(teens.casefold()) + 2)
    rest = ["", "one", *_TEENS].index(ones.casefold())
    return str(10 * (_TENS.index(tens.casefold()) + 2) + rest)


@lru_cache(maxsize=65536)
def stem(word: str) -> str:
    """The word in lower case without a common English ending; crude on purpose, as both sides are cut alike."""
    word = word.casefold()
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= 3:
            return word[: -len(suffix)]
    return word
