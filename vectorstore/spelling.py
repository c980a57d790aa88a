"""A question's misspelt words become words of the documents.

Only a word that neither the documents nor the embedding model's vocabulary know is touched, and only when a word of the
documents is one slip away: two neighbouring letters swapped, a letter missing, one too many, or another one. The first
letter, names with digits, and short words stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterator, Sequence
from string import ascii_lowercase

SHORTEST, LONGEST = 5, 20  # letters; a shorter word is one slip away from too many, a longer one from too much work
MOST_UNKNOWN = 4  # words; with more, the question is in another language than the documents, not misspelt

_WORD = re.compile(r"[^\W_]+")

Counts = Callable[[Sequence[str]], Sequence[int]]


def mend(text: str, counts: Counts, known: Container[str]) -> str:
    """The text with its misspelt words replaced; itself when there are none.

    counts: in how many passages each of these lower-case words stands. known: words that are never misspelt.
    """
    words = dict.fromkeys(match.group().lower() for match in _WORD.finditer(text))
    unknown = [word for word in words if _is_plain(word) and word not in known]
    unknown = [word for word, count in zip(unknown, counts(unknown), strict=True) if count == 0] if unknown else []
    if not 0 < len(unknown) <= MOST_UNKNOWN:
        return text
    mended = {word: _nearest(word, counts, known) for word in unknown}
    return _WORD.sub(lambda match: mended.get(match.group().lower()) or match.group(), text)


def _is_plain(word: str) -> bool:
    return SHORTEST <= len(word) <= LONGEST and word.isascii() and word.isalpha()


def _nearest(word: str, counts: Counts, known: Container[str]) -> str | None:
    """The likeliest word of the documents one slip away: a known one, then one of the same letters, then the most
    frequent.
    """
    others = sorted(set(_slips(word)) - {word})
    letters = sorted(word)
    found = [
        (other in known, sorted(other) == letters, count, other)
        for other, count in zip(others, counts(others), strict=True)
        if count > 0
    ]
    return max(found)[-1] if found else None


def _slips(word: str) -> Iterator[str]:
    for i in range(1, len(word)):
        before, at, after = word[:i], word[i], word[i + 1 :]
        if after:
            yield before + after[0] + at + after[1:]
        yield before + after
        for letter in ascii_lowercase:
            yield before + letter + after
            yield before + letter + at + after
    for letter in ascii_lowercase:
        yield word + letter
