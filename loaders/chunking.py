"""Documents become chunks: within one heading section and one page, bounded in tokens, with exact offsets.

Tokens are those of the embedding model, heading path included, because it reads MAX_TOKENS and ignores the rest. Every
text is tokenised once, so the time grows with the text and not with its square.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

from langchain_core.documents import Document

from loaders.model import Chunk

MAX_TOKENS = 256  # what the embedding model reads, its two marks included
MARKS = 2  # [CLS] and [SEP]
GOAL = 200  # tokens of a chunk where the text can be cut freely
PREFIX_TOKENS = 64  # of title and headings in front of a chunk; the innermost are kept
LEAD_TOKENS = 80  # of a repeated table header
MAX_CHARACTERS = 4_000  # of one chunk: a long run without blanks is a single unknown token
PIECE = 50_000  # characters tokenised at once
SKIPPED = ("comment", "front matter")  # kinds of Documents that are source text and never an answer

# Where a text that is too long may be cut, best first: a blank line, a list item, a sentence, a line, a word.
_CUTS = [
    re.compile(r"\n[ \t]*\n\s*"),
    re.compile(r"\n(?=[ \t]*(?:[-*+•]|\d{1,3}[.)])[ \t])"),
    re.compile(r"(?<=[.!?…])[\"')\]]*\s+(?=[\"'(\[]*[A-Z0-9À-Þ])|(?<=[。！？])"),
    re.compile(r"\n"),
    re.compile(r"\s+"),
]
_LINE_CUTS = _CUTS[3:]

TokenStarts = Callable[[str], Sequence[int]]


class Tokens:
    """Where the embedding model's tokens begin in a text."""

    def __init__(self, tokenizer_file: Path) -> None:
        from tokenizers import Tokenizer

        self._tokenizer: Any = Tokenizer.from_file(str(tokenizer_file))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def __call__(self, text: str) -> list[int]:
        """Offsets of the tokens in `text`, ascending, without the marks."""
        starts: list[int] = []
        for begin, end in _pieces(text):
            encoding = self._tokenizer.encode(text[begin:end], add_special_tokens=False)
            starts.extend(begin + start for start, _ in encoding.offsets)
        return starts


@dataclass(frozen=True, slots=True)
class _Unit:
    """A span that is kept whole. lead: a table's header, repeated where a chunk begins with this unit."""

    start: int
    end: int
    tokens: int
    kind: str
    lead: str = ""
    lead_tokens: int = 0


@dataclass(frozen=True, slots=True)
class _Section:
    """Units under one heading on one page, and what stands in front of each of their chunks when they are embedded."""

    units: tuple[_Unit, ...]
    heading: tuple[str, ...]
    page: int | None
    prefix: str
    room: int  # tokens that a chunk may have
    answer_start: int | None = None


def chunk(documents: Sequence[Document], title: str, token_starts: TokenStarts) -> list[Chunk]:
    """Chunks of a source whose text is the contents of `documents`, joined; in reading order.

    Each Document's metadata has `start` (its offset in the source text), `page`, `heading` and `kind`, as the loaders
    here give them. A chunk never crosses a heading or a page; code and tables stay whole where they fit; each
    Document of kind "faq" is chunked by itself, its question repeated where its answer is cut.
    """
    chunks: list[Chunk] = []
    for section, text_at in _sections(documents, title, token_starts):
        for units in _pack(section.units, section.room):
            start, end = units[0].start, units[-1].end
            text = text_at(start, end)
            kinds = {unit.kind for unit in units}
            lead = units[0].lead
            chunks.append(
                Chunk(
                    text=text,
                    start=start,
                    end=end,
                    embed_text="\n".join(part for part in (section.prefix, lead, text) if part),
                    page=section.page,
                    heading=section.heading,
                    kind=kinds.pop() if len(kinds) == 1 else "text",
                    answer_start=None if section.answer_start is None else max(section.answer_start, start),
                )
            )
    return chunks


