"""Answers in one conversation come one after the other; what is asked twice is answered once; what is asked otherwise
takes the place of what was said.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient
from uuid_utils.compat import uuid7

from backend.accounts.models import User
from backend.chat import turns
from backend.chat.models import Conversation, IdempotencyKey, Message
from backend.chat.turns import Line
from evals.model_server import Messages, ModelServer
from tests.backend.conftest import Sync
from tests.backend.test_chat import LEAVE, QUESTION, ask, events
from tests.backend.test_chat_models import passage_number
from tests.folder import write

OFFICE = "When does the office in Oslo open?"
concurrent = pytest.mark.django_db(transaction=True)  # threads see what others have committed


@pytest.fixture
def knowledge(folder: Path, sync: Sync) -> Path:
    write(folder, "handbook.md", LEAVE)
    sync()
    return folder


@pytest.fixture
def slow(
    model_server: ModelServer, settings: Settings, monkeypatch: pytest.MonkeyPatch, knowledge: Path
) -> ModelServer:
    """A model that takes half a second for each answer."""
    monkeypatch.setenv("OPENAI_BASE_URL", model_server.url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    name = f"openai:slow-{model_server.server_address[1]}"
    settings.ENV = settings.ENV.model_copy(update={"chat_model": name, "chat_model_timeout": 10.0})

    def reply(messages: Messages) -> str:
        if "Rewrite the last question" in messages[0]["content"]:
            return QUESTION
        time.sleep(0.5)
        return f"You get 16 weeks of parental leave [{passage_number(messages, '16 weeks')}]."

    model_server.reply = reply
    return model_server


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """The results of calls that are made at the same time, a moment after each other."""

    def run(call: Callable[[], Any]) -> Any:
        try:
            return call()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(calls)) as pool:
        futures = []
        for call in calls:
            futures.append(pool.submit(run, call))
            time.sleep(0.1)
        return [future.result() for future in futures]


def said(client: APIClient, conversation_id: str) -> list[tuple[str, str]]:
    messages = client.get("/chat-history", {"conversation_id": conversation_id}).json()["results"][0]["messages"]
    return [(message["role"], message["content"]) for message in messages]


@concurrent
def test_questions_at_once_in_one_conversation_are_answered_in_order(client: APIClient, slow: ModelServer) -> None:
    first = ask(client, QUESTION)
    where = {"conversation_id": first["conversation_id"]}
    asked = [f"How many weeks of parental leave are there, {who}?" for who in ("Ada", "Bob", "Cleo")]
    answers = at_once(*(lambda text=text: ask(client, text, **where) for text in asked))
    turns_taken = said(client, first["conversation_id"])
    assert [role for role, _ in turns_taken] == ["user", "assistant"] * 4
    assert [text for role, text in turns_taken if role == "user"] == [QUESTION, *asked]
    assert len({answer["message_id"] for answer in answers}) == 3
    assert Conversation.objects.get().answering is None


@concurrent
def test_a_stream_that_waits_for_its_turn_says_so(
    client: APIClient, slow: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.chat.exchange.SIGN", 0.1)
    where = {"conversation_id": ask(client, QUESTION)["conversation_id"]}

    def stream() -> bytes:
        response: Any = client.post("/chat", {"message": QUESTION, "stream": True, **where})
        return b"".join(response.streaming_content)

    _, waited = at_once(lambda: ask(client, QUESTION, **where), stream)
    assert waited.startswith(b": still here\n\n")
    assert b"event: done" in waited


def test_the_turn_of_a_process_that_was_killed_passes(client: APIClient, knowledge: Path) -> None:
    where = {"conversation_id": ask(client, QUESTION)["conversation_id"]}
    soon = timezone.now() + timedelta(seconds=0.5)
    Conversation.objects.update(answering=uuid7(), answering_until=soon)
    ask(client, QUESTION, **where)
    assert timezone.now() >= soon
    Conversation.objects.update(answering=uuid7(), answering_until=timezone.now() + timedelta(hours=1))
    turns.forget_turns()
    ask(client, QUESTION, **where)


def test_a_line_is_first_come_first_served() -> None:
    order = []
    conversation_id = uuid7()
    first = Line(conversation_id).__enter__()

    def speak(number: int) -> None:
        with Line(conversation_id) as line:
            assert line.wait(5)
            order.append(number)

    threads = [threading.Thread(target=speak, args=[number]) for number in range(5)]
    for thread in threads:
        thread.start()
        time.sleep(0.02)
    assert not Line._waiting[conversation_id][1].is_set()
    first.__exit__(None, None, None)
    for thread in threads:
        thread.join()
    assert order == [0, 1, 2, 3, 4]
    assert conversation_id not in Line._waiting


@concurrent
def test_a_conversation_that_is_erased_while_it_is_answered_stays_erased(client: APIClient, slow: ModelServer) -> None:
    answer, _ = at_once(
        lambda: client.post("/chat", {"message": QUESTION}), lambda: client.delete("/chat-history").status_code
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
    assert Conversation.objects.count() == Message.objects.count() == 0


@concurrent
def test_what_cannot_be_carried_is_refused_at_once(client: APIClient, slow: ModelServer, settings: Settings) -> None:
    settings.ENV = settings.ENV.model_copy(update={"max_chats": 1})
    answer, refused = at_once(
        lambda: client.post("/chat", {"message": QUESTION}), lambda: client.post("/chat", {"message": QUESTION})
    )
    assert answer.status_code == 200
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
    assert int(refused["Retry-After"]) > 0
    assert Message.objects.count() == 2, "nothing is kept of what is refused"
    assert client.post("/chat", {"message": QUESTION}).status_code == 200, "and then there is room again"


class TestIdempotencyKey:
    def test_a_repeated_request_is_given_the_first_answer(self, client: APIClient, knowledge: Path) -> None:
        headers = {"Idempotency-Key": "a1"}
        first = client.post("/chat", {"message": QUESTION}, headers=headers).json()
        again = client.post("/chat", {"message": QUESTION}, headers=headers).json()
        assert again == first
        assert Message.objects.count() == 2
        got = events(client.post("/chat", {"message": QUESTION, "stream": True}, headers=headers))
        assert [name for name, _ in got] == ["meta", "token", "citation", "done"]
        assert got[-1][1] == first
        assert got[0][1]["message_id"] == first["message_id"]
        assert got[0][1]["retrieved"] == first["retrieved"]

    def test_another_request_with_the_same_key_is_refused(self, client: APIClient, knowledge: Path) -> None:
        headers = {"Idempotency-Key": "a1"}
        first = client.post("/chat", {"message": QUESTION}, headers=headers).json()
        for other in (
            {"message": OFFICE},
            {"message": QUESTION, "conversation_id": first["conversation_id"]},
            {"message": QUESTION, "prompt": "brief"},
        ):
            refused = client.post("/chat", other, headers=headers)
            assert (refused.status_code, refused.json()["error"]["code"]) == (409, "idempotency_key_reused")
        assert Message.objects.count() == 2

    def test_keys_are_each_users_own(
        self,
        client: APIClient,
        knowledge: Path,
        make_user: Callable[[str], User],
        client_of: Callable[[User], APIClient],
    ) -> None:
        headers = {"Idempotency-Key": "a1"}
        first = client.post("/chat", {"message": QUESTION}, headers=headers).json()
        other = client_of(make_user("bob")).post("/chat", {"message": QUESTION}, headers=headers).json()
        assert other["conversation_id"] != first["conversation_id"]

    @concurrent
    def test_repeated_while_the_first_is_still_answered(self, client: APIClient, slow: ModelServer) -> None:
        headers = {"Idempotency-Key": "a1"}
        first, *others = at_once(
            *[lambda: client.post("/chat", {"message": QUESTION}, headers=headers).json() for _ in range(3)]
        )
        assert others == [first, first]
        assert Message.objects.count() == 2
        assert len(slow.requests) == 1

        where = {"message": QUESTION, "conversation_id": first["conversation_id"]}
        headers = {"Idempotency-Key": "a2"}
        first, second = at_once(*[lambda: client.post("/chat", where, headers=headers).json() for _ in range(2)])
        assert first == second
        assert Message.objects.count() == 4

    def test_a_request_whose_answer_failed_is_answered_when_it_is_repeated(
        self, client: APIClient, slow: ModelServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        headers = {"Idempotency-Key": "a1"}
        slow.fail_with = 401
        assert client.post("/chat", {"message": QUESTION}, headers=headers).status_code == 503
        slow.fail_with = None
        assert client.post("/chat", {"message": QUESTION}, headers=headers).json()["outcome"] == "grounded"
        assert Message.objects.count() == 2
        assert IdempotencyKey.objects.count() == 1

    def test_a_key_that_is_too_long_is_refused(self, client: APIClient, knowledge: Path) -> None:
        for key in ("a" * 256, "a\tb"):
            refused = client.post("/chat", {"message": QUESTION}, headers={"Idempotency-Key": key})
            assert (refused.status_code, list(refused.json()["error"]["fields"])) == (400, ["Idempotency-Key"])


class TestAskingAgain:
    def test_another_answer_takes_the_place_of_the_first(self, client: APIClient, knowledge: Path) -> None:
        first = ask(client, QUESTION)
        again = client.post(f"/messages/{first['message_id']}/regenerate", {"prompt": "brief"})
        assert again.status_code == 200, again.content
        answer = again.json()
        assert answer["message_id"] != first["message_id"]
        assert answer["prompt"].startswith("brief@")
        assert len(said(client, first["conversation_id"])) == 2
        assert Message.objects.exclude(replaced_at=None).get().pk.hex == first["message_id"].replace("-", "")
        assert client.get(f"/messages/{first['message_id']}").json()["answer"] == first["answer"], "it is still there"

    def test_it_is_asked_with_what_the_question_was_asked_with(
        self, client: APIClient, knowledge: Path, sync: Sync
    ) -> None:
        write(knowledge, "hr/leave.md", "# Leave\n\nParental leave is 20 weeks in Norway.\n")
        sync()
        first = ask(client, QUESTION, filter={"source": "hr", "after": "2020-01-01"}, prompt="brief")
        assert {passage["source"] for passage in first["retrieved"]} == {"hr/leave.md"}
        again = client.post(f"/messages/{first['message_id']}/regenerate").json()
        assert {passage["source"] for passage in again["retrieved"]} == {"hr/leave.md"}
        assert again["prompt"] == first["prompt"]

    def test_asking_an_earlier_question_again_takes_the_conversation_back_to_it(
        self, client: APIClient, knowledge: Path
    ) -> None:
        first = ask(client, QUESTION)
        ask(client, OFFICE, conversation_id=first["conversation_id"])
        client.post(f"/messages/{first['message_id']}/regenerate")
        assert [text for role, text in said(client, first["conversation_id"]) if role == "user"] == [QUESTION]
        assert Message.objects.count() == 5

    def test_an_edited_question_takes_the_place_of_the_old_one(self, client: APIClient, knowledge: Path) -> None:
        first = ask(client, OFFICE)
        question = Message.objects.get(role="user")
        got = events(client.post(f"/messages/{question.pk}/edit", {"message": QUESTION, "stream": True}))
        done = got[-1][1]
        assert done["conversation_id"] == first["conversation_id"]
        assert said(client, first["conversation_id"]) == [("user", QUESTION), ("assistant", done["answer"])]
        gone = client.post(f"/messages/{question.pk}/edit", {"message": OFFICE})
        assert (gone.status_code, gone.json()["error"]["code"]) == (409, "replaced")

    @pytest.mark.parametrize("action", ["regenerate", "edit", "feedback", ""])
    def test_another_users_message_is_not_there(
        self,
        client: APIClient,
        knowledge: Path,
        make_user: Callable[[str], User],
        client_of: Callable[[User], APIClient],
        action: str,
    ) -> None:
        answer = ask(client, QUESTION)
        stranger = client_of(make_user("bob"))
        for message_id in (answer["message_id"], str(Message.objects.get(role="user").pk), str(uuid7())):
            path = f"/messages/{message_id}/{action}".rstrip("/")
            body = {"edit": {"message": OFFICE}, "feedback": {"rating": 1}}.get(action, {})
            refused = stranger.post(path, body) if action else stranger.get(path)
            assert refused.status_code == 404
        assert (
            stranger.post(f"/conversations/{answer['conversation_id']}/messages", {"message": "?"}).status_code == 404
        )
        assert Message.objects.count() == 2


class TestComingBack:
    def test_an_answer_is_found_by_its_id_and_by_its_questions(self, client: APIClient, knowledge: Path) -> None:
        answer = ask(client, QUESTION)
        question = Message.objects.get(role="user")
        for message_id in (answer["message_id"], question.pk):
            assert client.get(f"/messages/{message_id}").json() == answer
            got = events(client.get(f"/messages/{message_id}", headers={"Accept": "text/event-stream"}))
            assert got[-1] == ("done", answer)

    @concurrent
    def test_an_answer_that_is_being_written_is_waited_for(self, client: APIClient, slow: ModelServer) -> None:
        def come_back(accept: str) -> Any:
            question = Message.objects.get(role="user")
            response: Any = client.get(f"/messages/{question.answer_id}", headers={"Accept": accept})
            return events(response) if response.streaming else response

        first, pending, got = at_once(
            lambda: ask(client, QUESTION),
            lambda: come_back("application/json"),
            lambda: come_back("text/event-stream"),
        )
        assert (pending.status_code, pending["Retry-After"]) == (202, "1")
        assert pending.json() == {name: first[name] for name in ("conversation_id", "message_id")}
        assert got[-1] == ("done", first)


def test_a_question_in_an_untitled_conversation_gives_it_its_title(
    client: APIClient, knowledge: Path, user: User
) -> None:
    empty = Conversation.objects.create(user=user, title="", updated_at=timezone.now())
    named = Conversation.objects.create(user=user, title="Mine", updated_at=timezone.now())
    for conversation in (empty, named):
        answer = client.post(f"/conversations/{conversation.pk}/messages", {"message": QUESTION})
        assert answer.json()["conversation_id"] == str(conversation.pk)
        conversation.refresh_from_db()
    assert (empty.title, named.title) == (QUESTION, "Mine")
