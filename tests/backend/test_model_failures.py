"""Whatever a chat model does: the question is kept, nothing hangs, another may answer, and it can be asked again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from backend.chat.models import Message
from chains import calling
from evals.model_server import Messages, ModelServer, running_model_server
from tests.backend.conftest import Sync
from tests.backend.test_chat import LEAVE, QUESTION, ask, check_citations, events
from tests.backend.test_chat_models import passage_number
from tests.folder import write

ANSWER = "You get 16 weeks of parental leave [1]."
WORDS = "office parental holiday contract weekend salary insurance department".split()
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@pytest.fixture
def model(
    model_server: ModelServer, settings: Settings, monkeypatch: pytest.MonkeyPatch, folder: Path, sync: Sync
) -> Iterator[ModelServer]:
    monkeypatch.setenv("OPENAI_BASE_URL", model_server.url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    monkeypatch.setattr(calling, "PAUSE", 0.01)
    monkeypatch.setattr(calling, "_failed_at", {})  # a port comes again, and with it a model's name
    configure(settings, chat_model=f"openai:first-{model_server.server_address[1]}", chat_model_timeout=2.0)
    write(folder, "handbook.md", LEAVE)
    sync()
    model_server.reply = reply
    yield model_server
    model_server.stopped.set()


def reply(messages: Messages) -> str:
    if "Rewrite the last question" in messages[0]["content"]:
        return QUESTION
    return f"You get 16 weeks of parental leave [{passage_number(messages, '16 weeks')}]."


def configure(settings: Settings, **given: Any) -> None:
    settings.ENV = settings.ENV.model_copy(update=given)


def post(client: APIClient, *, stream: bool, **options: Any) -> dict[str, Any]:
    """The answer or the error object, however it was asked for."""
    response: Any = client.post("/chat", {"message": QUESTION, "stream": stream, **options})
    if "text/event-stream" in response["Content-Type"]:
        name, result = events(response)[-1]
        assert name in ("done", "error")
    else:
        result = response.json()
    return dict(result)


@BOTH
@pytest.mark.parametrize("failure", [429, 500, 503, "nonsense", "error", "broken stream"])
def test_a_passing_failure_is_not_noticed(client: APIClient, model: ModelServer, failure: Any, stream: bool) -> None:
    model.fail_with, model.fail_times = failure, 2
    answer = post(client, stream=stream)
    assert (answer["outcome"], answer["answer"]) == ("grounded", ANSWER)
    assert len(model.requests) == 3


@BOTH
@pytest.mark.parametrize(
    ("failure", "asked"),
    [(400, 1), (401, 1), (404, 1), (429, 3), (500, 3), ("nonsense", 3), ("silence", 1), ("drip", 1), ("error", 3)],
)
def test_a_lasting_failure_is_told_within_bounds(
    client: APIClient, model: ModelServer, failure: Any, asked: int, stream: bool
) -> None:
    model.fail_with = failure
    began = time.monotonic()
    told = post(client, stream=stream)["error"]
    assert time.monotonic() - began < 10
    assert told["code"] == "model_unavailable"
    assert "sk-test" not in str(told)
    assert "as the test wants" not in str(told), "what a provider says may hold what it was sent"
    assert len(model.requests) == asked
    [kept] = Message.objects.all()
    assert (kept.role, kept.content) == ("user", QUESTION)

    model.fail_with = None
    again = client.post(f"/messages/{kept.pk}/regenerate", {"stream": False}).json()
    assert (again["outcome"], again["message_id"]) == ("grounded", str(Message.objects.get(pk=kept.pk).answer_id))
    assert Message.objects.count() == 2


@BOTH
@pytest.mark.parametrize("failure", [401, 500, "nonsense", "silence"])
def test_the_second_model_answers_when_the_first_does_not(
    client: APIClient, model: ModelServer, settings: Settings, failure: Any, stream: bool
) -> None:
    name = f"openai:second-{model.server_address[1]}"
    configure(settings, chat_model_fallback=name)
    model.fail_with, model.fail_times = failure, 1 if failure in (401, "silence") else 3
    answer = post(client, stream=stream)
    assert (answer["outcome"], answer["model"]) == ("grounded", name)
    check_citations(answer)
    model.requests.clear()
    assert post(client, stream=stream)["model"] == name
    assert len(model.requests) == 1, "the one that failed a moment ago is not asked first again"


@BOTH
def test_the_documents_own_sentences_can_be_the_fallback(
    client: APIClient, model: ModelServer, settings: Settings, stream: bool
) -> None:
    configure(settings, chat_model_fallback="extractive")
    model.fail_with = 500
    answer = post(client, stream=stream)
    assert (answer["outcome"], answer["model"]) == ("grounded", "extractive")
    assert "Parental leave is 16 weeks, paid in full. [1]" in answer["answer"]
    followed = post(client, stream=stream, conversation_id=answer["conversation_id"])
    assert followed["model"] == "extractive"


@BOTH
def test_a_prompt_that_is_too_long_is_shortened(
    client: APIClient, model: ModelServer, folder: Path, sync: Sync, stream: bool
) -> None:
    for number in range(8):
        rest = " ".join(f"{word} {number}" for word in WORDS * 20)
        write(folder, f"leave-{number}.md", f"# Leave {number}\n\nParental leave in country {number}: {rest}\n")
    sync()
    model.context = 2000
    answer = post(client, stream=stream)
    assert answer["outcome"] == "grounded"
    check_citations(answer)
    assert len(model.requests) > 1
    model.context = 10
    assert post(client, stream=stream)["error"]["code"] == "model_unavailable"


def test_a_server_that_asks_for_a_long_pause_is_told_on(client: APIClient, model: ModelServer) -> None:
    model.fail_with, model.retry_after = 429, "42"
    response = client.post("/chat", {"message": QUESTION})
    assert (response.status_code, response["Retry-After"]) == (503, "42")
    assert len(model.requests) == 1


def test_a_503_tells_by_which_id_it_can_be_asked_again(client: APIClient, model: ModelServer) -> None:
    model.fail_with = 401
    refused = client.post("/chat", {"message": QUESTION})
    model.fail_with = None
    again = client.post(f"/messages/{refused['X-Message-Id']}/regenerate").json()
    assert (again["outcome"], again["conversation_id"]) == ("grounded", refused["X-Conversation-Id"])


def test_a_stream_that_breaks_off_is_an_error_and_its_question_is_kept(client: APIClient, model: ModelServer) -> None:
    model.fail_with = "hang up"
    got = events(client.post("/chat", {"message": QUESTION, "stream": True}))
    names = [name for name, _ in got]
    assert (names[0], names[-1]) == ("meta", "error")
    assert "token" in names
    model.fail_with = None
    meta = got[0][1]
    assert client.get(f"/messages/{meta['message_id']}").status_code == 409
    again = client.post(f"/messages/{meta['message_id']}/regenerate").json()
    assert again["outcome"] == "grounded"
    assert client.get(f"/messages/{meta['question_id']}").json() == again


@BOTH
def test_an_empty_reply_is_an_abstention(client: APIClient, model: ModelServer, stream: bool) -> None:
    model.fail_with = "empty"
    assert post(client, stream=stream)["outcome"] == "abstained"


def test_a_slow_model_gives_signs_of_life(
    client: APIClient, model: ModelServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calling, "FIRST_SIGN", 0.05)
    monkeypatch.setattr(calling, "SIGN", 0.05)
    configure(settings, chat_model_timeout=0.5)
    model.fail_with = "silence"
    response: Any = client.post("/chat", {"message": QUESTION, "stream": True})
    sent = b"".join(response.streaming_content)
    assert sent.startswith(b"event: meta")
    assert sent.count(b": still here\n\n") > 3
    assert b"event: error" in sent


def test_no_answer_takes_longer_than_it_may(client: APIClient, model: ModelServer, settings: Settings) -> None:
    configure(settings, answer_timeout=0.3, chat_model_timeout=30.0)
    model.seconds_per_token = 0.05
    model.reply = lambda _: "Parental leave is 16 weeks, " + "and so on " * 1000
    began = time.monotonic()
    told = post(client, stream=True)["error"]
    assert time.monotonic() - began < 5
    assert told["code"] == "model_unavailable"


def test_what_follow_ups_cost_is_counted_with_the_answer(client: APIClient, model: ModelServer) -> None:
    first = ask(client, QUESTION)
    model.requests.clear()
    plain = ask(client, QUESTION)["usage"]["input_tokens"]
    followed = ask(client, QUESTION, conversation_id=first["conversation_id"])
    assert followed["usage"]["input_tokens"] > plain


def test_readyz_names_both_models_and_needs_one(
    client: APIClient, model: ModelServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(settings, chat_model_fallback="extractive")
    assert APIClient().get("/readyz").json()["checks"]["model"]["ok"]
    configure(settings, chat_model_fallback="gpt")
    check = APIClient().get("/readyz").json()["checks"]["model"]
    assert not check["ok"]
    assert "gpt" in check["detail"]
    with running_model_server() as gone:
        monkeypatch.setenv("OPENAI_BASE_URL", gone.url)
    configure(settings, chat_model="openai:gone", chat_model_fallback="extractive")
    check = APIClient().get("/readyz").json()["checks"]["model"]
    assert check["ok"]
    assert "cannot be reached" in check["detail"]
    assert ask(client, QUESTION)["model"] == "extractive"
