"""POST /chat and GET /chat-history over the keyless answerer."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.test.utils import CaptureQueriesContext
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from backend.accounts.models import User
from backend.api.stopping import told_to_stop
from backend.chat.models import Conversation, Feedback, Message
from backend.chat.selectors import answers_that_went_wrong
from backend.knowledge.models import SourceVersion
from chains.abstention import SHIPPED
from tests.backend.conftest import Sync
from tests.folder import write, write_pdf

LEAVE = """# Handbook

## Leave

Parental leave is 16 weeks, paid in full.

## Office

The office in Oslo opens at 8.
"""
QUESTION = "How many weeks of parental leave do I get?"


@pytest.fixture
def knowledge(folder: Path, sync: Sync) -> Path:
    write(folder, "handbook.md", LEAVE)
    write_pdf(folder, "rules.pdf", ["Cover page of the house rules.", "Bicycles are parked behind the house."])
    write(folder, "faq.csv", "question,answer\nHow do I reset my password?,Open Settings and press Reset.\n")
    sync()
    return folder


def ask(client: APIClient, message: str, **options: Any) -> dict[str, Any]:
    answer = client.post("/chat", {"message": message, **options})
    assert answer.status_code == 200, answer.content
    result: dict[str, Any] = answer.json()
    return result


def check_citations(answer: dict[str, Any]) -> None:
    """Every number in the answer has its citation and the other way round; every quote stands at its place."""
    numbers = [int(n) for n in re.findall(r"\[(\d+)\]", answer["answer"])]
    assert sorted(set(numbers)) == [citation["n"] for citation in answer["citations"]]
    for citation in answer["citations"]:
        text = SourceVersion.objects.get(source__path=citation["source"], digest=citation["source_version"]).text
        assert text[citation["start"] : citation["end"]] == citation["quote"]


def test_an_answer_quotes_the_file_with_heading_or_page(client: APIClient, knowledge: Path) -> None:
    answer = ask(client, QUESTION)
    assert (answer["outcome"], answer["model"]) == ("grounded", "extractive")
    assert "Parental leave is 16 weeks, paid in full. [1]" in answer["answer"]
    cited = answer["citations"][0]
    assert (cited["source"], cited["heading"], cited["page"]) == ("handbook.md", ["Handbook", "Leave"], None)
    check_citations(answer)
    assert answer["retrieved"][0]["source"] == "handbook.md"
    assert set(answer["latency_ms"]) == {"condense", "retrieve", "generate", "verify", "total"}
    assert answer["usage"] == {"input_tokens": 0, "output_tokens": 0, "cost": 0.0}
    assert answer["prompt"].startswith("default@")
    assert answer["grounding"]["claims"] == answer["grounding"]["supported"] > 0

    answer = ask(client, "Where are bicycles parked?")
    assert (answer["citations"][0]["source"], answer["citations"][0]["page"]) == ("rules.pdf", 2)
    check_citations(answer)

    answer = ask(client, "How do I reset my password?")
    assert answer["answer"] == "Open Settings and press Reset. [1]"
    check_citations(answer)


@pytest.mark.parametrize("question", ["What is the boiling point of tungsten?", "?", "asdf qwer", "🙂"])
def test_what_the_documents_do_not_hold_is_declined(client: APIClient, knowledge: Path, question: str) -> None:
    answer = ask(client, question)
    assert (answer["outcome"], answer["citations"]) == ("abstained", [])
    assert answer["answer"].startswith("I could not find an answer to this in the documents. The nearest")
    assert answer["grounding"] == {"claims": 0, "supported": 0, "dropped": 0}


def test_an_empty_index_declines(client: APIClient, folder: Path, sync: Sync) -> None:
    sync()
    answer = ask(client, QUESTION)
    assert (answer["outcome"], answer["answer"]) == (
        "abstained",
        "I could not find an answer to this in the documents.",
    )


def test_an_abstention_names_the_nearest_places_as_plain_data(client: APIClient, folder: Path, sync: Sync) -> None:
    write(folder, "a[1].md", "# Rules [2]\n\nBicycles are parked behind the house.\n")
    write_pdf(folder, "b.pdf", ["Cover page of the house rules.", "Bicycles are locked."])
    for number in range(5):
        write(folder, f"more-{number}.txt", f"Bicycle number {number} is red.\n")
    sync()
    answer = ask(client, "What is the boiling point of tungsten?")
    assert answer["outcome"] == "abstained"
    start = "I could not find an answer to this in the documents. The nearest passages are in "
    assert answer["answer"].startswith(start)
    places = answer["answer"].removeprefix(start).removesuffix(".").split("; ")
    assert len(places) == 3
    shown = {'a[ 1 ].md, "Rules"', "b.pdf, page 1", "b.pdf, page 2", *(f"more-{number}.txt" for number in range(5))}
    assert set(places) <= shown
    near = {passage["source"] for passage in answer["retrieved"]}
    assert {place.split(",")[0].replace("[ 1 ]", "[1]") for place in places} <= near


def test_a_deleted_file_is_never_answered_from(client: APIClient, knowledge: Path, sync: Sync) -> None:
    kept = ask(client, QUESTION)
    (knowledge / "handbook.md").unlink()
    for synced in (False, True):
        if synced:
            sync()
        answer = ask(client, QUESTION)
        assert answer["outcome"] == "abstained"
        assert "handbook.md" not in {passage["source"] for passage in answer["retrieved"]}
    history = client.get("/chat-history").json()["results"]
    quotes = [message.get("citations") for conversation in history for message in conversation["messages"]]
    cited = [{**citation, "source_state": "removed"} for citation in kept["citations"]]
    assert cited in quotes, "what was answered before stays in the history, marked"


def test_a_follow_up_is_understood_from_the_conversation(client: APIClient, knowledge: Path) -> None:
    first = ask(client, "When does the office in Oslo open?")
    followed = ask(client, "Where is it?", conversation_id=first["conversation_id"])
    assert followed["conversation_id"] == first["conversation_id"]
    assert followed["citations"][0]["quote"] == "The office in Oslo opens at 8."


def test_a_filter_limits_where_to_look(client: APIClient, knowledge: Path) -> None:
    answer = ask(client, QUESTION, filter={"source": "rules.pdf"})
    assert {passage["source"] for passage in answer["retrieved"]} <= {"rules.pdf"}
    assert ask(client, QUESTION, filter={"source": "no/such/folder"})["outcome"] == "abstained"


def test_the_history_shows_conversations_latest_first_with_messages_in_order(
    client: APIClient, knowledge: Path
) -> None:
    first = ask(client, QUESTION)
    second = ask(client, "Where are bicycles parked?")
    ask(client, "When does the office open?", conversation_id=first["conversation_id"])
    page = client.get("/chat-history").json()
    assert page["count"] == 2
    assert [row["id"] for row in page["results"]] == [first["conversation_id"], second["conversation_id"]]
    messages = page["results"][0]["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant"] * 2
    assert messages[0]["content"] == QUESTION
    assert "outcome" not in messages[0]
    assert messages[1]["citations"] == first["citations"]
    assert page["results"][0]["title"] == QUESTION


def test_the_history_is_searched_and_filtered(client: APIClient, knowledge: Path) -> None:
    first = ask(client, QUESTION)
    ask(client, "Where are bicycles parked?")
    found = client.get("/chat-history", {"q": "BICYCLES"}).json()
    assert [row["title"] for row in found["results"]] == ["Where are bicycles parked?"]
    one = client.get("/chat-history", {"conversation_id": first["conversation_id"]}).json()
    assert [row["id"] for row in one["results"]] == [first["conversation_id"]]
    assert client.get("/chat-history", {"q": "%"}).json()["count"] == 0
    assert client.get("/chat-history", {"conversation_id": "nonsense"}).status_code == 400


def test_the_history_takes_as_many_queries_for_many_as_for_few(
    client: APIClient, user: User, django_assert_max_num_queries: Callable[[int], CaptureQueriesContext]
) -> None:
    from django.utils import timezone

    for i in range(30):
        conversation = Conversation.objects.create(user=user, title=str(i), updated_at=timezone.now())
        for role in ("user", "assistant"):
            Message.objects.create(conversation=conversation, role=role, content="x")
    with django_assert_max_num_queries(6):
        page = client.get("/chat-history", {"page_size": 25}).json()
    assert len(page["results"]) == 25
    assert page["next"] is not None


def test_another_users_conversation_does_not_exist(
    client: APIClient, make_user: Callable[[str], User], client_of: Callable[[User], APIClient], knowledge: Path
) -> None:
    mine = ask(client, QUESTION)
    other = client_of(make_user("eve"))
    assert other.get("/chat-history").json()["results"] == []
    assert other.get("/chat-history", {"conversation_id": mine["conversation_id"]}).json()["results"] == []
    assert other.get("/chat-history", {"q": "parental"}).json()["results"] == []
    theirs = other.post("/chat", {"message": "More?", "conversation_id": mine["conversation_id"]})
    nobodys = other.post("/chat", {"message": "More?", "conversation_id": "01a1fc42-ce2e-76d4-b049-e4592fde2004"})
    assert (theirs.status_code, theirs.content) == (404, nobodys.content)
    assert other.delete("/chat-history").status_code == 204
    assert client.get("/chat-history").json()["count"] == 1


def test_the_history_can_be_erased(client: APIClient, knowledge: Path) -> None:
    ask(client, QUESTION)
    assert client.delete("/chat-history").status_code == 204
    assert client.get("/chat-history").json()["count"] == 0
    assert not Message.objects.exists()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "message"),
        ({"message": ""}, "message"),
        ({"message": "  "}, "message"),
        ({"message": None}, "message"),
        ({"message": ["a"]}, "message"),
        ({"message": "x" * 8_001}, "message"),
        ({"message": "a", "conversation_id": "x"}, "conversation_id"),
        ({"message": "a", "prompt": "nonsense"}, "prompt"),
        ({"message": "a", "prompt": "../default"}, "prompt"),
        ({"message": "a", "prompt": "condense"}, "prompt"),
        ({"message": "a", "stream": "maybe"}, "stream"),
        ({"message": "a", "filter": "x"}, "filter"),
    ],
)
def test_a_bad_request_names_the_field_and_stores_nothing(client: APIClient, body: dict[str, Any], field: str) -> None:
    answer = client.post("/chat", body)
    assert answer.status_code == 400
    assert set(answer.json()["error"]["fields"]) == {field}
    assert not Message.objects.exists()
    assert not Conversation.objects.exists()


Events = list[tuple[str, Any]]


def events(answer: Any) -> Events:
    """The server-sent events of a response."""
    parsed = []
    for block in b"".join(answer.streaming_content).decode().strip().split("\n\n"):
        if block.startswith(":"):
            continue
        name, data = block.split("\n")
        assert name.startswith("event: ")
        assert data.startswith("data: ")
        parsed.append((name[7:], json.loads(data[6:])))
    return parsed


@pytest.mark.parametrize("how", ["field", "header"])
def test_a_stream_is_meta_tokens_citations_done(client: APIClient, knowledge: Path, how: str) -> None:
    options: dict[str, Any] = {"stream": True} if how == "field" else {}
    headers = {} if how == "field" else {"Accept": "text/event-stream"}
    answer = client.post("/chat", {"message": QUESTION, **options}, headers=headers)
    assert answer["Content-Type"].startswith("text/event-stream")
    got = events(answer)
    names = [name for name, _ in got]
    assert names[0] == "meta"
    assert names[-1] == "done"
    done = got[-1][1]
    assert "".join(data["text"] for name, data in got if name == "token") == done["answer"]
    assert [data for name, data in got if name == "citation"] == done["citations"]
    assert got[0][1]["message_id"] == done["message_id"]
    assert got[0][1]["retrieved"] == done["retrieved"]
    assert client.get("/chat-history").json()["results"][0]["messages"][1]["content"] == done["answer"]


def test_a_declined_question_streams_too(client: APIClient, knowledge: Path) -> None:
    got = events(client.post("/chat", {"message": "What is the boiling point of tungsten?", "stream": True}))
    assert got[-1][1]["outcome"] == "abstained"
    assert "".join(data["text"] for name, data in got if name == "token") == got[-1][1]["answer"]


@pytest.mark.django_db(transaction=True)  # closing a response closes connections, also the one of a test
def test_a_reader_who_hangs_up_keeps_what_was_written_marked_as_cut(client: APIClient, knowledge: Path) -> None:
    answer: Any = client.post("/chat", {"message": QUESTION, "stream": True})
    stream: Iterator[bytes] = iter(answer.streaming_content)
    while b"event: token" not in next(stream):
        pass
    answer.close()
    messages = client.get("/chat-history").json()["results"][0]["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant"]
    assert messages[1]["cut"] is True
    assert messages[1]["content"].startswith("Parental leave")


@pytest.mark.django_db(transaction=True)
def test_a_server_that_stops_keeps_what_was_written(client: APIClient, knowledge: Path) -> None:
    answer: Any = client.post("/chat", {"message": QUESTION, "stream": True})
    told_to_stop.set()
    try:
        names = [name for name, _ in events(answer)]
    finally:
        told_to_stop.clear()
    assert names == ["meta", "error"]
    assert client.get("/chat-history").json()["results"][0]["messages"][0]["content"] == QUESTION


def test_one_conversation_can_be_erased_and_a_search_cannot(
    client: APIClient, make_user: Callable[[str], User], client_of: Callable[[User], APIClient], knowledge: Path
) -> None:
    first, second = ask(client, QUESTION), ask(client, QUESTION)
    one = f"/chat-history?conversation_id={first['conversation_id']}"
    assert client_of(make_user("eve")).delete(one).status_code == 404
    assert client.delete("/chat-history?q=leave").status_code == 400
    assert client.delete("/chat-history?conversation_id=nonsense").status_code == 400
    assert client.get("/chat-history").json()["count"] == 2, "what is not understood erases nothing"
    assert client.delete(one).status_code == 204
    assert client.delete(one).status_code == 404
    left = client.get("/chat-history").json()["results"]
    assert [row["id"] for row in left] == [second["conversation_id"]]


def test_an_answer_says_how_sure_it_was_and_where_its_passages_are(client: APIClient, knowledge: Path) -> None:
    sure, unsure = ask(client, QUESTION), ask(client, "What is the boiling point of tungsten?")
    assert 0 <= unsure["confidence"] < 0.2 < sure["confidence"] <= 1
    shown = sure["retrieved"][0]
    found = client.get("/search", {"q": QUESTION}).json()["results"][0]
    assert (shown["chunk_id"], shown["source"]) == (found["chunk_id"], found["source"])


def test_feedback_is_kept_and_replaced(client: APIClient, knowledge: Path) -> None:
    path = f"/messages/{ask(client, QUESTION)['message_id']}/feedback"
    liked = client.post(path, {"rating": 1})
    assert (liked.status_code, liked.json()) == (200, {"rating": 1, "comment": ""})
    disliked = client.post(path, {"rating": -1, "comment": "Which weeks?"})
    assert (disliked.status_code, disliked.json()) == (200, {"rating": -1, "comment": "Which weeks?"})
    assert [(row.rating, row.comment) for row in Feedback.objects.all()] == [(-1, "Which weeks?")]


@pytest.mark.parametrize(
    "body",
    [{}, {"rating": 0}, {"rating": 2}, {"rating": "good"}, {"rating": True}, {"rating": 1, "comment": "x" * 2001}],
)
def test_feedback_that_is_none_is_refused(client: APIClient, knowledge: Path, body: dict[str, object]) -> None:
    answer = ask(client, QUESTION)
    refused = client.post(f"/messages/{answer['message_id']}/feedback", body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid")
    assert not Feedback.objects.exists()


def test_feedback_on_what_is_not_ones_own_answer_is_404(
    client: APIClient, make_user: Callable[[str], User], client_of: Callable[[User], APIClient], knowledge: Path
) -> None:
    answer = ask(client, QUESTION)
    question = Message.objects.get(role="user")
    paths = [f"/messages/{pk}/feedback" for pk in (answer["message_id"], question.pk, answer["conversation_id"])]
    assert client_of(make_user("eve")).post(paths[0], {"rating": 1}).status_code == 404
    assert [client.post(path, {"rating": 1}).status_code for path in paths] == [200, 404, 404]
    assert APIClient().post(paths[0], {"rating": 1}).status_code == 401


def test_answers_that_went_wrong_are_found_with_what_led_to_them(
    client: APIClient, user: User, knowledge: Path
) -> None:
    good = ask(client, QUESTION)
    asked = {"message": "How long is parental leave for fathers?", "conversation_id": good["conversation_id"]}
    disliked = client.post("/chat", asked).json()
    client.post(f"/messages/{disliked['message_id']}/feedback", {"rating": -1, "comment": "Too short."})
    client.post(f"/messages/{good['message_id']}/feedback", {"rating": 1})
    ask(client, "What is the boiling point of tungsten?")
    declined, found = answers_that_went_wrong(10)
    assert (declined.question, declined.why, declined.history) == (
        "What is the boiling point of tungsten?",
        "declined",
        [],
    )
    assert (found.question, found.why, found.comment) == (asked["message"], "disliked", "Too short.")
    assert [role for role, _ in found.history] == ["user", "assistant"]
    assert len(answers_that_went_wrong(1)) == 1


def test_a_calibration_decides_from_the_next_question_on(
    client: APIClient, knowledge: Path, caplog: pytest.LogCaptureFixture, settings: Settings
) -> None:
    def outcome() -> str:
        return str(client.post("/chat", {"message": QUESTION}).json()["outcome"])

    path = settings.ENV.calibration_file
    assert outcome() == "grounded"
    strict = replace(SHIPPED, threshold=1.0)
    strict.write(path)
    assert outcome() == "abstained"
    replace(strict, embedding="another-model").write(path)
    assert outcome() == "grounded"
    assert "was made for another embedding model" in caplog.text
    path.write_text("{}")
    assert outcome() == "grounded"
    assert "is not a calibration of this release" in caplog.text
    path.unlink()
    path.mkdir()
    assert outcome() == "grounded"
    assert "cannot be read" in caplog.text