def prefix_for(title: str, heading: Sequence[str], token_starts: TokenStarts) -> tuple[str, int]:
    """What stands in front of a chunk when it is embedded, and its tokens: title and headings, outermost first.

    The outermost go first when there are too many, then the innermost is cut.
    """
    parts = [part for part in dict.fromkeys([title.strip(), *(above.strip() for above in heading)]) if part]
    while parts:
        prefix = " > ".join(parts)
        starts = token_starts(prefix)
        if len(starts) <= PREFIX_TOKENS and len(prefix) <= MAX_CHARACTERS // 4:
            return prefix, len(starts)
        if len(parts) == 1:
            cut = starts[PREFIX_TOKENS] if len(starts) > PREFIX_TOKENS else len(prefix)
            prefix = prefix[: min(cut, MAX_CHARACTERS // 4)].rstrip()
            return prefix, min(len(starts), PREFIX_TOKENS)
        parts = parts[1:]
    return "", 0


def _sections(
    documents: Sequence[Document], title: str, token_starts: TokenStarts
) -> Iterator[tuple[_Section, Callable[[int, int], str]]]:
    prefixes = lru_cache(maxsize=1024)(lambda heading: prefix_for(title, heading, token_starts))
    run: list[Document] = []
    for i, document in enumerate(documents):
        kind, place = document.metadata["kind"], _place(document)
        is_apart = kind in SKIPPED or kind in ("heading", "faq")
        if run and (is_apart or place != _place(run[0]) or run[0].metadata["kind"] == "faq"):
            yield _section(run, prefixes, token_starts)
            run = []
        if kind in SKIPPED or (kind == "heading" and not _is_leaf(documents, i)):
            continue
        run.append(document)
    if run:
        yield _section(run, prefixes, token_starts)


def _section(
    run: Sequence[Document], prefixes: Callable[[tuple[str, ...]], tuple[str, int]], token_starts: TokenStarts
) -> tuple[_Section, Callable[[int, int], str]]:
    heading, page = _place(run[0])
    is_pair = run[0].metadata["kind"] == "faq"
    # The text of a pair begins with its question: only what is above it, and other ways to ask, go in front.
    above = (*heading[:-1], *run[0].metadata["alternatives"]) if is_pair else heading
    prefix, prefix_tokens = prefixes(above)
    room = MAX_TOKENS - MARKS - prefix_tokens
    cut = _units_of_pair if is_pair else _units
    units = tuple(unit for document in run for unit in cut(document, room, token_starts))
    base = run[0].metadata["start"]
    text = "".join(document.page_content for document in run)
    section = _Section(units, heading, page, prefix, room, run[0].metadata.get("answer_start"))
    return section, lambda start, end: text[start - base : end - base]


def _place(document: Document) -> tuple[tuple[str, ...], int | None]:
    return tuple(document.metadata["heading"]), document.metadata["page"]


def _is_leaf(documents: Sequence[Document], i: int) -> bool:
    """Whether nothing stands below this heading, so that it says all there is."""
    path = documents[i].metadata["heading"]
    for below in islice(documents, i + 1, None):
        if below.metadata["kind"] == "heading":
            deeper = below.metadata["heading"]
            return not (len(deeper) > len(path) and deeper[: len(path)] == path)
        if below.metadata["kind"] not in SKIPPED:
            return False
    return True


def _units(document: Document, room: int, token_starts: TokenStarts) -> Iterator[_Unit]:
    text, at, kind = document.page_content, document.metadata["start"], document.metadata["kind"]
    kind = "text" if kind == "heading" else kind
    by_line = kind in ("code", "table")
    first, last = _trimmed(text, 0, len(text), keep_indent=by_line)
    if first == last:
        return
    starts = token_starts(text)
    lead, lead_tokens, body = "", 0, last
    if kind == "table" and not _fits(starts, first, last, room):
        lead, lead_tokens, body = _table_header(text, starts, first, last)
    goal = room - lead_tokens if by_line else min(GOAL, room)
    for start, end in _cut(text, first, last, starts, _LINE_CUTS if by_line else _CUTS, goal, keep_indent=by_line):
        tokens = _count(starts, start, end)
        if start >= body:
            yield _Unit(at + start, at + end, tokens, kind, lead, lead_tokens)
        else:
            yield _Unit(at + start, at + end, tokens, kind)


def _units_of_pair(document: Document, room: int, token_starts: TokenStarts) -> Iterator[_Unit]:
    text, at = document.page_content, document.metadata["start"]
    first, last = _trimmed(text, 0, len(text), keep_indent=False)
    starts = token_starts(text)
    answer = document.metadata["answer_start"] - at
    asked = _count(starts, 0, answer)
    if _fits(starts, first, last, room):
        yield _Unit(at + first, at + last, _count(starts, first, last), "faq")
        return
    repeats = asked <= LEAD_TOKENS
    question, question_tokens = (text[first:answer].strip(), asked) if repeats else ("", 0)
    parts = _cut(text, answer if repeats else first, last, starts, _CUTS, min(GOAL, room - question_tokens))
    for i, (start, end) in enumerate(parts):
        if i == 0:
            yield _Unit(at + first, at + end, _count(starts, first, end), "faq")
        else:
            yield _Unit(at + start, at + end, _count(starts, start, end), "faq", question, question_tokens)


def _table_header(text: str, starts: Sequence[int], first: int, last: int) -> tuple[str, int, int]:
    """The header row of a markdown table, its tokens, and where its body begins; empty when too long to repeat."""
    end_of_head = text.find("\n", first)
    end_of_rule = text.find("\n", end_of_head + 1) if end_of_head >= 0 else -1
    tokens = _count(starts, first, max(first, end_of_head))
    if end_of_rule < 0 or tokens > LEAD_TOKENS:
        return "", 0, last
    return text[first:end_of_head].strip(), tokens, end_of_rule + 1


def _cut(
    text: str,
    start: int,
    end: int,
    starts: Sequence[int],
    cuts: Sequence[re.Pattern[str]],
    room: int,
    *,
    keep_indent: bool = False,
) -> Iterator[tuple[int, int]]:
    """Spans without surrounding blanks that cover [start, end), each within `room` tokens."""
    start, end = _trimmed(text, start, end, keep_indent=keep_indent)
    if start == end:
        return
    if _fits(starts, start, end, room):
        yield start, end
    elif not cuts:
        yield from _hard_cut(text, start, end, starts, room)
    else:
        edges = [start, *(match.end() for match in cuts[0].finditer(text, start, end)), end]
        for a, b in pairwise(edges):
            yield from _cut(text, a, b, starts, cuts[1:], room, keep_indent=keep_indent)


def _hard_cut(text: str, start: int, end: int, starts: Sequence[int], room: int) -> Iterator[tuple[int, int]]:
    """A run without blanks, cut at tokens and at the most characters a chunk may have."""
    while start < end:
        token = bisect_left(starts, start) + room
        stop = min(end, start + MAX_CHARACTERS, starts[token] if token < len(starts) else end)
        stop = max(stop, start + 1)
        yield start, stop
        start = stop


def _pack(units: Sequence[_Unit], room: int) -> Iterator[list[_Unit]]:
    """Neighbouring units joined into chunks of about equal size, so that no stub is left at the end."""
    if not units:
        return
    total = sum(unit.tokens for unit in units)
    goal = total / math.ceil(total / min(GOAL, room)) if total else room
    pack: list[_Unit] = []
    tokens = 0
    for unit in units:
        size = tokens + unit.tokens
        is_long = bool(pack) and unit.end - pack[0].start > MAX_CHARACTERS
        if pack and (size > room or tokens >= goal or is_long):
            yield pack
            pack, tokens = [], unit.lead_tokens
        pack.append(unit)
        tokens += unit.tokens
    yield pack


def _fits(starts: Sequence[int], start: int, end: int, room: int) -> bool:
    return end - start <= MAX_CHARACTERS and _count(starts, start, end) <= room


def _count(starts: Sequence[int], start: int, end: int) -> int:
    return bisect_left(starts, end) - bisect_left(starts, start)


def _trimmed(text: str, start: int, end: int, *, keep_indent: bool) -> tuple[int, int]:
    """The span without blanks around it; `keep_indent` leaves those of its first line. (end, end) if all is blank."""
    first = start
    while first < end and text[first].isspace():
        first += 1
    if first == end:
        return end, end
    while text[end - 1].isspace():
        end -= 1
    return (max(start, text.rfind("\n", start, first) + 1) if keep_indent else first), end


def _pieces(text: str) -> Iterator[tuple[int, int]]:
    """Spans of about PIECE characters that begin after a blank, so that no word is torn while there are any."""
    start = 0
    while start < len(text):
        end = min(len(text), start + PIECE)
        if end < len(text):
            blank = max(text.rfind("\n", start, end), text.rfind(" ", start, end))
            end = blank + 1 if blank > start else end
        yield start, end
        start = end
