"""GET /conversations/{id}/export: a conversation as a file that nothing in it can break."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from django.utils import timezone
from markdown_it import MarkdownIt
from rest_framework.test import APIClient

from backend.accounts.models import User
from backend.chat.models import Conversation, Message
from tests.backend.chats import ANSWER, cite, many, say, talk
from tests.backend.test_edges import check_error

pytestmark = pytest.mark.django_db


def export(client: APIClient, conversation: Conversation, **options: str) -> tuple[Any, str]:
    answer: Any = client.get(f"/conversations/{conversation.pk}/export", options)
    assert answer.status_code == 200, answer.content
    return answer, b"".join(answer.streaming_content).decode()


@pytest.fixture
def conversation(user: User) -> Conversation:
    made = talk(user, "Leave")
    cite(Message.objects.get(role="assistant"))
    say(made, "replaced", **ANSWER, replaced_at=timezone.now())
    return made


def test_json_holds_the_conversation_as_the_history_shows_it(client: APIClient, conversation: Conversation) -> None:
    answer, text = export(client, conversation)
    assert answer["Content-Type"] == "application/json"
    shown = client.get("/chat-history").json()["results"][0]
    del shown["message_count"]
    assert json.loads(text) == shown


def test_markdown_shows_questions_answers_and_their_places(client: APIClient, conversation: Conversation) -> None:
    answer, text = export(client, conversation, format="md")
    assert answer["Content-Type"] == "text/markdown; charset=utf-8"
    lines = text.splitlines()
    assert lines[0] == "# Leave"
    assert "> Question 0 of Leave?" in lines
    assert "Answer 0 of Leave. [1]" in lines
    place = "page 3, Leave › Parental, characters 0 to 18, version " + "ab" * 32
    assert rf"**\[1\]** hr/handbook.md, {place}" in lines
    assert "> Leave is 16 weeks." in lines
    assert "replaced" not in text


@pytest.mark.parametrize("given", ["pdf", "MD", "../md", "x" * 1_000])
def test_an_unknown_format_is_a_400(client: APIClient, conversation: Conversation, given: str) -> None:
    check_error(client.get(f"/conversations/{conversation.pk}/export", {"format": given}), 400, "invalid")


@pytest.mark.parametrize(
    ("title", "ascii_name", "name"),
    [
        ("", "footnote", "footnote"),
        ("Leave", "footnote Leave", "footnote%20Leave"),
        ("Grüße 🙂", "footnote Grue", "footnote%20Gr%C3%BC%C3%9Fe%20%F0%9F%99%82"),
        ('a"; x="/../b:*?<>|c%00.', "footnote a x .. b c 00", "footnote%20a%20%3B%20x%3D%20..%20b%20c%2000"),
        ("..", "footnote", "footnote"),
        ("evil\u202egnp.exe", "footnote evil gnp.exe", "footnote%20evil%20gnp.exe"),
        ("x" * 200, f"footnote {'x' * 80}", f"footnote%20{'x' * 80}"),
    ],
)
def test_the_file_is_named_by_the_title(client: APIClient, user: User, title: str, ascii_name: str, name: str) -> None:
    header = export(client, talk(user, title, turns=0), format="md")[0]["Content-Disposition"]
    assert header == f"attachment; filename=\"{ascii_name}.md\"; filename*=UTF-8''{name}.md"


HOSTILE = [
    "```\nnever closed",
    "~~~~ python\nnever closed",
    "- a\n  ```\n  in a list",
    "<!-- never closed",
    "text <!-- inside",
    "<details><summary>more",
    "<script>alert(1)</script>",
    "<pre>\nnever closed",
    "# A heading",
    "## Question, 2026-01-01 00:00 UTC",
    "Set text\n===",
    "Set text\n-",
    "---",
    "[1]: https://evil.example",
    "> [1]: https://evil.example",
    "- [1]: https://evil.example",
    "[1\n]: https://evil.example",
    "a\r[1]: https://evil.example\r\rb",
    "| a | b |\n|---|---|\n| 1 | 2 |",
    "1. one\n2. two",
    "    indented",
    "\\",
    "",
    "a\u2028# b\u2029\x0c# c",
]


def outline(text: str) -> list[tuple[str, str]]:
    """The headings of a markdown text outside quotations; it has no HTML and defines no link."""
    environment: dict[str, Any] = {}
    tokens = MarkdownIt("commonmark").parse(text, environment)
    assert not environment.get("references")
    for token in tokens:
        assert token.type != "html_block"
        assert all(child.type not in ("html_inline", "link_open") for child in token.children or ())
    return [
        (opening.tag, content.content)
        for opening, content in pairwise(tokens)
        if opening.type == "heading_open" and opening.level == 0
    ]


@pytest.mark.parametrize("text", HOSTILE)
def test_no_message_breaks_the_markdown_around_it(client: APIClient, user: User, text: str) -> None:
    conversation = Conversation.objects.create(user=user, title=f"# {text}"[:200], updated_at=timezone.now())
    for _ in range(2):
        say(conversation, text)
        cite(say(conversation, text, **ANSWER), quote=text or "x", path="a`b[1](c)<d>.md")
    found = outline(export(client, conversation, format="md")[1])
    assert [tag for tag, _ in found] == ["h1", "h2", "h2", "h3", "h2", "h2", "h3"]
    assert [content.split(",")[0] for tag, content in found if tag == "h2"] == ["Question", "Answer"] * 2


def test_an_answer_is_shown_as_it_is_where_it_does_no_harm(client: APIClient, user: User) -> None:
    conversation = talk(user, turns=0)
    table = "| a | b |\n|---|---|\n| 1 | 2 |"
    text = f"Two ways [1]:\n\n- **this**\n- `that`\n\n```sh\n# a comment\nmake run < in\n```\n\n{table}"
    say(conversation, text, **ANSWER)
    assert f"\n\n{text}\n" in export(client, conversation, format="md")[1]


def test_thousands_of_messages_are_written_while_they_are_read(client: APIClient, user: User) -> None:
    (long,) = many(user, 1, 1_203, citations=1)
    conversation = Conversation.objects.get(pk=long)
    messages = json.loads(export(client, conversation)[1])["messages"]
    assert [row["id"] for row in messages] == [
        str(pk) for pk in Message.objects.filter(conversation=long).order_by("id").values_list("pk", flat=True)
    ]
    text = export(client, conversation, format="md")[1]
    assert (text.count("## Question"), text.count("## Answer")) == (602, 601)
