"""Markdown: the source text is the file itself; Documents are its blocks with their heading path.

Cut at the block tokens of markdown-it (CommonMark with tables), by their line numbers, so that code keeps its
indentation and every offset is exact.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import Document

from loaders.sidecar import Metadata, metadata_from
from loaders.text import read_text

if TYPE_CHECKING:
    from markdown_it.token import Token

_FRONT_MATTER = re.compile(r"\A---[ \t]*\r?\n(.*?)\r?\n(?:---|\.\.\.)[ \t]*(?:\r?\n|\Z)", re.DOTALL)
_KINDS = {"fence": "code", "code_block": "code", "table_open": "table", "heading_open": "heading", "html_block": "html"}
_MARKUP = re.compile(r"!?\[([^\]]*)\]\([^)]*\)|[*_`]+|<[^>]+>|\{[^}]*\}|\\(?=\W)")


class MarkdownLoader(BaseLoader):
    """Documents whose contents, joined, are the file. `kind`: text, code, table, heading, comment or front matter."""

    def __init__(self, path: Path, max_chars: int) -> None:
        self.path = path
        self.max_chars = max_chars
        self.title = ""
        self.metadata = Metadata()

    def lazy_load(self) -> Iterator[Document]:
        text = read_text(self.path, self.max_chars)
        front = _FRONT_MATTER.match(text)
        body = front.end() if front else 0
        if front:
            yield _document(text, 0, body, [], "front matter")
            self.metadata = _front_matter(front.group(1))
            self.title = self.metadata.title
        yield from self._blocks(text, body)

    def _blocks(self, text: str, body: int) -> Iterator[Document]:
        heading: list[tuple[int, str]] = []
        blocks = find_blocks(text, body)
        for i, block in enumerate(blocks):
            if block.level:
                heading = [above for above in heading if above[0] < block.level]
                heading.append((block.level, block.title))
                if block.level == 1 and not self.title:
                    self.title = block.title
            start = block.start if i else body  # what stands before the first block goes with it
            end = blocks[i + 1].start if i + 1 < len(blocks) else len(text)
            yield _document(text, start, end, [title for _, title in heading], block.kind)
        if not blocks and body < len(text):
            yield _document(text, body, len(text), [], "text")


def _front_matter(text: str) -> Metadata:
    """What it tells of the file; nothing when it cannot be understood."""
    import yaml

    try:
        data = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 (both are safe)  # nosec B506
        return metadata_from(data) if isinstance(data, dict) else Metadata()
    except (yaml.YAMLError, ValueError, RecursionError):
        return Metadata()


@dataclass(frozen=True, slots=True)
class Block:
    """A top-level block: where it starts; level and title only of a heading."""

    start: int
    kind: str
    level: int = 0
    title: str = ""


def find_blocks(text: str, body: int = 0) -> list[Block]:
    """The top-level blocks of `text[body:]` in order, with offsets into `text`."""
    from markdown_it import MarkdownIt

    tokens = MarkdownIt("commonmark", {"maxNesting": 20}).enable("table").parse(text[body:])
    line_starts = _line_starts(text, body)
    blocks = []
    for i, token in enumerate(tokens):
        if token.level or not token.map or token.nesting < 0:
            continue
        kind = _kind(token)
        start = line_starts[token.map[0]]
        if kind == "heading":
            blocks.append(Block(start, kind, int(token.tag[1]), plain(tokens[i + 1].content)))
        else:
            blocks.append(Block(start, kind))
    return blocks


def plain(markup: str) -> str:
    """A heading without emphasis, links and code marks."""
    return " ".join(_MARKUP.sub(lambda match: match.group(1) or "", markup).split())


def _kind(token: Token) -> str:
    kind = _KINDS.get(token.type, "text")
    if kind == "html":
        stripped = token.content.strip()
        return "comment" if stripped.startswith("<!--") and stripped.endswith("-->") else "text"
    return kind


def _line_starts(text: str, body: int) -> list[int]:
    """Offset of each line as markdown-it counts them: it takes CRLF, CR and LF for line ends."""
    return [body, *(body + match.end() for match in re.finditer(r"\r\n|\n|\r", text[body:])), len(text)]


def _document(text: str, start: int, end: int, heading: list[str], kind: str) -> Document:
    metadata = {"start": start, "page": None, "heading": heading, "kind": kind}
    return Document(page_content=text[start:end], metadata=metadata)
