"""Citations that hold: a quote is cut from the passage, supports its claim, and is looked up again before it is sent.

Two checks, both without a model. Support: at least half of the claim's content words and every one of its figures,
dates and names stand in the quote, and both say yes or both say no. Place: the stored source text at [start, end) is
the quote, to the character.

Bracketed numbers in an answer are citations and nothing else. Those that a text brings along are left out, but for
code, where they are spaced out: `a[1]` becomes `a[ 1 ]`, which is the same code.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, replace

from langchain_core.documents import Document

from chains.evidence import LONGEST_UNIT
from chains.facts import (
    Date,
    clauses,
    dates,
    is_german,
    is_question,
    lower_case_words,
    name_words,
    names,
    opening_names,
    without_dates,
)
from chains.model import AnswerEvent, Citation, Cited, Draft, Token
from chains.sentences import Unit, split, with_lists
from chains.words import content_words, number_words, numbers, stem
from vectorstore import spans

SUPPORT = 0.5  # share of a claim's content words that its quote must hold
LONGEST_QUOTE = 3  # neighbouring units that one quote may join

ReadSpan = Callable[[str, int, int], str | None]  # (version id, start, end) -> the stored text there, if it is kept

_NUMBERS = r"\d{1,9}(?:\s*[,;–-]\s*\d{1,9})*"
_MARKER = re.compile(rf"\[\s*\^?({_NUMBERS})\s*\]")
_MAYBE_MARKER = re.compile(r"\[[\s\d^,;–-]*$")
_LONGEST_MARKER = 80


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


def without_markers(text: str, *, code: bool = False) -> str:
    """The text without what a reader would take for citations of the answer."""
    kept, done = "", 0
    for match in _MARKER.finditer(text):
        kept += text[done : match.start()]
        if code or _ends_in_code(kept):
            kept += f"[ {match.group(1)} ]"
        else:
            kept = kept.rstrip(" ")
        done = match.end()
    return kept + text[done:]


def supports(quote: str, claim: str | Claim, *, subject: str = "", common: Set[str] = frozenset()) -> bool:
    """Whether the quote holds the claim: its figures, dates and names, half of its content words, and its yes or no.

    subject: title and headings above the quote, which may name what the quote calls "it", and the year. common: stems
    that are written in lower case elsewhere, so that at the beginning of a sentence they are no names.
    """
    said = claim if isinstance(claim, Claim) else Claim.read(claim)
    if not (said.words or said.figures or said.dates):
        return False
    return (
        len(said.words & content_words(quote)) >= SUPPORT * len(said.words)
        and not is_question(quote)
        and _holds_dates(quote, said, subject)
        and _holds_names(quote, said, subject, common)
        and _says_the_same(quote, said, content_words(subject))
    )


@dataclass(frozen=True, slots=True)
class Claim:
    """What a sentence says, read once and compared with many quotes."""

    words: Set[str]
    figures: Set[str]
    dates: Set[Date]
    names: Set[str]
    opening_names: Set[str]
    clauses: Sequence[tuple[bool, Set[str]]]

    @classmethod
    def read(cls, text: str) -> Claim:
        capitals_tell = not is_german(text)
        return cls(
            words=content_words(text) - number_words(),
            figures=numbers(without_dates(text)),
            dates=dates(text),
            names={stem(name) for name in names(text)} if capitals_tell else set(),
            opening_names={stem(name) for name in opening_names(text)} if capitals_tell else set(),
            clauses=clauses(text),
        )


def _holds_dates(quote: str, claim: Claim, subject: str) -> bool:
    """Figures and dates; a year may stand above the quote, and apart from its day."""
    if not (claim.figures or claim.dates):
        return True
    known = dates(quote)
    one = {"1"} if re.search(r"\bone\b", quote, re.IGNORECASE) else set()
    years = {figure for figure in numbers(f"{quote} {subject}") if re.fullmatch(r"[12]\d{3}", figure)}
    years |= {str(year) for year, _, _ in known | dates(subject)}
    return claim.figures <= numbers(without_dates(quote)) | years | one and all(
        any(
            (year is None or year == other[0] or (other[0] is None and str(year) in years))
            and (month is None or month == other[1])
            and (day is None or day == other[2])
            for other in known
        )
        for year, month, day in claim.dates
    )


def _holds_names(quote: str, claim: Claim, subject: str, common: Set[str]) -> bool:
    stems = {stem(word) for word in name_words(f"{quote} {subject}")}
    return claim.names <= stems and claim.opening_names <= stems | common


def _says_the_same(quote: str, claim: Claim, subject: Set[str]) -> bool:
    """Whether each clause of the claim draws on clauses of the quote that say yes, or no, as it does."""
    stated = clauses(quote)
    for negated, words in claim.clauses:
        same = [held for other, held in stated if other == negated]
        against = [held for other, held in stated if other != negated]
        if against and not same:
            return False
        contrary = words & set[str]().union(*against) - subject
        if contrary and len(contrary) >= len(words & set[str]().union(*same)):
            return False
    return True


def find_quote(claim: str, passage: Document) -> tuple[int, int] | None:
    """The shortest run of up to three neighbouring units of the passage that supports the claim, or a list with the
    line that leads to it; None without one. A FAQ pair supports with its answer, never with its question alone.
    """
    text = passage.page_content
    place = passage.metadata
    answer_start = place["answer_start"] - place["start"] if place.get("answer_start") is not None else 0
    units = _quotable(split(text, typeset=place.get("format") == "pdf"), text, answer_start)
    lists = [unit for unit in with_lists(text, units) if unit.kind == "list"]
    subject = " ".join((place.get("title") or "", *place["heading"]))
    common = lower_case_words(text)
    said = Claim.read(claim)
    wanted = content_words(claim) | numbers(claim)
    runs_by_length = [
        [(units[i].start, units[i + length - 1].end) for i in range(len(units) - length + 1)]
        for length in range(1, LONGEST_QUOTE + 1)
    ]
    for runs in [*runs_by_length, [(unit.start, unit.end) for unit in lists]]:
        fitting = [
            run
            for run in runs
            if run[1] > answer_start and supports(text[slice(*run)], said, subject=subject, common=common)
        ]
        if fitting:
            return max(fitting, key=lambda run: _overlap(text[slice(*run)], wanted))
    return None


def _quotable(units: Sequence[Unit], text: str, answer_start: int) -> list[Unit]:
    """The units; one that is too long to be a sentence (a page without full stops) is cut at words, and one that a
    question without a question mark runs into is the answer's alone.
    """
    pieces = []
    for unit in units:
        start = answer_start if unit.start < answer_start < unit.end else unit.start
        while unit.end - start > LONGEST_UNIT:
            cut = text.rfind(" ", start + 1, start + LONGEST_UNIT)
            end = cut if cut > start else start + LONGEST_UNIT
            pieces.append(Unit(start, end, unit.kind))
            start = end + (text[end] == " ")
        pieces.append(Unit(start, unit.end, unit.kind))
    return pieces


def _overlap(text: str, wanted: set[str]) -> int:
    return len((content_words(text) | numbers(text)) & wanted)


class CitationStream:
    """Turns a model's text with passage numbers into text with checked citations, while it streams.

    A bracketed number of a passage becomes the number of a citation whose quote supports the sentence before it, or
    what of it follows the bracket before; where no quote does, the bracket is left out and counted in `draft.dropped`.
    Numbers are given in order of appearance.
    """

    def __init__(self, passages: Sequence[Document], read_span: ReadSpan, draft: Draft) -> None:
        self.passages = passages
        self.read_span = read_span
        self.draft = draft
        self.citations: list[Citation] = []
        self._held = ""  # text that may turn out to be a marker
        self._space = ""  # blanks that wait for what follows: a dropped marker takes them along
        self._drops_space = False
        self._after_marker = False
        self._plain = ""  # what was sent, without markers
        self._marks: list[int] = []  # places in `_plain` where a marker stood
        self._supported: list[tuple[int, int, Citation]] = []  # spans of `_plain` with a citation that stands

    def feed(self, piece: str) -> Iterator[AnswerEvent]:
        """What can be sent now that `piece` has come."""
        self._held += piece
        while match := _MARKER.search(self._held):
            yield from self._send(self._held[: match.start()])
            self._held = self._held[match.end() :]
            if _ends_in_code(self._plain):
                yield from self._send(f"[ {match.group(1)} ]")
            else:
                yield from self._mark([int(number) for number in re.findall(r"\d+", match.group(1))])
        undecided = _MAYBE_MARKER.search(self._held)
        cut = undecided.start() if undecided and len(undecided.group()) <= _LONGEST_MARKER else len(self._held)
        yield from self._send(self._held[:cut])
        self._held = self._held[cut:]

    def finish(self) -> Iterator[AnswerEvent]:
        """The rest; then count the claims."""
        yield from self._send(self._held)
        self._held = ""
        for unit in split(self._plain):
            if self._is_claim(unit):
                cited, rest = self._coverage(unit)
                self.draft.claims += cited + rest
                self.draft.supported += cited

    def _send(self, text: str) -> Iterator[AnswerEvent]:
        words = text.rstrip(" ")
        if words:
            goes = self._drops_space and words[0] in " \n.,;:!?)"
            # After a citation, a parenthesis or a colon would make a link of it.
            apart = " " if self._after_marker and not self._space and words[0] in "(:" else ""
            self._space, words = text[len(words) :], ("" if goes else self._space) + apart + words
            self._drops_space = self._after_marker = False
            self._plain += words
            yield Token(words)
        elif text:
            self._space = text if self._drops_space else self._space + text
            self._drops_space = False

    def _mark(self, passage_numbers: list[int]) -> Iterator[AnswerEvent]:
        began = time.perf_counter()
        claims = self._last_claims()
        self._marks.append(len(self._plain))
        for number in passage_numbers:
            found = self._check(claims, number)
            if found is None:
                self.draft.dropped += 1
                self._drops_space = True
                continue
            citation, claim = found
            self._supported.append((*claim, citation))
            is_new = citation.n > len(self.citations)
            self._space, gap = "", " " if self._plain and not self._plain.endswith("\n") else ""
            self._after_marker = True
            yield Token(f"{gap}[{citation.n}]")
            if is_new:
                self.citations.append(citation)
                yield Cited(citation)
        self.draft.verify_seconds += time.perf_counter() - began

    @spans.traced("verify")
    def _check(self, claims: list[tuple[int, int]], number: int) -> tuple[Citation, tuple[int, int]] | None:
        """The citation of the first of the claims that the passage supports, and that claim."""
        if not 1 <= number <= len(self.passages):
            return None
        passage = self.passages[number - 1]
        for claim in claims:
            found = find_quote(self._plain[slice(*claim)], passage)
            if found is None:
                continue
            citation = cite(passage, *found, n=len(self.citations) + 1)
            for earlier in self.citations:
                if replace(citation, n=earlier.n) == earlier:
                    return earlier, claim
            return (citation, claim) if stands(citation, self.read_span) else None
        return None

    def _last_claims(self) -> list[tuple[int, int]]:
        """What a marker here may stand for: the last sentence, or its part since an earlier marker in it."""
        units = split(self._plain)
        if not units:
            return []
        start, end = units[-1].start, units[-1].end
        parts = [mark for mark in self._marks if start < mark < end and content_words(self._plain[mark:end])]
        return [(start, end), (parts[-1], end)] if parts else [(start, end)]

    def _is_claim(self, unit: Unit) -> bool:
        """Whether it states something: a question does not, nor does the line that leads to a list."""
        text = self._plain[unit.start : unit.end]
        leads = text.endswith(":") and bool(self._plain[unit.end :].strip())
        return not leads and not is_question(text) and bool(content_words(text) or numbers(text))

    def _coverage(self, unit: Unit) -> tuple[bool, bool]:
        """Whether something of the sentence is supported by its citations, and whether something of it is not: what
        follows the last of them is a claim of its own.
        """
        citing = [found for found in self._supported if found[0] < unit.end and unit.start < found[1]]
        left = "".join(
            self._plain[place]
            for place in range(unit.start, unit.end)
            if not any(start <= place < end for start, end, _ in citing)
        )
        text = self._plain[unit.start : unit.end]
        rest = bool(content_words(left) or numbers(left)) and not any(
            supports(found[2].quote, text) for found in citing
        )
        return bool(citing), rest


def _ends_in_code(text: str) -> bool:
    """Whether a fence, or a backtick in the last line, is still open."""
    return text.count("```") % 2 == 1 or text.rpartition("\n")[2].count("`") % 2 == 1
