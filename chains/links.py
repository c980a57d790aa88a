"""What a model writes leaves without links that it could not have from the documents or the question.

A model that was talked into it can put what it was shown into an address, which a reader's program then opens: an image
does so by itself. So a link stays only when its whole address stands in the text that was found or asked; otherwise the
address is cut, and the words around it stay. Bare names of hosts ("example.org") are text.
"""

from __future__ import annotations

import html
import re

from chains.model import Draft

LONGEST_TARGET = 2000  # characters between the parentheses of a markdown link

_PART = r"[^\s<>\"`\[\]]"
_ADDRESS = (
    rf"(?:\b(?:https?|ftp|file|wss?))?://{_PART}+|\b(?:mailto|javascript|vbscript):{_PART}+|\bdata:\w+/{_PART}+|"
    rf"\bwww\.{_PART}+|(?<![\w:/])//[\w-]+\.{_PART}+"
)
_LINK = re.compile(
    rf"\]\((?P<target>[^)]{{0,{LONGEST_TARGET}}})\)|\](?P<unclosed>\()(?=[^)]{{{LONGEST_TARGET + 1}}})|"
    rf"(?P<open>[(<]?)(?P<address>{_ADDRESS})(?P<close>>?)",
    re.IGNORECASE,
)
_STARTS = ("https://", "http://", "ftp://", "file://", "wss://", "ws://", "mailto:", "javascript:", "vbscript:", "www.")
_PREFIXES = "|".join(sorted({re.escape(start[:n]) for start in _STARTS for n in range(1, len(start) + 1)}))
# The end of a text that may go on as a link.
_MAYBE_LINK = re.compile(
    rf"\](?:\([^)]{{0,{LONGEST_TARGET}}})?\Z|"
    rf"[(<]?(?:\b(?:{_PREFIXES})|\bd(?:a(?:t(?:a(?::(?:\w+/?)?)?)?)?)?|:/{{0,2}}|//?(?:[\w-]+\.?)?|{_ADDRESS})\Z|[(<]\Z",
    re.IGNORECASE,
)
_CITING = re.compile(r"\[[\s\d^,;–-]+\]\Z")
_CONTEXT = 80  # characters before what is held that are looked back at
_AFTER_ADDRESS = ".,;:!?)'*_"
_MAYBE_ENTITY = re.compile(r"&[a-z]{0,4}\Z")
_ENTITY = re.compile(r"&(?:lt|gt|amp|quot);")


class Unescaper:
    """A model's text with the characters back that were escaped in what it was shown, if it repeats them so."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, piece: str) -> str:
        """What can be passed on now."""
        self._held += piece
        undecided = _MAYBE_ENTITY.search(self._held)
        cut = undecided.start() if undecided else len(self._held)
        passed, self._held = self._held[:cut], self._held[cut:]
        return _ENTITY.sub(lambda match: html.unescape(match.group()), passed) if "&" in passed else passed

    def finish(self) -> str:
        rest, self._held = self._held, ""
        return rest


class LinkCutter:
    """The text as it comes, without links whose address is not in `known`; these are counted in `draft.dropped`."""

    def __init__(self, known: str, draft: Draft) -> None:
        self.known = known
        self.draft = draft
        self._before = ""  # the end of what was passed on
        self._held = ""

    def feed(self, piece: str, *, last: bool = False) -> str:
        """What can be passed on now; with `last`, all that is held."""
        text = self._before + self._held + piece
        place = len(self._before)
        kept = ""
        undecided = None if last else self._undecided(text, place)
        while match := _LINK.search(text, place):
            if undecided is not None and undecided <= match.start():
                break
            if match["address"] is None and _CITING.search(text[: match.start() + 1]):
                kept += text[place : match.start() + 1]
                place = match.start() + 1
            else:
                kept += text[place : match.start()] + self._link(match)
                place = match.end()
            undecided = None if last else self._undecided(text, place)
        end = len(text) if undecided is None else undecided
        kept += text[place:end]
        self._before, self._held = text[:end][-_CONTEXT:], text[end:]
        return kept

    def _undecided(self, text: str, place: int) -> int | None:
        """Where a link may have begun that has not ended; a citation's bracket does not wait for what follows."""
        match = _MAYBE_LINK.search(text, place)
        while match and match.group().startswith("]") and _CITING.search(text[: match.start() + 1]):
            match = _MAYBE_LINK.search(text, match.start() + 1)
        return match.start() if match else None

    def _link(self, match: re.Match[str]) -> str:
        """What stays of a link."""
        address = match["address"]
        if match["unclosed"]:
            return "] ("
        if address is None:
            target = (match["target"].split() or [""])[0].strip("<>")
            if not target or target.startswith("#") or self._is_known(target):
                return match.group()
            self.draft.dropped += 1
            return "]"
        bare = address.rstrip(_AFTER_ADDRESS)
        if self._is_known(bare):
            return match.group()
        self.draft.dropped += 1
        rest = match["open"] + address[len(bare) :] + match["close"]
        return rest[2:] if rest.startswith(("()", "<>")) else rest

    def _is_known(self, address: str) -> bool:
        """Whether it stands there to its end: a part of an address may be another's, so it must end at a boundary."""
        before = r"(?<![\w.-])" if address[:1].isalnum() else ""
        return re.search(rf"{before}{re.escape(address)}(?![\w-]|\.\w)", self.known) is not None
