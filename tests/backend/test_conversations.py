"""/conversations, their messages, and the lists that stay right while somebody writes."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from backend.accounts.models import User
from backend.chat.models import Citation, Conversation, Feedback, IdempotencyKey, Message
from backend.chat.serializers import ConversationSerializer, HistorySerializer, MessageSerializer
from backend.knowledge.models import Source
from tests.backend.chats import ANSWER, cite, contents, many, say, talk, titles
from tests.backend.conftest import Sync
from tests.backend.test_edges import check_error

pytestmark = pytest.mark.django_db


def pages(client: APIClient, url: str | None, link: str = "next") -> Iterator[dict[str, Any]]:
    """The page at a URL, and those that its links lead to."""
    while url:
        answer = client.get(url)
        assert answer.status_code == 200, answer.content
        page: dict[str, Any] = answer.json()
        yield page
        url = page[link]


def test_a_conversation_is_opened_renamed_and_erased(client: APIClient) -> None:
    opened = client.post("/conversations", {"title": "  Parental leave "})
    assert opened.status_code == 201
    made = opened.json()
    assert {name: made[name] for name in ("title", "message_count", "last_message")} == {
        "title": "Parental leave",
        "message_count": 0,
        "last_message": None,
    }
    path = f"/conversations/{made['id']}"
    assert client.get(path).json() == made
    assert client.get("/conversations").json()["results"] == [made]
    renamed = client.patch(path, {"title": "Leave"})
    assert (renamed.status_code, renamed.json()) == (200, {**made, "title": "Leave"})
    assert client.delete(path).status_code == 204
    check_error(client.get(path), 404, "not_found")
    check_error(client.delete(path), 404, "not_found")


def test_a_conversation_without_a_title_takes_its_first_question(client: APIClient, sync: Sync) -> None:
    sync()
    made = client.post("/conversations").json()
    assert made["title"] == ""
    for question in ("Where are bicycles parked?", "And cars?"):
        client.post("/chat", {"message": question, "conversation_id": made["id"]})
    assert client.get(f"/conversations/{made['id']}").json()["title"] == "Where are bicycles parked?"


@pytest.mark.parametrize(
    "title", ["", "   ", None, 7.5, ["a"], "x" * 201, "two\nlines", "a\tb", "a\x85b", "a\u2028b", "a\x1b[31m"]
)
def test_a_title_is_one_line_of_up_to_200_characters(client: APIClient, user: User, title: Any) -> None:
    conversation = talk(user, "Leave", turns=0)
    body = {"title": title}
    for answer in (client.post("/conversations", body), client.patch(f"/conversations/{conversation.pk}", body)):
        check_error(answer, 400, "invalid")
        assert set(answer.json()["error"]["fields"]) == {"title"}
    check_error(client.patch(f"/conversations/{conversation.pk}", {}), 400)


def test_what_a_client_may_not_set_is_refused(client: APIClient, user: User, make_user: Callable[[str], User]) -> None:
    mine = talk(user, "Mine")
    for field in ({"user": make_user("eve").pk}, {"id": str(uuid4())}, {"created_at": "2020-01-01T00:00:00Z"}):
        check_error(client.post("/conversations", {"title": "x", **field}), 400, "invalid")
        check_error(client.patch(f"/conversations/{mine.pk}", {"title": "x", **field}), 400, "invalid")
    assert Conversation.objects.get().title == "Mine"


def test_another_users_conversation_is_as_one_that_does_not_exist(
    client: APIClient, make_user: Callable[[str], User]
) -> None:
    theirs = talk(make_user("eve"), "Secret")
    assert client.get("/conversations").json()["count"] == 0
    assert client.get("/conversations", {"q": "secret"}).json()["results"] == []
    for tail in ("", "/messages", "/export", "/export?format=md"):
        asked = client.get(f"/conversations/{theirs.pk}{tail}")
        check_error(asked, 404, "not_found")
        assert asked.content == client.get(f"/conversations/{uuid4()}{tail}").content
    check_error(client.patch(f"/conversations/{theirs.pk}", {"title": "x"}), 404)
    check_error(client.patch(f"/conversations/{theirs.pk}", {"title": ""}), 404)
    check_error(client.delete(f"/conversations/{theirs.pk}"), 404)
    check_error(APIClient().get(f"/conversations/{theirs.pk}"), 401)
    assert Conversation.objects.get().title == "Secret"


def test_the_list_shows_the_latest_activity_first_with_the_last_message(client: APIClient, user: User) -> None:
    early, late = talk(user, "Early"), talk(user, "Late", turns=2)
    say(early, "word " * 100, **ANSWER)
    say(early, "gone", **ANSWER, replaced_at=timezone.now())
    shown = client.get("/conversations").json()
    assert shown["count"] == 2
    assert titles(shown) == ["Early", "Late"]
    first, second = shown["results"]
    assert (first["message_count"], second["message_count"]) == (3, 4)
    assert first["last_message"]["snippet"] == "word " * 39 + "word…"
    assert (second["last_message"]["role"], second["last_message"]["snippet"]) == ("assistant", "Answer 1 of Late. [1]")
    client.patch(f"/conversations/{late.pk}", {"title": "Renamed"})
    assert titles(client.get("/conversations").json()) == ["Early", "Renamed"], "nothing was said in it"


def test_lists_are_searched_in_titles_and_messages(client: APIClient, user: User) -> None:
    talk(user, "Bicycles")
    leave = talk(user, "Leave")
    say(leave, "replaced BICYCLES", replaced_at=timezone.now())
    say(talk(user, "House"), "Where are BICYCLES parked?")
    for path in ("/conversations", "/chat-history"):
        found = client.get(path, {"q": "bicycles"}).json()
        assert (found["count"], titles(found)) == (2, ["House", "Bicycles"])
        assert client.get(path, {"q": "%"}).json()["count"] == 0
        assert client.get(path, {"q": ""}).json()["count"] == 3
        check_error(client.get(path, {"q": "x" * 1_001}), 400, "invalid")
        check_error(client.get(path, {"q": "a\x00b"}), 400, "invalid")
        one = client.get(path, {"conversation_id": str(leave.pk)}).json()
        assert titles(one) == ["Leave"]


@pytest.mark.parametrize("path", ["/conversations", "/chat-history"])
def test_conversations_that_move_while_they_are_listed_are_shown_once(client: APIClient, user: User, path: str) -> None:
    now = timezone.now() - timedelta(hours=1)
    talks = [talk(user, f"{number}", at=now - timedelta(minutes=number)) for number in range(12)]
    walk = pages(client, f"{path}?page_size=4")
    seen = titles(next(walk))
    talk(user, "new")  # before the first page
    say(talks[1], "shown already", **ANSWER)
    say(talks[9], "not shown yet", **ANSWER)
    seen += titles(next(walk))
    say(talks[10], "just before it is shown", **ANSWER)
    talk(user, "newer")
    for page in walk:
        seen += titles(page)
    assert seen == [str(number) for number in range(12)]
    assert titles(client.get(path, {"page_size": 5}).json()) == ["newer", "10", "9", "1", "new"]


def test_conversations_of_one_moment_are_each_shown_once_both_ways(client: APIClient, user: User) -> None:
    many(user, 45, 0)
    forth = list(pages(client, "/conversations?page_size=10"))
    assert [len(page["results"]) for page in forth] == [10, 10, 10, 10, 5]
    assert {page["count"] for page in forth} == {45}
    assert len({row["id"] for page in forth for row in page["results"]}) == 45
    back = list(pages(client, forth[-1]["previous"], "previous"))
    assert [page["results"] for page in back] == [page["results"] for page in reversed(forth[:-1])]
    assert back[-1]["previous"] is None


def test_messages_are_read_in_order_while_more_arrive(client: APIClient, user: User) -> None:
    conversation = talk(user, turns=3)
    path = f"/conversations/{conversation.pk}/messages"
    forth = pages(client, f"{path}?page_size=4")
    first = next(forth)
    assert (first["count"], first["previous"]) == (6, None)
    say(conversation, "late question")
    rest = [row for page in forth for row in page["results"]]
    assert contents(first["results"] + rest) == [
        *(
            f"{what} {number} of Leave{mark}"
            for number in range(3)
            for what, mark in (("Question", "?"), ("Answer", ". [1]"))
        ),
        "late question",
    ]

    back = pages(client, f"{path}?page_size=3&order=desc")
    shown = next(back)
    say(conversation, "later still")
    older = [row for page in back for row in page["results"]]
    assert contents(shown["results"])[0] == "late question"
    assert len({row["id"] for row in shown["results"] + older}) == 7
    newer = client.get(next(pages(client, shown["next"]))["previous"]).json()
    assert newer["results"] == shown["results"]
    assert contents(client.get(newer["previous"]).json()["results"]) == ["later still"]


def test_a_page_whose_rows_were_erased_leads_back(client: APIClient, user: User) -> None:
    conversation = talk(user, turns=2)
    path = f"/conversations/{conversation.pk}/messages?page_size=2"
    first = client.get(path).json()
    Message.objects.filter(conversation=conversation, id__gt=first["results"][-1]["id"]).delete()
    empty = client.get(first["next"]).json()
    assert (empty["results"], empty["next"]) == ([], None)
    assert client.get(empty["previous"]).json()["results"] == first["results"]


def test_replaced_messages_are_shown_only_when_asked_for(client: APIClient, user: User) -> None:
    conversation = talk(user)
    say(conversation, "another answer", **ANSWER)
    Message.objects.filter(content__startswith="Answer 0").update(replaced_at=timezone.now())
    path = f"/conversations/{conversation.pk}/messages"
    shown = client.get(path).json()
    assert (shown["count"], contents(shown["results"])) == (2, ["Question 0 of Leave?", "another answer"])
    assert all("replaced" not in row for row in shown["results"])
    every = client.get(path, {"replaced": "true"}).json()
    assert [row.get("replaced") for row in every["results"]] == [None, True, None]
    history = client.get("/chat-history").json()["results"][0]
    assert (history["message_count"], contents(history["messages"])) == (2, contents(shown["results"]))


def cursor(*parts: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode()


NOW, SOME_ID = "2026-05-01T00:00:00+00:00", "01a1fc42-ce2e-76d4-b049-e4592fde2004"


@pytest.mark.parametrize(
    "given",
    [
        "x",
        "ä",
        "=",
        cursor(),
        cursor("after", NOW),
        cursor("after", NOW, "1", "2", "3", "4"),
        cursor("beside", NOW, NOW, SOME_ID),
        cursor(["after"], NOW, NOW, SOME_ID),
        cursor("after", NOW, NOW, "nonsense"),
        cursor("after", NOW, "0001-01-01T00:00:00+23:59", SOME_ID),
        cursor("after", 7, NOW, SOME_ID),
        cursor("after", NOW, None, None),
        base64.urlsafe_b64encode(b'{"after": 1}').decode(),
        base64.urlsafe_b64encode(b"[" * 5_000).decode(),
    ],
)
def test_a_bad_cursor_is_a_400_that_names_it(client: APIClient, user: User, given: str) -> None:
    conversation = talk(user)
    for path in ("/conversations", "/chat-history", f"/conversations/{conversation.pk}/messages"):
        answer = client.get(path, {"cursor": given})
        check_error(answer, 400, "invalid")
        assert set(answer.json()["error"]["fields"]) == {"cursor"}


def test_page_sizes_are_read_as_everywhere(client: APIClient, user: User) -> None:
    many(user, 210, 0)
    for size, length in [("1", 1), ("007", 7), ("200", 200), ("9999", 200), ("9" * 5000, 200)]:
        assert len(client.get("/conversations", {"page_size": size}).json()["results"]) == length
    for size in ("", "0", "-1", "x", "1.0", "٣", "1_0"):
        for path in ("/conversations", "/sources"):
            check_error(client.get(path, {"page_size": size}), 400, "invalid")
    for page in ("", "0", "x", "last", "2", "9" * 5000):
        check_error(client.get("/sources", {"page": page}), 404, "not_found")
    check_error(client.get("/conversations", {"page": "2"}), 400, "invalid")
    check_error(client.get("/chat-history", {"conversation_id": "x"}), 400, "invalid")
    path = f"/conversations/{Conversation.objects.first().pk}/messages"  # type: ignore[union-attr]
    check_error(client.get(path, {"order": "up"}), 400, "invalid")
    check_error(client.get(path, {"replaced": "perhaps"}), 400, "invalid")


def as_described(rows: list[dict[str, Any]], serializer: Any) -> list[dict[str, Any]]:
    """The rows as their serializer would write them; it fills what may be null and is left out."""
    written: list[dict[str, Any]] = serializer(rows, many=True).data
    for row, shown in zip(written, rows, strict=True):
        for message, one in zip(row.get("messages", [row]), shown.get("messages", [shown]), strict=True):
            for name in {"feedback", "confidence"} - set(one):
                assert message.pop(name, None) is None
    return written


def test_what_is_shown_is_what_the_schema_says(client: APIClient, user: User) -> None:
    conversation = talk(user, turns=2)
    for n, answer in enumerate(Message.objects.filter(role="assistant"), 1):
        cite(answer, n)
    Feedback.objects.create(message=Message.objects.filter(role="assistant")[0], rating=-1, comment="no")
    say(conversation, "old", **ANSWER, replaced_at=timezone.now())
    shown = client.get("/chat-history").json()["results"]
    assert shown == as_described(shown, HistorySerializer)
    assert shown[0]["messages"][1]["feedback"] == {"rating": -1, "comment": "no"}
    assert shown[0]["messages"][3]["feedback"] is None
    assert shown[0]["messages"][3]["citations"][0]["source_state"] == "current"
    assert set(shown[0]["messages"][1]) == set(MessageSerializer().fields) - {"replaced"}
    assert set(shown[0]["messages"][0]) == {"id", "role", "content", "created_at"}
    listed = client.get("/conversations").json()["results"]
    assert listed == as_described(listed, ConversationSerializer)
    path = f"/conversations/{conversation.pk}/messages?replaced=true"
    messages = client.get(path).json()["results"]
    assert messages == as_described(messages, MessageSerializer)
    assert messages[:4] == shown[0]["messages"]
    stored = Message.objects.earliest("id")
    assert messages[0]["created_at"] == stored.created_at.isoformat().replace("+00:00", "Z")


def test_of_a_long_conversation_the_history_shows_the_end_and_where_the_rest_is(client: APIClient, user: User) -> None:
    (long,) = many(user, 1, 203)
    many(user, 3, 4)
    rows = client.get("/chat-history").json()["results"]
    (shown,) = (row for row in rows if row["id"] == str(long))
    assert (shown["message_count"], len(shown["messages"])) == (203, 200)
    every = [row for page in pages(client, shown["messages_url"]) for row in page["results"]]
    assert every[3:] == shown["messages"]
    assert all("messages_url" not in row for row in rows if row is not shown)


def queries(client: APIClient, path: str) -> int:
    client.get(path)
    with CaptureQueriesContext(connection) as captured:
        assert client.get(path).status_code == 200
    return len(captured)


def test_lists_take_as_many_queries_for_thousands_as_for_one(client: APIClient, user: User) -> None:
    (one,) = many(user, 1, 2, citations=1)
    paths = ["/chat-history?page_size=200", "/conversations?page_size=200", f"/conversations/{one}/messages", "/stats"]
    few = [queries(client, path) for path in paths]
    many(user, 60, 60, citations=1)
    assert [queries(client, path) for path in paths] == few
    Message.objects.bulk_create(Message(conversation_id=one, role="user", content="x") for _ in range(5_000))
    many(user, 5_000, 1)
    assert [queries(client, path) for path in paths] == few
    assert max(few[:3]) <= 6


def test_thousands_of_conversations_are_erased_with_all_that_belongs_to_them(
    client: APIClient, user: User, make_user: Callable[[str], User]
) -> None:
    kept = talk(make_user("eve"))
    cite(Message.objects.get(conversation=kept, role="assistant"))
    many(user, 5_500, 2, citations=1)
    mine = Message.objects.filter(conversation__user=user)
    Feedback.objects.create(message=mine.filter(role="assistant")[0], rating=1)
    IdempotencyKey.objects.create(user=user, key="k", fingerprint="f", question=mine.filter(role="user")[0])
    with CaptureQueriesContext(connection) as captured:
        assert client.delete("/chat-history").status_code == 204
    assert len(captured) < 25
    assert list(Conversation.objects.all()) == [kept]
    assert (Message.objects.count(), Citation.objects.count()) == (2, 1)
    assert not Feedback.objects.exists()
    assert not IdempotencyKey.objects.exists()
    assert Source.objects.count() == 1
    assert client.delete("/chat-history").status_code == 204
