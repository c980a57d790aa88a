"""FAQs: pairs of question and answer, from CSV, spreadsheets, JSON, YAML and question/answer markdown; one passage a
pair.

Pairs are found by the names of their fields (see ALIASES), in markdown by headings that ask. The source text of a CSV,
JSON or YAML file is a rendering of its pairs, because quotes point into readable text and not into markup; for markdown
it is the file itself. What is no FAQ is read as a table (CSV, spreadsheets) or as text.
"""

from __future__ import annotations

import csv
import html
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import Document

from loaders.errors import Damaged, NoText, TooLarge
from loaders.text import over_limit, read_text

ALIASES = {
    "question": ("question", "questions", "q", "prompt", "query", "faq", "frage", "pregunta"),
    "answer": ("answer", "answers", "a", "response", "responses", "completion", "reply", "antwort", "respuesta"),
    "category": ("category", "topic", "section", "group", "tag", "kategorie"),
    "language": ("language", "lang", "locale"),
    "alternatives": ("alternatives", "alternative", "alternative_questions", "patterns", "variants", "utterances"),
}
_FIELD_OF = {alias: field for field, aliases in ALIASES.items() for alias in aliases}
QUESTION_HEADINGS = 0.6  # share of the lowest headings that must ask, for markdown to count as an FAQ
FEWEST_QUESTIONS = 2
MOST_WARNINGS = 100
DEEPEST = 50  # levels of nesting in JSON and YAML
_ASKS = re.compile(r"[?？]\s*$|^\s*(?:q(?:uestion)?\s*\d*\s*[:.)]|\d+[.)]\s.*[?？])", re.IGNORECASE)
_MARKUP = re.compile(r"</?[a-zA-Z][^>]*>|&(?:[a-zA-Z]+|#\d+);")


@dataclass(frozen=True, slots=True)
class Pair:
    """A question with its answer, in plain text. alternatives: other ways to ask the same."""

    question: str
    answer: str
    category: str = ""
    alternatives: tuple[str, ...] = ()


