"""Cut a passage into the units that an answer quotes: sentences, list items, table rows, short code blocks.

Every unit is a span of the passage, so that a quote is the text itself and never a rewrite of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

LONGEST_CODE = 800  # characters of a code block that is quoted whole; longer ones are quoted line by line
LONGEST_LIST = 500  # characters of a list that is quoted together with the line that leads to it ("Bring with you:")
SET_WIDTH = 0.85  # of the usual width is reached by every line that does not end a paragraph

_FENCE = re.compile(r"^\s*(```|~~~)")
_HEADING = re.compile(r"^\s{0,3}#{1,6}\s|^\s{0,3}(=+|-{3,})\s*$")
_RULER = re.compile(r"^\s*\|?[\s:|-]*-{3,}[\s:|-]*\|?\s*$")
_ITEM = re.compile(r"^\s*(?:[-*+•▪●◦]|\(?\d{1,3}[.)]|\(?[a-z][.)])\s+")
_STEP = re.compile(r"[ \t]*\d{1,3}[.)]\s")
_ROW = re.compile(r"^\s*\|.*\|\s*$")
_END = re.compile(r"[.!?…]+[\"'”’)\]*_]*(?=\s+[\"'“‘(\[*_]*[A-Z0-9À-Þ])|[。！？]")
# Words whose full stop does not end a sentence.
_SHORT = re.compile(
    r"(?:^|[\s(])(?:[A-Za-z]|e\.g|i\.e|cf|vs|etc|approx|no|nos|fig|figs|sec|ch|vol|pp?|ed|eds|al|mr|mrs|ms|dr|prof|st|"
    r"jr|sr|inc|ltd|co|corp|dept|est|gen|gov|sen|rep|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec|u\.s|u\.k|u\.n|d\.c)$",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Unit:
    """A span of the passage: [start, end), with what kind of text it is."""

    start: int
    end: int
    kind: str  # "sentence", "item", "row", "code" or "list"


def split(text: str, *, typeset: bool = False) -> list[Unit]:
    """The quotable units of `text` in reading order; headings, rulers and blank lines are none.

    typeset: its lines were set to a width (PDF), so that a short line ends a paragraph or is a heading.
    """
    units: list[Unit] = []
    for start, end, kind in _blocks(text, typeset=typeset):
        if kind in ("sentence", "item"):
            body = start + (match.end() if kind == "item" and (match := _ITEM.match(text[start:end])) else 0)
            units += [Unit(first, last, kind) for first, last in _sentences(text, body, end)]
        else:
            units.append(Unit(*_trim(text, start, end), kind))
    return [unit for unit in units if unit.end > unit.start and any(c.isalnum() for c in text[unit.start : unit.end])]


def with_lists(text: str, units: Sequence[Unit]) -> Iterator[Unit]:
    """The units, for quoting: one that ends with a colon says little without the list or code after it, which joins it
    as far as it fits. Claims are not joined: each item of a model's list has a support of its own.
    """
    position = 0
    while position < len(units):
        unit = units[position]
        position += 1
        end = unit.end
        if unit.kind in ("sentence", "item") and text[end - 1] == ":":
            while (
                position < len(units)
                and units[position].kind in ("item", "row", "code")
                and units[position].end - unit.start <= LONGEST_LIST
                and not text[units[position].start : units[position].end].endswith(":")
            ):
                end = units[position].end
                position += 1
        yield unit if end == unit.end else Unit(unit.start, end, "list")


def steps(text: str, units: Sequence[Unit]) -> Iterator[Unit]:
    """Numbered lists whole, where they are short enough to be quoted: one step says little of how something is done."""
    run: list[Unit] = []
    for unit in (*units, None):
        begin = text.rfind("\n", 0, unit.start) + 1 if unit else 0
        is_step = unit is not None and unit.kind == "item" and _STEP.match(text, begin)
        if unit is not None and is_step and (not run or not text[run[-1].end : begin].strip()):
            run.append(unit if run else Unit(begin, unit.end, "item"))
            continue
        if len(run) > 1 and run[-1].end - run[0].start <= LONGEST_LIST:
            yield Unit(*_trim(text, run[0].start, run[-1].end), "list")
        run = []


def _blocks(text: str, *, typeset: bool) -> Iterator[tuple[int, int, str]]:
    """Runs of lines that belong together, as (start, end, kind)."""
    lines = list(re.finditer(r"[^\n]*\n?", text))[:-1] if text else []
    width = SET_WIDTH * _usual_width([line.group() for line in lines]) if typeset else 0
    run: tuple[int, int, str] | None = None
    position = 0
    while position < len(lines):
        line = lines[position]
        content = line.group()
        if _FENCE.match(content):
            if run:
                yield run
                run = None
            last = position + 1
            while last < len(lines) and not _FENCE.match(lines[last].group()):
                last += 1
            yield from _code([match.span() for match in lines[position + 1 : last]])
            position = last + 1
            continue
        kind = _kind(content)
        ended = position > 0 and _ends_early(lines[position - 1].group(), content, width)
        if run and (kind is None or kind in ("item", "row") or ended):
            yield run
            run = None
        if kind == "row":
            yield line.start(), line.end(), "row"
        elif kind == "item":
            run = (line.start(), line.end(), "item")
        elif kind == "sentence":
            run = (run[0], line.end(), run[2]) if run else (line.start(), line.end(), "sentence")
        position += 1
    if run:
        yield run


def _usual_width(lines: list[str]) -> int:
    """The length that nine lines of ten do not exceed."""
    lengths = sorted(len(line) for line in lines if line.strip())
    return lengths[int(0.9 * (len(lengths) - 1))] if lengths else 0


def _ends_early(line: str, following: str, width: float) -> bool:
    """Whether the following line begins anew: its first word would have found room on this one."""
    word = following.split(maxsplit=1)[:1]
    return bool(word) and not word[0][:1].islower() and len(line.rstrip()) + 1 + len(word[0]) < width


def _kind(line: str) -> str | None:
    if not line.strip() or _HEADING.match(line) or _RULER.match(line):
        return None
    if _ROW.match(line):
        return "row"
    return "item" if _ITEM.match(line) else "sentence"


def _code(spans: list[tuple[int, int]]) -> Iterator[tuple[int, int, str]]:
    if spans and spans[-1][1] - spans[0][0] <= LONGEST_CODE:
        yield spans[0][0], spans[-1][1], "code"
    else:
        yield from ((start, end, "code") for start, end in spans)


def _sentences(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    begin = start
    for match in _END.finditer(text, start, end):
        if match.group().startswith(".") and _SHORT.search(text[max(begin, match.start() - 12) : match.start()]):
            continue
        yield _trim(text, begin, match.end())
        begin = match.end()
    if begin < end:
        yield _trim(text, begin, end)


def _trim(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start] in " \t\r\n\f>":
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end
