"""What a file becomes: the values that leave this package.

Offsets are positions in `LoadedSource.text` counted in Python characters (code points), start inclusive, end
exclusive, so that `text[start:end]` is the passage itself. Citations rest on this law.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Chunk:
    """A passage small enough for the embedding model to read whole.

    text: exactly `LoadedSource.text[start:end]`.
    embed_text: what is embedded and word-indexed: the title and heading path, the table header of a split table, then
        the text. It never goes into a quote.
    page: 1-based page where the chunk starts, None where the format has no pages.
    heading: the headings above the passage, outermost first; empty where there are none.
    kind: "text", "code", "table" or "faq".
    answer_start: for a FAQ pair, the offset in the source text where the answer begins; None otherwise.
    """

    text: str
    start: int
    end: int
    embed_text: str
    page: int | None = None
    heading: tuple[str, ...] = ()
    kind: str = "text"
    answer_start: int | None = None


@dataclass(frozen=True, slots=True)
class LoadedSource:
    """A parsed and chunked file.

    text: the source text that every offset points into. For markdown and plain text it is the decoded file itself.
    format: "pdf", "markdown", "faq", "text", "html", "docx", ...
    pages: number of pages, None where the format has none.
    warnings: what was left out and why, one line each (for instance "row 7: no answer").
    tags, language: what the file and its sidecar tell (loaders/sidecar.py).
    """

    text: str
    format: str
    title: str
    chunks: tuple[Chunk, ...]
    pages: int | None = None
    warnings: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    language: str = ""