class FAQLoader(BaseLoader):
    """One Document a pair, with `answer_start` and `alternatives` in its metadata; or rows or text of what is no FAQ.

    After loading, `is_faq` says which it was and `warnings` what was left out, by row.
    """

    def __init__(self, path: Path, kind: str, max_chars: int) -> None:
        self.path = path
        self.kind = kind  # "csv", "xlsx", "json" or "yaml"
        self.max_chars = max_chars
        self.is_faq = False
        self.warnings: list[str] = []

    def lazy_load(self) -> Iterator[Document]:
        if self.kind == "xlsx":
            yield from self._load_workbook()
            return
        text = read_text(self.path, self.max_chars)
        if self.kind == "csv":
            yield from self._load_table(_read_rows(text), [], 0)
            return
        pairs = list(self._find_pairs(_parse(text, self.kind)))
        if pairs:
            yield from self._render(pairs, 0)
        else:
            yield _document(text, 0, [], "text")

    def render(self, data: Any) -> list[Document]:
        """The pairs of parsed JSON as Documents."""
        return list(self._render(list(self._find_pairs(data)), 0))

    def _load_workbook(self) -> Iterator[Document]:
        start = 0
        sheets = [(name, rows) for name, rows in _read_sheets(self.path, self.max_chars) if rows]
        if not sheets:
            raise NoText("the spreadsheet has no rows")
        for name, rows in sheets:
            for document in self._load_table(rows, [name] if len(sheets) > 1 else [], start):
                start += len(document.page_content)
                if start > self.max_chars:
                    raise TooLarge(over_limit(start, self.max_chars))
                yield document

    def _load_table(self, rows: Sequence[tuple[int, list[str]]], above: list[str], start: int) -> Iterator[Document]:
        if not rows:
            raise NoText("the table has no rows")
        columns = _columns(rows[0][1])
        if "question" in columns and "answer" in columns:
            pairs = [pair for number, row in rows[1:] if (pair := self._pair(number, row, columns))]
            yield from self._render(pairs, start)
            return
        header = [name.strip() for name in rows[0][1]]
        for _, row in rows[1:] or rows:
            rendered = _render_row(header if len(rows) > 1 else [], row)
            yield _document(rendered, start, above, "text")
            start += len(rendered)

    def _pair(self, number: int, row: Sequence[str], columns: Mapping[str, int]) -> Pair | None:
        cells = {field: row[i] if i < len(row) else "" for field, i in columns.items()}
        others = [part for part in re.split(r"[|\n]", cells.get("alternatives", "")) if part.strip()]
        return self._checked(
            f"row {number}", cells["question"], cells["answer"], _names(cells.get("category")), tuple(others)
        )

    def _checked(
        self, place: str, question: str, answer: str, category: str = "", alternatives: tuple[str, ...] = ()
    ) -> Pair | None:
        question, answer = plain(question), plain(answer)
        if question and answer:
            return Pair(" ".join(question.split()), answer, category, tuple(plain(other) for other in alternatives))
        if (question or answer) and len(self.warnings) < MOST_WARNINGS:
            self.warnings.append(f"{place}: no {'answer' if question else 'question'}")
        return None

    def _find_pairs(self, data: Any) -> Iterator[Pair]:
        """Every mapping that has a question and an answer, wherever it is; keys above it are its category."""
        seen: set[int] = set()  # a YAML alias is the same object again, and may repeat without end
        numbers = iter(range(1, 1 << 30))

        def walk(node: Any, above: tuple[str, ...]) -> Iterator[Pair]:
            if not isinstance(node, dict | list) or id(node) in seen or len(above) > DEEPEST:
                return
            seen.add(id(node))
            if isinstance(node, list):
                for item in node:
                    yield from walk(item, above)
                return
            fields = {_FIELD_OF[name]: value for key, value in node.items() if (name := _name(key)) in _FIELD_OF}
            if "alternatives" in fields and "question" not in fields:
                fields["question"] = fields["alternatives"]
            if {"question", "answer"} <= set(fields) and not isinstance(fields["answer"], dict):
                questions, answer = _texts(fields["question"]), "\n".join(_texts(fields["answer"]))
                others = (*questions[1:], *_texts(fields.get("alternatives")))
                category = _names(fields.get("category")) or " ".join(above[-1:])
                question = questions[0] if questions else ""
                if pair := self._checked(f"entry {next(numbers)}", question, answer, category, others):
                    yield pair
                return
            asked = [key for key, value in node.items() if isinstance(value, str) and str(key).rstrip().endswith("?")]
            for key, value in node.items():
                if key in asked and 2 * len(asked) >= len(node):
                    if pair := self._checked(f"entry {next(numbers)}", str(key), value, " ".join(above[-1:])):
                        yield pair
                else:
                    yield from walk(value, (*above, str(key)))

        yield from walk(data, ())

    def _render(self, pairs: Sequence[Pair], start: int) -> Iterator[Document]:
        if not pairs:
            reasons = f" ({self.warnings[0]})" if self.warnings else ""
            raise NoText(f"no row has both a question and an answer{reasons}")
        self.is_faq = True
        for pair in pairs:
            text = f"{pair.question}\n{pair.answer}\n\n"
            heading = [part for part in (pair.category, pair.question) if part]
            document = _document(text, start, heading, "faq")
            document.metadata["answer_start"] = start + len(pair.question) + 1
            document.metadata["alternatives"] = list(pair.alternatives)
            yield document
            start += len(text)


def is_question_page(documents: Sequence[Document]) -> bool:
    """Whether a markdown file is an FAQ: most of the headings with nothing deeper below them ask something."""
    headings = [document.metadata["heading"] for document in documents if document.metadata["kind"] == "heading"]
    lowest = [
        path
        for i, path in enumerate(headings)
        if i + 1 == len(headings) or headings[i + 1][: len(path)] != path or len(headings[i + 1]) <= len(path)
    ]
    asking = sum(bool(_ASKS.search(path[-1])) for path in lowest if path)
    return asking >= FEWEST_QUESTIONS and asking >= QUESTION_HEADINGS * len(lowest)


def question_documents(documents: Sequence[Document]) -> list[Document]:
    """The Documents of a markdown FAQ with each question heading and its answer joined into one of kind "faq"."""
    joined: list[Document] = []
    for document in documents:
        last = joined[-1] if joined else None
        path, kind = document.metadata["heading"], document.metadata["kind"]
        if kind == "heading" and path and _ASKS.search(path[-1]):
            start = document.metadata["start"] + len(document.page_content)
            joined.append(
                Document(
                    page_content=document.page_content,
                    metadata={**document.metadata, "kind": "faq", "answer_start": start, "alternatives": []},
                )
            )
        elif last and last.metadata["kind"] == "faq" and kind != "heading" and path == last.metadata["heading"]:
            last.page_content += document.page_content
        else:
            joined.append(document)
    # A question without an answer stays what it is in the file: a heading.
    for document in joined:
        if document.metadata["kind"] == "faq":
            answered = document.metadata["answer_start"] - document.metadata["start"]
            if not document.page_content[answered:].strip():
                document.metadata["kind"] = "heading"
    return joined


