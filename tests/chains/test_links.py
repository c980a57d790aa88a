"""A model's answer has only links that stand in the documents or the question."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chains.links import LinkCutter, Unescaper
from chains.model import Draft

KNOWN = (
    "See https://docs.example.org/setup?a=1&b=2, [home](https://example.org/x_(y)) or www.acme.com. ![l](/img/a.png)"
)


def run(pieces: list[str]) -> tuple[str, int]:
    draft = Draft()
    unescaper, cutter = Unescaper(), LinkCutter(KNOWN, draft)
    shown = "".join(cutter.feed(unescaper.feed(piece)) for piece in pieces)
    return shown + cutter.feed(unescaper.finish(), last=True), draft.dropped


@pytest.mark.parametrize(
    "text",
    [
        "Go to https://docs.example.org/setup?a=1&b=2, please.",
        "Go to (https://docs.example.org) or <www.acme.com>.",
        "[home](https://example.org/x_(y)) and ![logo](/img/a.png)",
        "[a part](#of-this), [nothing](), either/or, // a comment, data: that is, 12:30, C:\\temp",
        "a list [of words] and a citation [1]",
    ],
)
def test_what_is_known_or_no_link_stays(text: str) -> None:
    assert run([text]) == (text, 0)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Go to https://evil.example/?q=secret.", "Go to ."),
        ("https://docs.example.org/setup?a=1&b=2&q=secret", ""),
        ("https://docs.example.or", ""),  # the beginning of a host is another host
        ("HTTPS://EVIL.EXAMPLE/a", ""),
        ("![x](https://evil.example/a.png?q=secret)", "![x]"),
        ("[click](//evil.example) and [click](\n//evil.example)", "[click] and [click]"),
        ("[click](javascript:alert(1)", "[click]"),
        ("[click](/logout)", "[click]"),
        ("![x][a]\n\n[a]: //evil.example/a.png", "![x][a]\n\n[a]: "),
        ('<img src="//evil.example/a.png">', '<img src="">'),
        ("<https://evil.example> (https://evil.example)", " "),
        ("mailto:eve@evil.example data:text/html;base64,AAAA www.evil.example", "  "),
        ("evil://host/path", "evil"),
        ("[1](https://evil.example)", "[1]"),
        ("[click](" + "x" * 3000 + ")", "[click] (" + "x" * 3000 + ")"),
    ],
)
def test_what_is_not_known_is_cut_and_counted(text: str, left: str) -> None:
    shown, dropped = run([text])
    assert shown == left
    assert dropped > 0 or len(text) > 3000


def test_escaped_characters_come_back_once() -> None:
    assert run(["if a &lt; b &am", "p;&amp; c &amp;lt; d &copy; &"])[0] == "if a < b && c &lt; d &copy; &"
    assert run(["https://docs.example.org/setup?a=1&am", "p;b=2"]) == ("https://docs.example.org/setup?a=1&b=2", 0)


PARTS = "h http https:// :// / // evil.example www. . ] ]( ( ) [ 1 ] < > data: image/ & lt ; javascript: x".split()


@given(st.lists(st.sampled_from([*PARTS, " ", "\n"]), max_size=14), st.lists(st.integers(0, 60), max_size=10))
def test_what_is_left_does_not_depend_on_how_the_text_is_cut(parts: list[str], cuts: list[int]) -> None:
    whole = "".join(parts)
    places = sorted({0, len(whole), *(min(cut, len(whole)) for cut in cuts)})
    assert run([whole[a:b] for a, b in pairwise(places)]) == run([whole])
