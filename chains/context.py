"""What a chat model is shown: numbered passages that cannot be mistaken for anything else, within a budget of tokens.

Tokens are estimated, because every model counts its own and some counters are downloads: one token for three bytes of
UTF-8. That is more than models count for prose in any script, and about what they count for code and tables.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape

from langchain_core.documents import Document
from langchain_core.messages import BaseMessage

PROMPT_TOKENS = 12_000  # of everything that is sent at once; a question of the longest kind leaves room for passages
BYTES_PER_TOKEN = 3
TOKENS_PER_MESSAGE = 8  # around each, for its role
HISTORY_MESSAGES = 6  # of the conversation that a chat model is shown

# Characters that are not seen: zero-width ones, turners of the writing direction, and tags, which spell ASCII. Joiners
# stay, which Persian, Hindi and emoji are written with.
_UNSEEN = re.compile("[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\U000e0000-\U000e007f]")
# What looks like an angle bracket, before what looks like our tag.
_LOOKALIKE = re.compile(r"[‹〈《⟨⟪❬❮˂ᐸ](?=[\W_]*passage)", re.IGNORECASE)
_WIDE = str.maketrans({"＜": "<", "﹤": "<", "＆": "&", "﹠": "&"})


def count_tokens(text: str) -> int:
    """About how many tokens a model reads the text as; rather more than fewer."""
    return -(-len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN)


def room_beside(*texts: str, share: int = 1) -> int:
    """The tokens that are left of 1/share of the budget beside messages with these texts."""
    return PROMPT_TOKENS // share - sum(count_tokens(text) + TOKENS_PER_MESSAGE for text in texts)


def latest(history: Sequence[BaseMessage], room: int) -> list[BaseMessage]:
    """The last messages that fit, oldest first. A message is kept whole or, with all before it, left out."""
    kept: list[BaseMessage] = []
    for message in reversed(history[-HISTORY_MESSAGES:]):
        room -= count_tokens(message.text) + TOKENS_PER_MESSAGE
        if room < 0:
            break
        kept.append(message)
    return kept[::-1]


def fitting(passages: Iterable[Document], room: int) -> list[Document]:
    """The best passages that fit as they are shown; one that does not is passed over for a shorter one."""
    shown: list[Document] = []
    for passage in passages:
        needed = count_tokens(_show(len(shown) + 1, passage)) + 1  # and its line end
        if needed <= room:
            shown.append(passage)
            room -= needed
    return shown


def show_passages(passages: Sequence[Document]) -> str:
    """Numbered passages in tags that nothing in them can close or open: angle brackets and ampersands are escaped."""
    return "\n".join(_show(number, passage) for number, passage in enumerate(passages, start=1))


def _show(number: int, passage: Document) -> str:
    place = passage.metadata
    where = place["source"] + (f", page {place['page']}" if place["page"] else "")
    heading = " > ".join(place["heading"])
    return (
        f'<passage number={number} source="{_attribute(where)}" heading="{_attribute(heading)}">\n'
        f"{_data(passage.page_content)}\n</passage>"
    )


def _attribute(text: str) -> str:
    return escape(" ".join(visible(text).split()))


def _data(text: str) -> str:
    return visible(text).replace("&", "&amp;").replace("<", "&lt;")


def visible(text: str) -> str:
    """The text without what a reader does not see, and with lookalikes of angle brackets before our tag as these."""
    return _LOOKALIKE.sub("<", _UNSEEN.sub("", text).translate(_WIDE))
