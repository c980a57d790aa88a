"""Tables as markdown has them: a row says something only with the names of its columns, which may stand far above."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_RULER = r"[ \t]*\|?[ \t:|-]*-{3,}[ \t:|-]*"
_TABLE = re.compile(rf"^[ \t]*(\|.*\|)[ \t]*\n{_RULER}\n((?:[ \t]*\|.*\|[ \t]*(?:\n|\Z))*)", re.MULTILINE)
_LEAD = re.compile(rf"(?:\A|\n)[ \t]*(\|.*\|)[ \t]*\n{_RULER}\n?\Z")
_ROWS = re.compile(r"(?:[ \t]*\|.*\|[ \t]*(?:\n|\Z))+")
_CELL_END = re.compile(r"(?<!\\)\|")


@dataclass(frozen=True, slots=True)
class Table:
    """names: of the columns. header: where they stand in the passage, [start, end); None when they stand above it.
    body: where its rows stand.
    """

    names: tuple[str, ...]
    header: tuple[int, int] | None
    body: tuple[int, int]

    def tell(self, row: str) -> str:
        """What the row says: "Country: Germany; Days: 28"."""
        cells = _cells(row)
        named = [*self.names, *[""] * (len(cells) - len(self.names))]
        return "; ".join(f"{name}: {cell}" if name else cell for name, cell in zip(named, cells, strict=False) if cell)


def tables(text: str, lead: str = "") -> list[Table]:
    """The tables of a passage, in order. lead: what was put in front of the passage when it was embedded; where a table
    was cut in two, its header stands at the end of that.
    """
    found = []
    if (above := _LEAD.search(lead)) and (rows := _ROWS.match(text)):
        found.append(Table(_cells(above[1]), None, rows.span()))
    found += [Table(_cells(match[1]), match.span(1), match.span(2)) for match in _TABLE.finditer(text)]
    return found


def _cells(row: str) -> tuple[str, ...]:
    inner = row.strip().removeprefix("|").removesuffix("|")
    return tuple(" ".join(cell.replace("\\|", "|").split()) for cell in _CELL_END.split(inner))


def table_at(found: Sequence[Table], start: int) -> Table | None:
    """The table among whose rows this offset lies."""
    return next((table for table in found if table.body[0] <= start < table.body[1]), None)
