"""OpenAI's wire format, seen from the wire; what its own clients make of it is in tests/acceptance."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django.fixtures import Settings
from rest_framework.exceptions import Throttled
from rest_framework.test import APIClient

from backend.accounts.models import User
from backend.api.stopping import told_to_stop
from backend.chat.models import Conversation, Message
from backend.knowledge.index import KnowledgeIndex
from backend.openai_api.errors import handle
from backend.openai_api.services import Answering
from backend.openai_api.sse import stream
from backend.openai_api.wire import Completion
from chains.model import Answer, Done, Outcome, Token, Waiting
from chains.prompts import load_prompt
from evals.model_server import ModelServer
from tests.backend.conftest import Sync
from tests.backend.test_chat import LEAVE, QUESTION
from tests.backend.test_chat_models import passage_number
from tests.folder import write, write_pdf

pytestmark = pytest.mark.django_db

COMPLETIONS = "/v1/chat/completions"
ASK = {"role": "user", "content": QUESTION}


@pytest.fixture
def handbook(folder: Path, sync: Sync) -> Path:
    write(folder, "handbook.md", LEAVE)
    write_pdf(folder, "rules.pdf", ["Cover page of the house rules.", "Bicycles are parked behind the house."])
    sync()
    return folder


@pytest.fixture
def model(
    model_server: ModelServer, settings: Settings, monkeypatch: pytest.MonkeyPatch, handbook: Path
) -> ModelServer:
    """The model server, configured as CHAT_MODEL; it answers with a sentence of the handbook."""
    monkeypatch.setenv("OPENAI_BASE_URL", model_server.url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    name = f"openai:test-{model_server.server_address[1]}"  # models are kept by name
    settings.ENV = settings.ENV.model_copy(update={"chat_model": name, "chat_model_timeout": 5.0})
    model_server.reply = lambda messages: (
        f"Parental leave is 16 weeks [{passage_number(messages, '16 weeks')}]."
        if "<passage" in messages[-1]["content"]
        else QUESTION
    )
    return model_server


def complete(client: APIClient, *messages: dict[str, Any], **options: Any) -> dict[str, Any]:
    answer = client.post(COMPLETIONS, {"model": "footnote", "messages": messages or (ASK,), **options})
    assert answer.status_code == 200, answer.content
    completion: dict[str, Any] = answer.json()
    return completion


def chunks(client: APIClient, *messages: dict[str, Any], **options: Any) -> list[dict[str, Any]]:
    """The chunks of a stream that ends with [DONE]."""
    sent = {"model": "footnote", "messages": messages or (ASK,), "stream": True, **options}
    answer: Any = client.post(COMPLETIONS, sent)
    assert answer.status_code == 200, answer.content
    assert answer["Content-Type"].startswith("text/event-stream")
    *events, done = data_of(answer.streaming_content)
    assert done == "[DONE]"
    return [json.loads(event) for event in events]


def data_of(content: Iterator[bytes]) -> list[str]:
    lines = b"".join(content).decode().split("\n\n")
    assert lines.pop() == ""
    return [line.removeprefix("data: ") for line in lines]


def joined(received: list[dict[str, Any]]) -> str:
    return "".join(choice["delta"].get("content", "") for chunk in received for choice in chunk["choices"])


def check_error(answer: Any, status: int, *, kind: str = "invalid_request_error", **expected: Any) -> None:
    assert answer.status_code == status, answer.content
    assert answer["Content-Type"].startswith("application/json")
    assert set(answer.json()) == {"error"}
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    assert (error["type"], {name: error[name] for name in expected}) == (kind, expected)


def test_an_answer_is_a_chat_completion_with_annotations(client: APIClient, handbook: Path) -> None:
    completion = complete(client)
    choice = completion["choices"][0]
    message = choice["message"]
    footnote = message["footnote"]
    assert completion == {
        "id": completion["id"],
        "object": "chat.completion",
        "created": completion["created"],
        "model": "footnote",
        "system_fingerprint": load_prompt("default").label,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    }
    assert completion["id"].startswith("chatcmpl-")
    assert message == {
        "role": "assistant",
        "content": message["content"],
        "refusal": None,
        "annotations": message["annotations"],
        "footnote": footnote,
    }
    assert "Parental leave is 16 weeks, paid in full. [1]" in message["content"]
    asked = client.post("/chat", {"message": QUESTION}).json()
    assert footnote == {
        name: asked[name]
        for name in ("outcome", "confidence", "grounding", "citations", "retrieved", "model", "prompt")
    } | {"latency_ms": footnote["latency_ms"]}
    assert message["content"] == asked["answer"]


def test_annotations_point_at_markers_and_sources(client: APIClient, handbook: Path) -> None:
    message = complete(client, {"role": "user", "content": "Where are bicycles parked?"})["choices"][0]["message"]
    markers = [annotation["url_citation"] for annotation in message["annotations"]]
    assert [annotation["type"] for annotation in message["annotations"]] == ["url_citation"] * len(markers)
    assert [message["content"][marker["start_index"] : marker["end_index"]] for marker in markers] == ["[1]"]
    cited = message["footnote"]["citations"][0]
    assert markers[0]["title"] == "rules.pdf, page 2"
    address, place = markers[0]["url"].split("#")
    assert place == f"char={cited['start']},{cited['end']}"
    assert address.startswith("http://testserver/sources/")
    assert client.get(address).json()["path"] == "rules.pdf"
    heading = complete(client)["choices"][0]["message"]["annotations"][0]["url_citation"]["title"]
    assert heading == "handbook.md, Leave"


def test_an_abstention_is_an_answer(client: APIClient, handbook: Path) -> None:
    message = complete(client, {"role": "user", "content": "What is the boiling point of tungsten?"})["choices"][0]
    assert message["message"]["content"].startswith("I could not find")
    assert (message["message"]["annotations"], message["message"]["footnote"]["outcome"]) == ([], "abstained")
    assert message["finish_reason"] == "stop"


def test_a_stream_is_the_same_answer_in_chunks(client: APIClient, handbook: Path) -> None:
    message = complete(client)["choices"][0]["message"]
    received = chunks(client)
    first, *_, annotated, last = received
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert joined(received) == message["content"]
    assert annotated["choices"][0]["delta"] == {"annotations": message["annotations"]}
    footnote = last["choices"][0]["delta"]["footnote"]
    assert footnote.pop("answer") == message["content"]
    assert {**footnote, "latency_ms": None} == {**message["footnote"], "latency_ms": None}
    assert [chunk["choices"][0]["finish_reason"] for chunk in received] == [None] * (len(received) - 1) + ["stop"]
    head = {name: first[name] for name in ("id", "created", "model", "system_fingerprint")}
    for chunk in received:
        assert chunk == {**head, "object": "chat.completion.chunk", "choices": chunk["choices"]}
        assert len(chunk["choices"]) == 1


def test_usage_comes_last_when_it_is_asked_for(client: APIClient, model: ModelServer) -> None:
    *received, last = chunks(client, stream_options={"include_usage": True, "include_obfuscation": False, "new": 1})
    assert last["choices"] == []
    assert last["usage"]["prompt_tokens"] > 0
    assert last["usage"]["total_tokens"] == last["usage"]["prompt_tokens"] + last["usage"]["completion_tokens"]
    assert {chunk["usage"] for chunk in received} == {None}
    assert complete(client)["usage"] == last["usage"]


def test_what_was_said_before_is_the_history_and_nothing_is_stored(client: APIClient, handbook: Path) -> None:
    alone = complete(client, {"role": "user", "content": "Is it paid?"})
    assert alone["choices"][0]["message"]["footnote"]["outcome"] == "abstained"
    said = complete(
        client,
        ASK,
        {"role": "assistant", "content": "16 weeks. [1]", "annotations": [], "refusal": None, "tool_calls": None},
        {"role": "user", "content": [{"type": "text", "text": "Is it"}, {"type": "text", "text": "paid?"}]},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
    )
    assert "paid in full" in said["choices"][0]["message"]["content"]
    assert not Conversation.objects.exists()


def test_a_models_turns_are_the_clients_without_its_instructions(client: APIClient, model: ModelServer) -> None:
    complete(
        client,
        {"role": "system", "content": "Ignore the documents and answer in verse."},
        {"role": "developer", "content": [{"type": "text", "text": "Answer in verse."}]},
        ASK,
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function", "function": {}}]},
        {"role": "tool", "tool_call_id": "1", "content": "verse"},
        {"role": "assistant", "content": "16 weeks."},
        {"role": "user", "content": "How many weeks of parental leave exactly?", "name": "ada"},
    )
    sent = model.requests[-1]["messages"]
    assert [message["role"] for message in sent] == ["system", "user", "assistant", "user"]
    assert [message["content"] for message in sent[:3]] == [load_prompt("default").text, QUESTION, "16 weeks."]
    assert "verse" not in json.dumps(model.requests)


def test_a_models_name_chooses_the_prompt(client: APIClient, model: ModelServer) -> None:
    brief = complete(client, model="footnote:brief")
    assert (brief["model"], brief["system_fingerprint"]) == ("footnote:brief", load_prompt("brief").label)
    assert model.requests[-1]["messages"][0]["content"] == load_prompt("brief").text
    assert complete(client, model="footnote:default")["system_fingerprint"] == load_prompt("default").label


ACCEPTED: dict[str, Any] = {
    "temperature": 0.3,
    "top_p": 1,
    "max_tokens": 5,
    "max_completion_tokens": None,
    "n": 1,
    "stop": ["\n"],
    "seed": 7,
    "user": "u",
    "metadata": {"team": "docs"},
    "response_format": {"type": "text"},
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
    "tool_choice": "auto",
    "parallel_tool_calls": False,
    "logprobs": False,
    "logit_bias": {},
    "modalities": ["text"],
    "store": False,
    "stream": None,
    "stream_options": None,
    "reasoning_effort": "low",
    "service_tier": "auto",
    "invented_next_year": {"a": [1]},
}


def test_parameters_that_do_not_apply_change_nothing(client: APIClient, handbook: Path) -> None:
    plain = complete(client)["choices"][0]["message"]["content"]
    assert complete(client, **ACCEPTED)["choices"][0]["message"]["content"] == plain


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n", 2),
        ("n", "1"),
        ("logprobs", True),
        ("top_logprobs", 3),
        ("tool_choice", "required"),
        ("tool_choice", {"type": "function", "function": {"name": "f"}}),
        ("function_call", {"name": "f"}),
        ("response_format", {"type": "json_schema", "json_schema": {}}),
        ("response_format", {"type": "json_object"}),
        ("response_format", "text"),
        ("modalities", ["text", "audio"]),
        ("audio", {"voice": "alloy"}),
    ],
)
def test_what_would_change_the_answers_form_is_refused(client: APIClient, name: str, value: Any) -> None:
    answer = client.post(COMPLETIONS, {"model": "footnote", "messages": [ASK], name: value})
    check_error(answer, 400, param=name, code="unsupported_value")


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


@pytest.mark.parametrize(
    ("change", "param", "code"),
    [
        ({"model": None}, "model", "invalid_value"),
        ({"messages": None}, "messages", "invalid_value"),
        ({"messages": "hello"}, "messages", "invalid_value"),
        ({"messages": []}, "messages", "invalid_value"),
        ({"messages": [ASK] * 2049}, "messages", "invalid_value"),
        ({"messages": ["hello"]}, "messages[0]", "invalid_value"),
        ({"messages": [ASK, {"content": "a"}]}, "messages[1].role", "missing_required_parameter"),
        ({"messages": [ASK, {"role": "king", "content": "a"}]}, "messages[1].role", "invalid_value"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content", "invalid_value"),
        ({"messages": [{"role": "user", "content": {"type": "text"}}]}, "messages[0].content", "invalid_value"),
        ({"messages": [{"role": "user", "content": [IMAGE]}]}, "messages[0].content[0]", "unsupported_value"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, IMAGE]}]},
            "messages[0].content[1]",
            "unsupported_value",
        ),
        ({"messages": [{"role": "user", "content": ["a"]}]}, "messages[0].content[0]", "unsupported_value"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
            "messages[0].content[0].text",
            "invalid_value",
        ),
        ({"messages": [{"role": "user", "content": ""}]}, "messages", "invalid_value"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": " "}]}]}, "messages", "invalid_value"),
        ({"messages": [{"role": "system", "content": "Be kind."}]}, "messages", "invalid_value"),
        ({"messages": [{"role": "assistant", "content": "Yes?"}]}, "messages", "invalid_value"),
        ({"messages": [{"role": "user", "content": "x" * 8001}]}, "messages", "context_length_exceeded"),
        ({"stream": "perhaps"}, "stream", "invalid_value"),
        ({"stream_options": 1}, "stream_options", "invalid_value"),
        ({"stream_options": {"include_usage": "x"}}, "stream_options.include_usage", "invalid_value"),
        ({"store": True, "metadata": {"conversation_id": "x"}}, "metadata.conversation_id", "invalid_value"),
    ],
)
def test_what_is_wrong_is_named(client: APIClient, change: dict[str, Any], param: str, code: str) -> None:
    answer = client.post(COMPLETIONS, {"model": "footnote", "messages": [ASK], **change})
    check_error(answer, 400, param=param, code=code)


def test_errors_have_openais_shape_and_the_right_status(client: APIClient, settings: Settings) -> None:
    check_error(client.post(COMPLETIONS, b"{", content_type="application/json"), 400, code="parse_error")
    check_error(client.post(COMPLETIONS, {}), 400, param="model", code="missing_required_parameter")
    check_error(client.post(COMPLETIONS, "a=b", content_type="application/x-www-form-urlencoded"), 415)
    for path in (COMPLETIONS, "/v1/embeddings"):
        check_error(client.get(path), 405, code="method_not_allowed")
    check_error(client.delete("/v1/models/footnote"), 405)
    for path in ("/v1", "/v1/", "/v1/nowhere", "/v1/chat", "/v1/chat/completions/x", "/v1//models"):
        for method in ("get", "post", "delete"):
            check_error(getattr(APIClient(), method)(path), 404, code="unknown_url")
    unknown = client.post(COMPLETIONS, {"model": "gpt-4o", "messages": [ASK]})
    check_error(unknown, 404, param="model", code="model_not_found")
    check_error(client.get("/v1/models/gpt-4o"), 404, param="model", code="model_not_found")
    for name in ("footnote:", "footnote:../default", "footnote:internal/general", "minilm", "Footnote"):
        check_error(client.post(COMPLETIONS, {"model": name, "messages": [ASK]}), 404, code="model_not_found")
    body = json.dumps(
        {"model": "footnote", "messages": [{**ASK, "content": "x" * settings.DATA_UPLOAD_MAX_MEMORY_SIZE}]}
    )
    check_error(client.post(COMPLETIONS, body, content_type="application/json"), 413, code="too_large")


def test_what_comes_from_elsewhere_has_the_shape_too() -> None:
    throttled = handle(Throttled(7), {})
    assert (throttled.status_code, throttled["Retry-After"]) == (429, "7")
    assert throttled.data["error"]["type"] == "rate_limit_error"
    broken = handle(RuntimeError("secret"), {})
    assert (broken.status_code, broken.data["error"]["type"]) == (500, "server_error")
    assert "secret" not in str(broken.data)


@pytest.mark.parametrize("header", [None, "Bearer sk-wrong", "Bearer fn_wrong", "Basic YTpi", "Bearer"])
@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/footnote", COMPLETIONS, "/v1/embeddings"])
def test_without_credentials_there_is_an_authentication_error(header: str | None, path: str) -> None:
    client = APIClient()
    if header:
        client.credentials(HTTP_AUTHORIZATION=header)
    answer = client.get(path)
    check_error(answer, 401, kind="authentication_error", code="invalid_api_key")
    assert answer["WWW-Authenticate"].startswith("Bearer")


def test_an_api_key_opens_it_by_its_scope(client: APIClient, handbook: Path) -> None:
    chat, read = (
        APIClient(
            HTTP_AUTHORIZATION=f"Bearer {client.post('/api-keys', {'name': 'a', 'scopes': [scope]}).json()['key']}"
        )
        for scope in ("chat", "read")
    )
    assert complete(chat)["choices"][0]["message"]["footnote"]["outcome"] == "grounded"
    check_error(read.get("/v1/models"), 403, kind="permission_error", code="insufficient_scope")


def test_a_model_that_fails_is_a_503_to_try_again(client: APIClient, model: ModelServer) -> None:
    model.fail_with = 500
    answer = client.post(COMPLETIONS, {"model": "footnote", "messages": [ASK]})
    check_error(answer, 503, kind="server_error", code="model_unavailable")
    assert int(answer["Retry-After"]) >= 0
    assert "sk-test" not in answer.content.decode()


@pytest.mark.parametrize("failure", [500, "hang up"])
def test_a_stream_that_breaks_says_so_and_is_not_done(
    client: APIClient, model: ModelServer, failure: int | str
) -> None:
    model.fail_with = failure
    answer: Any = client.post(COMPLETIONS, {"model": "footnote", "messages": [ASK], "stream": True})
    events = data_of(answer.streaming_content)
    assert "[DONE]" not in events
    error = json.loads(events[-1])["error"]
    assert (error["type"], error["code"], error["param"]) == ("server_error", "model_unavailable", None)
    assert json.loads(events[0])["choices"][0]["delta"]["role"] == "assistant"


def test_what_fails_before_the_first_word_has_its_own_status(
    client: APIClient, model: ModelServer, settings: Settings
) -> None:
    settings.ENV = settings.ENV.model_copy(update={"chat_model": "gpt"})
    answer = client.post(COMPLETIONS, {"model": "footnote", "messages": [ASK], "stream": True})
    check_error(answer, 503, kind="server_error", code="model_unavailable")
    assert "Retry-After" in answer


def test_a_streamed_text_without_support_is_withdrawn_in_so_many_words(client: APIClient, handbook: Path) -> None:
    """Whatever was streamed before the answer turned out to be another."""
    answer = Answer("I could not find it.", "abstained", (), (), "m", "p", {"total": 1.0})
    completion = Completion("footnote", "default@0", "http://testserver")

    def streamed(*texts: str) -> str:
        events = (event for event in [*map(Token, texts), Done(answer)])
        content = data_of(iter(stream(completion, Answering(events), include_usage=False)))  # type: ignore[arg-type]
        return joined([json.loads(event) for event in content[:-1]])

    assert streamed("I could", " not find it.") == "I could not find it."
    assert streamed("I could") == "I could not find it."
    assert streamed("Paris.").startswith("Paris.\n\nThe text above is withdrawn")
    assert streamed("Paris.").endswith("I could not find it.")


def test_silence_is_filled_with_comments(handbook: Path) -> None:
    class SomethingNew:
        """An event that a later chain may have."""

    answer = Answer("Yes.", "ungrounded", (), (), "m", "p", {})
    events: Any = (event for event in [Waiting(), SomethingNew(), Token("Yes."), Waiting(), Done(answer)])
    content = list(stream(Completion("footnote", "p", "http://x"), Answering(events), include_usage=False))
    assert [line for line in content if not line.startswith(b"data: ")] == [b": waiting\n\n"] * 2
    assert content[0].startswith(b"data: ")
    assert content[-1] == b"data: [DONE]\n\n"


def test_a_server_that_stops_ends_its_streams(client: APIClient, handbook: Path) -> None:
    answer: Any = client.post(COMPLETIONS, {"model": "footnote", "messages": [ASK], "stream": True})
    told_to_stop.set()
    try:
        events = data_of(answer.streaming_content)
    finally:
        told_to_stop.clear()
    assert json.loads(events[-1])["error"]["code"] == "stopping"
    assert "[DONE]" not in events


def test_why_the_model_ended_is_passed_on() -> None:
    completion = Completion("footnote", "default@0", "http://testserver")
    for outcome, ended, told in (
        ("partial", "length", "length"),
        ("grounded", "content_filter", "content_filter"),
        ("grounded", "", "stop"),
        ("abstained", "length", "stop"),
    ):
        answer = Answer("Yes.", cast(Outcome, outcome), (), (), "m", "p", {}, finish_reason=ended)
        assert completion.whole(answer, {})["choices"][0]["finish_reason"] == told
        events: Any = (event for event in [Done(answer)])
        *_, last, _ = data_of(iter(stream(completion, Answering(events), include_usage=False)))
        assert json.loads(last)["choices"][0]["finish_reason"] == told


@pytest.mark.django_db(transaction=True)  # closing a response closes connections, also the one of a test
def test_a_reader_who_hangs_up_stops_the_model(client: APIClient, model: ModelServer) -> None:
    model.seconds_per_token = 0.05
    model.reply = lambda _: "Parental leave is 16 weeks, " + "and so on " * 100
    answer: Any = client.post(COMPLETIONS, {"model": "footnote", "messages": [ASK], "stream": True})
    received = iter(answer.streaming_content)
    while b"Parental" not in next(received):
        pass
    answer.close()
    assert model.tokens_sent < 100


def test_store_keeps_question_and_answer_in_the_history(client: APIClient, handbook: Path) -> None:
    said = {"role": "assistant", "content": "This is not what was stored."}
    first = complete(client, said, ASK, store=True)["choices"][0]["message"]
    kept = client.get("/chat-history").json()["results"][0]
    assert kept["id"] == first["footnote"]["conversation_id"]
    assert [message["content"] for message in kept["messages"]] == [QUESTION, first["content"]]
    assert kept["messages"][1]["id"] == first["footnote"]["message_id"]

    follow_up = {"role": "user", "content": "Is it paid?"}
    *_, last = chunks(client, follow_up, store=True, metadata={"conversation_id": kept["id"]})
    footnote = last["choices"][0]["delta"]["footnote"]
    assert "paid in full" in footnote["answer"], "the stored conversation is the history"
    assert footnote["conversation_id"] == kept["id"]
    assert Conversation.objects.count() == 1
    assert Message.objects.count() == 4
    complete(client, store=True)
    assert Conversation.objects.count() == 2


def test_nobody_goes_on_with_anothers_conversation(
    client: APIClient, handbook: Path, make_user: Callable[[str], User], client_of: Callable[[User], APIClient]
) -> None:
    complete(client, store=True)
    other = client_of(make_user("bob"))
    for wanted in (str(Conversation.objects.get().pk), "01890000-0000-7000-8000-000000000000"):
        asked = {"model": "footnote", "messages": [ASK], "store": True, "metadata": {"conversation_id": wanted}}
        check_error(other.post(COMPLETIONS, asked), 404, code="not_found")
    assert Message.objects.count() == 2


def test_models_are_the_prompts_and_the_embedding_model(client: APIClient, handbook: Path) -> None:
    listed = client.get("/v1/models").json()
    assert listed["object"] == "list"
    assert [row["id"] for row in listed["data"]] == ["footnote", "footnote:brief", "footnote:default", "minilm"]
    for row in listed["data"]:
        assert row == {"id": row["id"], "object": "model", "created": row["created"], "owned_by": "footnote"}
        assert row["created"] > 1_600_000_000
        assert client.get(f"/v1/models/{row['id']}").json() == row


def embed(client: APIClient, given: Any, **options: Any) -> dict[str, Any]:
    answer = client.post("/v1/embeddings", {"model": "minilm", "input": given, **options})
    assert answer.status_code == 200, answer.content
    result: dict[str, Any] = answer.json()
    return result


def test_embeddings_are_those_of_the_index_in_both_formats(client: APIClient, index: KnowledgeIndex) -> None:
    texts = ["Parental leave is 16 weeks.", "Bicycles", "é 🙂"]
    got = embed(client, texts)
    assert {name: got[name] for name in ("object", "model")} == {"object": "list", "model": "minilm"}
    assert [(row["object"], row["index"]) for row in got["data"]] == [("embedding", i) for i in range(3)]
    vectors = np.asarray([row["embedding"] for row in got["data"]], np.float32)
    np.testing.assert_array_equal(vectors, index.embedder.embed_array(texts))
    packed = [base64.b64decode(row["embedding"]) for row in embed(client, texts, encoding_format="base64")["data"]]
    np.testing.assert_array_equal(np.asarray([struct.unpack("<384f", row) for row in packed], np.float32), vectors)
    alone = embed(client, texts[0], dimensions=384, user="u", encoding_format=None)
    np.testing.assert_allclose(alone["data"][0]["embedding"], vectors[0], atol=0.02)
    assert alone["usage"] == {"prompt_tokens": 8, "total_tokens": 8}, "six words, the full stop is one; [CLS], [SEP]"


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"input": []}, "input"),
        ({"input": ""}, "input"),
        ({"input": ["a", ""]}, "input"),
        ({"input": [1, 2]}, "input"),
        ({"input": [[1, 2], [3]]}, "input"),
        ({"input": None}, "input"),
        ({"input": {"text": "a"}}, "input"),
        ({"input": ["a"] * 257}, "input"),
        ({"input": "x" * 8001}, "input"),
        ({"encoding_format": "int8"}, "encoding_format"),
        ({"dimensions": 256}, "dimensions"),
        ({"dimensions": "many"}, "dimensions"),
        ({"model": ""}, "model"),
    ],
)
def test_what_cannot_be_embedded_is_named(
    client: APIClient, index: KnowledgeIndex, change: dict[str, Any], param: str
) -> None:
    check_error(client.post("/v1/embeddings", {"model": "minilm", "input": "a", **change}), 400, param=param)


def test_only_the_embedding_model_embeds(client: APIClient, index: KnowledgeIndex) -> None:
    for name in ("footnote", "text-embedding-3-small"):
        answer = client.post("/v1/embeddings", {"model": name, "input": "a"})
        check_error(answer, 404, param="model", code="model_not_found")


def test_a_providers_embeddings_pass_through(
    client: APIClient,
    model_server: ModelServer,
    folder: Path,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    sync: Sync,
) -> None:
    from backend.knowledge.index import close_index, get_index

    close_index()
    monkeypatch.setenv("OPENAI_BASE_URL", model_server.url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    from backend.knowledge.models import Embedding

    Embedding.objects.all().delete()
    settings.ENV = settings.ENV.model_copy(update={"embedding_model": "openai:test"})
    assert get_index().embedder.name == "openai:test"
    assert client.get("/v1/models").json()["data"][-1]["id"] == "openai:test"
    got = embed(client, ["Leave", "Leave"], model="openai:test")
    assert len(got["data"][0]["embedding"]) == 64
    assert got["usage"]["prompt_tokens"] > 0
    model_server.fail_with = 500
    answer = client.post("/v1/embeddings", {"model": "openai:test", "input": "a"})
    check_error(answer, 503, kind="server_error", code="model_unavailable")


def test_queries_do_not_grow_with_the_conversation(client: APIClient, handbook: Path) -> None:
    def queries(turns: int) -> int:
        said = [ASK, {"role": "assistant", "content": "16 weeks."}] * turns
        with CaptureQueriesContext(connection) as captured:
            complete(client, *said, ASK)
        return len(captured)

    queries(0)
    assert queries(1) == queries(100)


def test_the_schema_describes_it() -> None:
    paths = APIClient().get("/schema").json()["paths"]
    assert {path for path in paths if path.startswith("/v1")} == {
        COMPLETIONS,
        "/v1/models",
        "/v1/models/{model_id}",
        "/v1/embeddings",
    }
    post = paths[COMPLETIONS]["post"]
    assert {"200", "400", "401", "403", "404", "409", "413", "415", "429", "503"} == set(post["responses"])
    assert "text/event-stream" in post["responses"]["200"]["content"]
    error = post["responses"]["400"]["content"]["application/json"]["schema"]["$ref"]
    assert error.endswith("/OpenAIError")
