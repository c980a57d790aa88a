"""Citations that hold: a quote is cut from the passage, supports its claim, and is looked up again before it is sent.

Two checks, both without a model. Support: at least half of the claim's content words and every one of its figures
stand in the quote. Place: the stored source text at [start, end) is the quote, to the character.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from langchain_core.documents import Document

from chains.model import AnswerEvent, Citation, Cited, Draft, Token
from chains.sentences import Unit, split
from chains.words import content_words, numbers

SUPPORT = 0.5  # share of a claim's content words that its quote must hold
LONGEST_QUOTE = 3  # neighbouring units that one quote may join

ReadSpan = Callable[[str, int, int], str | None]  # (version id, start, end) -> the stored text there, if it is kept

_MARKER = re.compile(r"\[\s*(\d{1,3}(?:\s*[,;]\s*\d{1,3})*)\s*\]")
_MAYBE_MARKER = re.compile(r"\[[\s\d,;]*$")
_LONGEST_MARKER = 24


def cite(passage: Document, start: int, end: int, n: int) -> Citation:
    """The citation of `passage.page_content[start:end]`."""
    place = passage.metadata
    offset = place["start"]
    return Citation(
        n=n,
        source=place["source"],
        source_version=place["source_version"],
        version_id=place["version_id"],
        page=place["page"],
        heading=tuple(place["heading"]),
        start=offset + start,
        end=offset + end,
        quote=passage.page_content[start:end],
        score=round(place["score"], 4),
    )


def stands(citation: Citation, read_span: ReadSpan) -> bool:
    """Whether the stored source text holds the quote at its place."""
    return bool(citation.quote) and read_span(citation.version_id, citation.start, citation.end) == citation.quote


def supports(quote: str, claim: str) -> bool:
    """Whether the quote holds the claim's figures and at least half of its content words."""
    if not numbers(claim) <= numbers(quote):
        return False
    words = content_words(claim)
    return not words or len(words & content_words(quote)) >= SUPPORT * len(words)


def find_quote(claim: str, passage: Document) -> tuple[int, int] | None:
    """The shortest run of up to three neighbouring units of the passage that supports the claim; None without one."""
    text = passage.page_content
    units = split(text)
    wanted = content_words(claim) | numbers(claim)
    for length in range(1, LONGEST_QUOTE + 1):
        runs = [(units[i].start, units[i + length - 1].end) for i in range(len(units) - length + 1)]
        fitting = [run for run in runs if supports(text[slice(*run)], claim)]
        if fitting:
            return max(fitting, key=lambda run: _overlap(text[slice(*run)], wanted))
    return None


def _overlap(text: str, wanted: set[str]) -> int:
    return len((content_words(text) | numbers(text)) & wanted)


class CitationStream:
    """Turns a model's text with passage numbers into text with checked citations, while it streams.

    A bracketed number of a passage becomes the number of a citation whose quote supports the sentence before it; where
    no quote does, the bracket is left out and counted in `draft.dropped`. Numbers are given in order of appearance.
    """

    def __init__(self, passages: Sequence[Document], read_span: ReadSpan, draft: Draft) -> None:
        self.passages = passages
        self.read_span = read_span
        self.draft = draft
        self.citations: list[Citation] = []
        self._held = ""  # text that may turn out to be a marker
        self._space = ""  # blanks that wait for what follows: a dropped marker takes them along
        self._drops_space = False
        self._plain = ""  # what was sent, without markers
        self._supported: list[tuple[int, int]] = []  # spans of `_plain` with a citation that stands

    def feed(self, piece: str) -> Iterator[AnswerEvent]:
        """What can be sent now that `piece` has come."""
        self._held += piece
        while match := _MARKER.search(self._held):
            yield from self._send(self._held[: match.start()])
            self._held = self._held[match.end() :]
            yield from self._mark([int(number) for number in re.findall(r"\d+", match.group(1))])
        undecided = _MAYBE_MARKER.search(self._held)
        cut = undecided.start() if undecided and len(undecided.group()) <= _LONGEST_MARKER else len(self._held)
        yield from self._send(self._held[:cut])
        self._held = self._held[cut:]

    def finish(self) -> Iterator[AnswerEvent]:
        """The rest; then count the claims."""
        yield from self._send(self._held)
        self._held = ""
        claims = [unit for unit in split(self._plain) if content_words(self._plain[unit.start : unit.end])]
        self.draft.claims = len(claims)
        self.draft.supported = sum(any(_touch(unit, span) for span in self._supported) for unit in claims)

    def _send(self, text: str) -> Iterator[AnswerEvent]:
        words = text.rstrip(" ")
        if words:
            goes = self._drops_space and words[0] in " \n.,;:!?)"
            self._space, words = text[len(words) :], ("" if goes else self._space) + words
            self._drops_space = False
            self._plain += words
            yield Token(words)
        elif text:
            self._space = text if self._drops_space else self._space + text
            self._drops_space = False

    def _mark(self, passage_numbers: list[int]) -> Iterator[AnswerEvent]:
        began = time.perf_counter()
        claim = self._last_claim()
        for number in passage_numbers:
            citation = self._check(claim, number)
            if citation is None:
                self.draft.dropped += 1
                self._drops_space = True
                continue
            self._supported.append(claim)
            is_new = citation.n > len(self.citations)
            self._space, gap = "", " " if self._plain and not self._plain.endswith("\n") else ""
            yield Token(f"{gap}[{citation.n}]")
            if is_new:
                self.citations.append(citation)
                yield Cited(citation)
        self.draft.verify_seconds += time.perf_counter() - began

    def _check(self, claim: tuple[int, int], number: int) -> Citation | None:
        if not 1 <= number <= len(self.passages):
            return None
        passage = self.passages[number - 1]
        found = find_quote(self._plain[slice(*claim)], passage)
        if found is None:
            return None
        citation = cite(passage, *found, n=len(self.citations) + 1)
        for earlier in self.citations:
            if replace(citation, n=earlier.n) == earlier:
                return earlier
        return citation if stands(citation, self.read_span) else None

    def _last_claim(self) -> tuple[int, int]:
        units = split(self._plain)
        return (units[-1].start, units[-1].end) if units else (0, 0)


def _touch(unit: Unit, span: tuple[int, int]) -> bool:
    return unit.start < span[1] and span[0] < unit.end
