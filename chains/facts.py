"""What a sentence commits itself to beside its words: dates, names, and whether it says yes or no.

Found by form, without a model, so each is narrow on purpose: a date is one that names a month or is written as ISO 8601
or with dots (`3/5/2021` is two dates, depending on the reader); a name is a capitalised word; a negation is one of few
words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from chains.sentences import split
from chains.words import STOPWORDS, content_words, stem

Date = tuple[int | None, int | None, int | None]  # year, month, day

_MONTHS = "January February March April May June July August September October November December".split()
# Capitalised, so that "may 15 users" is none.
_MONTH = f"(?P<month>{'|'.join(_MONTHS)}|{'|'.join(name[:3] for name in _MONTHS)}|Sept)\\.?"
_BEFORE_MONTH = "after|before|by|during|each|every|from|in|last|next|of|since|this|through|to|until"
_DATES = [
    re.compile(pattern)
    for pattern in (
        r"\b(?P<year>\d{4})-(?P<number>0[1-9]|1[0-2])-(?P<day>[0-3]\d)\b",
        r"\b(?P<day>0?[1-9]|[12]\d|3[01])\.(?P<number>0?[1-9]|1[0-2])\.(?P<year>(?:1[5-9]|20)\d\d)\b",
        rf"\b(?P<day>[0-3]?\d)(?:st|nd|rd|th)?\s+(?:of\s+)?{_MONTH}(?:,?\s+(?P<year>\d{{4}}))?\b",
        rf"\b{_MONTH}\s+(?P<day>[0-3]?\d)(?:st|nd|rd|th)?\b(?:,?\s+(?P<year>\d{{4}}))?",
        rf"\b{_MONTH}\s+(?P<year>\d{{4}})\b",
        rf"\b(?:{_BEFORE_MONTH})\s+(?P<month>{'|'.join(_MONTHS)})\b",
    )
]
_MAY_HAVE_DATES = re.compile(rf"\d{{4}}-|\d\.\d|{'|'.join(name[:3] for name in _MONTHS)}")
_NAME = re.compile(r"[^\W\d_]\w*")
# What may follow a name that begins a sentence; other function words do not ("Submit the form", "Based on it").
_VERBS = frozenset(
    "is was are were has had have get gets got will can could does did do may might must would should shall".split()
)
_OPENERS = frozenset(
    "according another anybody anyone based each every everybody everyone finally first furthermore however instead "
    "many moreover nobody one per please second several since somebody someone therefore today two three unless "
    "whether within".split()
)
# German writes every noun with a capital: there, capitals tell nothing.
_GERMAN = frozenset("das dem den der des die ein eine für ist mit nicht oder sich sind und von wird zu".split())

_NEGATION = re.compile(
    r"\b(?:not(?!\s+only\b)|no(?!\.\s*\d)|never|none|nobody|nothing|nowhere|neither|nor|cannot|"
    r"nicht|kein(?:e[mnrs]?)?|nie|niemals)\b|n['’]t\b",
    re.IGNORECASE,
)
_CLAUSE_END = re.compile(
    r"[;:()—–]|\s-\s|^\W*(?:no|yes),|,?\s+\b(?:although|but|except|however|though|unless|whereas|while|yet)\b",
    re.IGNORECASE,
)


def dates(text: str) -> set[Date]:
    """The dates of a text; a month alone is one after a word like "in"."""
    return {date for _, _, date in _dates(text)}


def without_dates(text: str) -> str:
    """The text with a blank in place of each date."""
    pieces, done = [], 0
    for start, end, _ in sorted(_dates(text), key=lambda found: found[0]):
        pieces.append(text[done:start])
        done = end
    return " ".join([*pieces, text[done:]])


def names(text: str) -> set[str]:
    """The capitalised words of a text that do not begin a sentence or line, in lower case. Months are none."""
    found = set()
    for unit in split(text):
        words = list(_NAME.finditer(text, unit.start, unit.end))
        found |= {match.group().casefold() for match in words[1:] if _is_name(match.group())}
    return found


def opening_names(text: str) -> set[str]:
    """The words that begin a sentence and may be a name: no function word, and no adverb or order by what follows."""
    found = set()
    for unit in split(text):
        words = [match.group() for match in _NAME.finditer(text, unit.start, unit.end)][:2]
        if len(words) < 2 or not _is_name(words[0]):
            continue
        first, second = words[0].casefold(), words[1].casefold()
        after = text[text.index(words[0], unit.start) + len(words[0])]
        if not (after == "," or first.endswith("ly") or first in _OPENERS or second in STOPWORDS - _VERBS):
            found.add(first)
    return found


def name_words(text: str) -> set[str]:
    """Every word of a text in lower case, as names are looked up."""
    return {match.group().casefold() for match in _NAME.finditer(text)}


def lower_case_words(text: str) -> set[str]:
    """The stems of the words that a text writes in lower case: these are not names, wherever they stand."""
    return {stem(match.group()) for match in _NAME.finditer(text) if match.group().islower()}


def is_german(text: str) -> bool:
    return len(name_words(text) & _GERMAN) >= 2


def is_question(text: str) -> bool:
    """Whether the text only asks."""
    units = split(text)
    return bool(units) and all(text[unit.start : unit.end].rstrip("*_\"'”’) ").endswith("?") for unit in units)


def clauses(text: str) -> list[tuple[bool, set[str]]]:
    """The clauses of what a text states, each as (negated, content words); questions state nothing."""
    found = []
    for unit in split(text):
        sentence = text[unit.start : unit.end]
        if is_question(sentence):
            continue
        done = 0
        for end in (*(match.end() for match in _CLAUSE_END.finditer(sentence)), len(sentence)):
            clause = sentence[done:end]
            done = end
            negated = bool(_NEGATION.search(clause))
            words = content_words(_NEGATION.sub(" ", clause))
            if words or negated:
                found.append((negated, words))
    return found


def _is_name(word: str) -> bool:
    return len(word) > 1 and word[0].isupper() and word.casefold() not in STOPWORDS and word not in _MONTHS


@lru_cache(maxsize=512)  # a quote is looked at several times
def _dates(text: str) -> list[tuple[int, int, Date]]:
    """The dates of a text, each with where it begins and ends."""
    return list(_find_dates(text)) if _MAY_HAVE_DATES.search(text) else []


def _find_dates(text: str) -> Iterator[tuple[int, int, Date]]:
    taken: list[tuple[int, int]] = []
    for pattern in _DATES:
        for match in pattern.finditer(text):
            if any(match.start() < end and start < match.end() for start, end in taken):
                continue
            taken.append(match.span())
            parts = match.groupdict()
            month = parts.get("number") or parts.get("month") or ""
            number = int(month) if month.isdigit() else _month_number(month)
            yield *match.span(), (_as_number(parts.get("year")), number, _as_number(parts.get("day")))


def _month_number(name: str) -> int:
    return next(i for i, month in enumerate(_MONTHS, start=1) if month.startswith(name[:3]))


def _as_number(text: str | None) -> int | None:
    return int(text) if text else None