def plain(text: str) -> str:
    """Text without HTML tags and entities; paragraphs and list items keep their lines."""
    if not _MARKUP.search(text):
        return text.strip()
    stripper = _Stripper()
    stripper.feed(text)
    stripper.close()
    lines = (" ".join(line.split()) for line in "".join(stripper.parts).split("\n"))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


class _Stripper(HTMLParser):
    BREAKS = frozenset(["p", "br", "div", "li", "ul", "ol", "tr", "h1", "h2", "h3", "h4", "h5", "h6"])

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "style"):
            self.hidden += 1
        elif tag in self.BREAKS:
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self.hidden = max(0, self.hidden - 1)
        elif tag in self.BREAKS:
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.parts.append(html.unescape(data))


def _read_rows(text: str) -> list[tuple[int, list[str]]]:
    """Rows that are not blank, each with its number as a spreadsheet shows it (the header is row 1)."""
    csv.field_size_limit(1 << 30)
    sample = text[:20_000]
    try:
        delimiter = csv.Sniffer().sniff(sample, ",;\t|").delimiter
    except csv.Error:
        delimiter = ","
    first_line = sample.split("\n", 1)[0]
    if delimiter not in first_line:  # the sniffer was misled by the cells
        delimiter = max(",;\t|", key=first_line.count)
    try:
        rows = list(enumerate(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), start=1))
    except csv.Error as error:
        raise Damaged(f"the table cannot be read: {error}") from None
    return [(number, row) for number, row in rows if any(cell.strip() for cell in row)]


def _read_sheets(path: Path, max_chars: int) -> Iterator[tuple[str, list[tuple[int, list[str]]]]]:
    """Each sheet's name and its rows that are not blank, numbered as the sheet shows them; formulas as their values."""
    from openpyxl import load_workbook

    try:
        with path.open("rb") as file:  # given a path, it would look at the suffix
            book = load_workbook(file, read_only=True, data_only=True, keep_links=False)
            read = 0
            for sheet in book.worksheets:
                rows = []
                for number, row in enumerate(sheet.iter_rows(values_only=True), start=1):
                    cells = [_cell(value) for value in row]
                    read += sum(map(len, cells))
                    if read > max_chars:
                        raise TooLarge(over_limit(read, max_chars))
                    if any(cells):
                        rows.append((number, cells))
                yield sheet.title, rows
    except TooLarge:
        raise
    except Exception as error:
        raise Damaged(f"the spreadsheet cannot be read ({type(error).__name__})") from error


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, datetime) and value.time() == time():
        return value.date().isoformat()
    return str(value).replace("\x00", "\ufffd").strip()


def _columns(header: Sequence[str]) -> dict[str, int]:
    """Which column holds which field."""
    columns: dict[str, int] = {}
    for i, name in enumerate(header):
        field = _FIELD_OF.get(_name(name))
        if field:
            columns.setdefault(field, i)
    return columns


def _render_row(header: Sequence[str], row: Sequence[str]) -> str:
    cells = [" ".join(cell.split()) for cell in row]
    named = [f"{header[i]}: {cell}" if i < len(header) and header[i] else cell for i, cell in enumerate(cells) if cell]
    return "\n".join(named) + "\n\n"


def _parse(text: str, kind: str) -> Any:
    try:
        if kind == "yaml":
            import yaml

            return list(yaml.load_all(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
        try:
            return json.loads(text)
        except json.JSONDecodeError:
            lines = [line for line in text.splitlines() if line.strip()]
            if len(lines) > 1 and lines[0].lstrip().startswith(("{", "[")):
                return [json.loads(line) for line in lines]  # JSON Lines
            raise
    except RecursionError:
        raise Damaged("the file is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise Damaged(f"not valid JSON: {error.msg} in line {error.lineno}") from None
    except Exception as error:  # noqa: BLE001 (PyYAML lets ValueError and others through for odd scalars)
        mark = getattr(error, "problem_mark", None)
        raise Damaged("not valid YAML" + (f": see line {mark.line + 1}" if mark else f": {error}")) from None


def _texts(value: Any) -> list[str]:
    if value is None:
        return []
    if isinstance(value, list):
        return [str(item) for item in value if not isinstance(item, dict | list) and item is not None]
    return [] if isinstance(value, dict) else [str(value)]


def _names(value: Any) -> str:
    return " ".join(" ".join(_texts(value)).split())


def _name(key: Any) -> str:
    return re.sub(r"[\s-]+", "_", str(key).strip().casefold()).strip("_:*")


def _document(text: str, start: int, heading: list[str], kind: str) -> Document:
    return Document(page_content=text, metadata={"start": start, "page": None, "heading": heading, "kind": kind})
