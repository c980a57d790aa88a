"""A conversation as a file, written while it is read: thousands of messages need no more memory than a few hundred."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import quote

from rest_framework.utils.encoders import JSONEncoder

from backend.chat.history import OF_A_CONVERSATION, Row, read_through
from backend.chat.models import CitedSource, Conversation, Role

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

LONGEST_NAME = 80  # characters of a title that a file's name keeps

# What an answer may be made of to stand in the file as it is. Headings would look like ours.
PLAIN = {"paragraph", "bullet_list", "ordered_list", "blockquote", "fence", "code_block", "table"}
AFTER = "what follows"
SUSPECT = re.compile(r"<|\]:|^ {0,3}(?:#|```|~~~|[-=]+\s*$|[-_*]\s*[-_*])", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class File:
    content: Iterator[str]
    media_type: str
    disposition: str


def export(conversation: Conversation, format: str) -> File:  # noqa: A002 (the contract's name)
    """The conversation in one of FORMATS, without the messages in whose place others stand."""
    media_type, write = FORMATS[format]
    return File(write(conversation), media_type, _disposition(conversation.title, format))


def _write_json(conversation: Conversation) -> Iterator[str]:
    head = _dump({name: getattr(conversation, name) for name in OF_A_CONVERSATION})
    yield f'{head[:-1]}, "messages": ['
    for position, message in enumerate(read_through(conversation)):
        yield (",\n" if position else "\n") + _dump(message)
    yield "\n]}\n"


def _dump(row: Row) -> str:
    return json.dumps(row, cls=JSONEncoder, ensure_ascii=False)


def _write_markdown(conversation: Conversation) -> Iterator[str]:
    yield f"# {_inline(conversation.title) or 'Conversation'}\n"
    for message in read_through(conversation):
        when = message["created_at"].strftime("%Y-%m-%d %H:%M UTC")
        if message["role"] == Role.USER:
            yield f"\n## Question, {when}\n\n{_quoted(message['content'])}\n"
            continue
        cut = ", cut" if message["cut"] else ""
        yield f"\n## Answer, {when} ({message['outcome'] or 'no outcome'}{cut})\n\n{_answer(message['content'])}\n"
        if message["citations"]:
            yield "\n### Footnotes\n"
        for citation in message["citations"]:
            yield f"\n{_place(citation)}\n\n{_quoted(citation['quote'])}\n"


def _place(citation: Row) -> str:
    parts = [f"**\\[{citation['n']}\\]** {_inline(citation['source'])}"]
    if citation["page"] is not None:
        parts.append(f"page {citation['page']}")
    if citation["heading"]:
        parts.append(" › ".join(_inline(part) for part in citation["heading"]))
    parts.append(f"characters {citation['start']} to {citation['end']}")
    parts.append(f"version {_inline(citation['source_version'])}")
    if citation["source_state"] != CitedSource.CURRENT:
        parts.append(f"{citation['source_state']} since")
    return ", ".join(parts)


def _answer(text: str) -> str:
    """As it is; in a quotation if anything in it would reach beyond it: an open fence, HTML, a link's definition."""
    if not SUSPECT.search(text):
        return text
    environment: dict[str, object] = {}
    tokens = _markdown().parse(f"{text}\n\n{AFTER}", environment)
    blocks = [token for token in tokens if token.level == 0]
    ends_where_it_should = len(tokens) > 1 and tokens[-2].level == 1 and tokens[-2].content == AFTER
    plain = all(block.type.removesuffix("_open").removesuffix("_close") in PLAIN for block in blocks)
    html = any(token.type == "html_block" for token in tokens) or any(
        child.type == "html_inline" for token in tokens for child in token.children or ()
    )
    if ends_where_it_should and plain and not html and not environment.get("references"):
        return text
    return _quoted(text)


def _quoted(text: str) -> str:
    """A block quotation, in which nothing is HTML, and no line defines where links elsewhere lead."""
    text = re.sub(r"<(?=[A-Za-z/!?])", r"\\<", text)
    lines = (re.sub(r"^([\s>*+\-\d.)]*)\[", r"\1\\[", line) for line in text.splitlines())
    return "\n".join(f"> {line}".rstrip() for line in lines) or ">"


def _inline(text: str) -> str:
    """Text on one line in which nothing is markup."""
    return re.sub(r"([\\`*_{}\[\]<>#|!~&$])", r"\\\1", " ".join(text.split()))


@lru_cache(maxsize=1)
def _markdown() -> MarkdownIt:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark").enable("table")


def _disposition(title: str, extension: str) -> str:
    """The name of the file, once for clients that read ASCII only, and once as it is."""
    kept = "".join(" " if unicodedata.category(char)[0] in "CZ" else char for char in title)
    name = " ".join(re.sub(r'[\\/:*?"<>|%]', " ", kept).split())[:LONGEST_NAME].strip(" .")
    name = f"footnote {name}".strip()
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    ascii_name = " ".join(re.sub(r"[^\w .,()+-]", " ", ascii_name).split())
    return f"attachment; filename=\"{ascii_name}.{extension}\"; filename*=UTF-8''{quote(name, safe='')}.{extension}"


FORMATS: dict[str, tuple[str, Callable[[Conversation], Iterator[str]]]] = {
    "json": ("application/json", _write_json),
    "md": ("text/markdown; charset=utf-8", _write_markdown),
}
