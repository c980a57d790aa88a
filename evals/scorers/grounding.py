"""What an answer says that nothing it was given says. Without a model, so it is not faithfulness: words can stand in
the documents and still be put together wrongly.

Support is everything the answer could draw on: the passages found, the quotes, the question and what was said before.
- Unsupported words: the share of the answer's content words (stems, chains/words.py) that stand nowhere in it.
- Unsupported numbers, dates, names: whether the answer holds at least one that does not. (Entities and numbers as the
  places where invention shows: Nan et al. 2021, arXiv 2102.09130.) A date agrees with a date of the support when no
  part that both have (year, month, day) differs, and its figures are no numbers. A name is a capitalised word that
  does not begin a sentence.
Less is better for all of them. Declined answers are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain

from chains.sentences import split
from chains.words import STOPWORDS, content_words, numbers
from evals.figures import Figure
from evals.recordings import Recording
from evals.samples import Sample
from evals.scorers.abstention import is_declined
from evals.scorers.answers import MARKER

FIGURES = (
    Figure("unsupported words", yes_no=False, more_is_better=False),
    Figure("unsupported numbers", more_is_better=False),
    Figure("unsupported dates", more_is_better=False),
    Figure("unsupported names", more_is_better=False),
)

Date = tuple[int | None, int | None, int | None]  # year, month, day

_MONTHS = "January February March April May June July August September October November December".split()
# Capitalised, so that "may 15 users" is none.
_MONTH = f"(?P<month>{'|'.join(_MONTHS)}|{'|'.join(name[:3] for name in _MONTHS)}|Sept)\\.?"
_DATES = [
    re.compile(pattern)
    for pattern in (
        r"\b(?P<year>\d{4})-(?P<number>0[1-9]|1[0-2])-(?P<day>[0-3]\d)\b",
        rf"\b(?P<day>[0-3]?\d)(?:st|nd|rd|th)?\s+(?:of\s+)?{_MONTH}(?:,?\s+(?P<year>\d{{4}}))?\b",
        rf"\b{_MONTH}\s+(?P<day>[0-3]?\d)(?:st|nd|rd|th)?\b(?:,?\s+(?P<year>\d{{4}}))?",
        rf"\b{_MONTH}\s+(?P<year>\d{{4}})\b",
    )
]
_NAME = re.compile(r"[^\W\d_][\w'’-]*")


def score(sample: Sample, recording: Recording) -> dict[str, float]:
    if recording.outcome is None or is_declined(recording.outcome):
        return {}
    answer = MARKER.sub("", recording.answer)
    support = "\n".join(
        chain(
            (" ".join((*passage.heading, passage.text)) for passage in recording.passages),
            (citation["quote"] for citation in recording.citations),
            (turn.content for turn in sample.history),
            [sample.question],
        )
    )
    said = content_words(answer)
    known = dates(support)
    undated = "".join(" " if in_date else piece for piece, in_date in _pieces(answer))
    scores = {
        "unsupported numbers": float(not numbers(undated) <= numbers(support)),
        "unsupported dates": float(any(not any(_agree(date, other) for other in known) for date in dates(answer))),
        "unsupported names": float(
            not names(answer) <= {match.group().casefold() for match in _NAME.finditer(support)}
        ),
    }
    if said:
        scores["unsupported words"] = len(said - content_words(support)) / len(said)
    return scores


def dates(text: str) -> set[Date]:
    """The dates of a text that name a month, or are written as ISO 8601 has them."""
    return {date for _, _, date in _dates(text)}


def names(text: str) -> set[str]:
    """The capitalised words of a text that do not begin a sentence or line, in lower case."""
    found = set()
    for unit in split(text):
        begun = False
        for match in _NAME.finditer(text, unit.start, unit.end):
            word = match.group()
            if begun and word[0].isupper() and word.casefold() not in STOPWORDS and word not in _MONTHS:
                found.add(word.casefold())
            begun = True
    return found


def _pieces(text: str) -> Iterator[tuple[str, bool]]:
    """The text in pieces, each with whether it is a date."""
    done = 0
    for start, end, _ in sorted(_dates(text), key=lambda found: found[0]):
        yield text[done:start], False
        yield text[start:end], True
        done = end
    yield text[done:], False


def _dates(text: str) -> Iterator[tuple[int, int, Date]]:
    """The dates of a text, each with where it begins and ends."""
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


def _agree(date: Date, other: Date) -> bool:
    return all(mine is None or theirs is None or mine == theirs for mine, theirs in zip(date, other, strict=True))
