"""OpenAI's own clients, unchanged, against the real server: in Python, in Node, and LangChain's over the first."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

from backend.environment import BASE_DIR
from evals.model_server import Messages, ModelServer, running_model_server
from tests.acceptance.server import Client, Server, serving
from tests.folder import write
from vectorstore.embeddings import Embedder

pytestmark = pytest.mark.acceptance

QUESTION = "How many weeks of parental leave do I get?"
ASKED: Any = {"model": "footnote", "messages": [{"role": "user", "content": QUESTION}]}
NODE_CLIENT = BASE_DIR / "tests" / "clients"


@dataclass(frozen=True)
class Service:
    """A server that runs, and what one needs to use it. answer: to QUESTION. writes: whether `model` writes it."""

    url: str
    key: str
    answer: str
    model: ModelServer
    writes: bool

    def client(self, **options: Any) -> openai.OpenAI:
        return openai.OpenAI(**{"base_url": f"{self.url}/v1", "api_key": self.key, "max_retries": 0, **options})

    def chat(self, **options: Any) -> ChatOpenAI:
        given = {"base_url": f"{self.url}/v1", "api_key": self.key, "model": "footnote", "max_retries": 0}
        return ChatOpenAI(**{**given, **options})


def reply(messages: Messages) -> str:
    """A sentence of the handbook under the number of its passage; a question made whole."""
    shown = messages[-1]["content"].split("<passage ")[1:]
    number = next((i for i, block in enumerate(shown, start=1) if "16 weeks" in block), None)
    return f"You get 16 weeks of parental leave [{number}]." if number else "Is parental leave paid in full?"


@pytest.fixture(scope="module", params=["keyless", "with a model"])
def service(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, model_cache: Path, embedder: Embedder
) -> Iterator[Service]:
    embedder.embed_query("the model is converted once for all")
    root = tmp_path_factory.mktemp("served")
    (root / "data").mkdir()
    (root / "data" / "models").symlink_to(model_cache / "models")
    write(root / "knowledge", "handbook.md", "# Handbook\n\n## Leave\n\nParental leave is 16 weeks, paid in full.\n")
    with running_model_server() as model:
        model.reply = reply
        writes = request.param == "with a model"
        given = {"CHAT_MODEL": "openai:test", "OPENAI_BASE_URL": model.url, "OPENAI_API_KEY": "sk-test"}
        server = Server(root / "data", root / "knowledge", **(given if writes else {}))
        with serving(server), Client(server) as person:
            server.wait_until(lambda: person.states() == {"handbook.md": "indexed"}, "the handbook")
            key = person.post("/api-keys", json={"name": "a program", "scopes": ["chat"]}).json()["key"]
            answer = (
                "You get 16 weeks of parental leave [1]." if writes else "Parental leave is 16 weeks, paid in full. [1]"
            )
            yield Service(server.url, key, answer, model, writes)


def test_the_python_client_gets_an_answer_with_annotations(service: Service) -> None:
    completion = service.client().chat.completions.create(**ASKED)
    choice = completion.choices[0]
    content = choice.message.content
    assert content is not None
    assert service.answer in content
    assert (choice.finish_reason, completion.model) == ("stop", "footnote")
    assert completion.usage is not None
    assert (completion.usage.total_tokens > 0) == service.writes
    assert choice.message.annotations
    cited = choice.message.annotations[0].url_citation
    assert (content[cited.start_index : cited.end_index], cited.title) == ("[1]", "handbook.md, Leave")
    assert cited.url.startswith(f"{service.url}/sources/")
    footnote = choice.message.model_extra["footnote"] if choice.message.model_extra else {}
    assert footnote["outcome"] == "grounded"
    assert footnote["citations"][0]["quote"] == "Parental leave is 16 weeks, paid in full."
    completion.model_validate(completion.model_dump(), strict=True)


def test_the_python_client_streams(service: Service) -> None:
    client = service.client()
    chunks = list(client.chat.completions.create(**ASKED, stream=True, stream_options={"include_usage": True}))
    *written, last = chunks
    text = "".join(choice.delta.content or "" for chunk in written for choice in chunk.choices)
    assert service.answer in text
    assert written[0].choices[0].delta.role == "assistant"
    assert written[-1].choices[0].finish_reason == "stop"
    annotated, finished = (chunk.choices[0].delta.model_extra or {} for chunk in written[-2:])
    assert annotated["annotations"][0]["url_citation"]["title"] == "handbook.md, Leave"
    assert finished["footnote"]["outcome"] == "grounded"
    assert last.choices == []
    assert last.usage is not None
    assert (last.usage.total_tokens > 0) == service.writes

    with client.chat.completions.stream(**ASKED) as stream:
        deltas = "".join(event.delta for event in stream if event.type == "content.delta")
        message = stream.get_final_completion().choices[0].message
    assert deltas == message.content == text
    assert message.annotations is not None
    assert "footnote" in (message.model_extra or {})


def test_the_python_client_keeps_the_conversation(service: Service) -> None:
    follow_up = {"role": "user", "content": "Is it paid?"}
    said = [*ASKED["messages"], {"role": "assistant", "content": service.answer}, follow_up]
    completion = service.client().chat.completions.create(model="footnote:brief", messages=said)
    assert completion.choices[0].message.annotations
    assert (completion.system_fingerprint or "").startswith("brief@")


def test_the_python_client_raises_its_own_errors(service: Service) -> None:
    client = service.client()
    with pytest.raises(openai.AuthenticationError) as nobody:
        service.client(api_key="fn_wrong").models.list()
    assert nobody.value.code == "invalid_api_key"
    with pytest.raises(openai.NotFoundError) as unknown:
        client.chat.completions.create(**{**ASKED, "model": "gpt-4o"})
    assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(**ASKED, n=2)
    assert (refused.value.param, refused.value.type) == ("n", "invalid_request_error")
    image: Any = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}]}
    with pytest.raises(openai.BadRequestError, match="Only text is read"):
        client.chat.completions.create(model="footnote", messages=[image])
    with pytest.raises(openai.NotFoundError):
        client.files.list()
    with pytest.raises(openai.PermissionDeniedError):
        service.client(base_url=service.url).get("/sources", cast_to=object)


@pytest.mark.parametrize("service", ["with a model"], indirect=True)
def test_the_python_client_notices_a_model_that_fails(service: Service) -> None:
    service.model.fail_with = "hang up"
    try:
        with pytest.raises(openai.InternalServerError) as whole:
            service.client().chat.completions.create(**ASKED)
        assert (whole.value.status_code, whole.value.code) == (503, "model_unavailable")
        assert int(whole.value.response.headers["Retry-After"]) >= 0
        stream = service.client().chat.completions.create(**ASKED, stream=True)
        with pytest.raises(openai.APIError, match="broke off"):
            list(stream)
    finally:
        service.model.fail_with = None


def test_the_python_client_lists_models_and_embeds(service: Service, embedder: Embedder) -> None:
    client = service.client()
    assert [model.id for model in client.models.list()] == ["footnote", "footnote:brief", "footnote:default", "minilm"]
    assert client.models.retrieve("footnote:brief").owned_by == "footnote"
    texts = ["Parental leave", "Bicycles"]
    expected = embedder.embed_documents(texts)
    unpacked = client.embeddings.create(model="minilm", input=texts)  # it asks for base64 and unpacks it
    assert [row.embedding for row in unpacked.data] == expected
    assert unpacked.usage.total_tokens > 0
    floats = client.embeddings.create(model="minilm", input=texts, encoding_format="float")
    assert [row.embedding for row in floats.data] == expected


def test_langchain_asks_streams_and_embeds(service: Service, embedder: Embedder) -> None:
    said = [SystemMessage("Answer in verse."), HumanMessage("Hello"), AIMessage("Hello!"), HumanMessage(QUESTION)]
    message = service.chat().invoke(said)
    assert service.answer in message.text
    assert message.response_metadata["finish_reason"] == "stop"

    chunks = list(service.chat(stream_usage=True).stream(QUESTION))
    assert service.answer in "".join(chunk.text for chunk in chunks)
    usage = [chunk.usage_metadata for chunk in chunks if chunk.usage_metadata]
    assert (sum(counted["total_tokens"] for counted in usage) > 0) == service.writes

    with pytest.raises(openai.BadRequestError, match="Answers are text"):
        service.chat().with_structured_output({"title": "A", "type": "object", "properties": {}}).invoke(QUESTION)

    given: Any = {"base_url": f"{service.url}/v1", "api_key": service.key, "model": "minilm"}
    embeddings = OpenAIEmbeddings(**given, check_embedding_ctx_length=False)
    assert embeddings.embed_documents(["Parental leave"]) == embedder.embed_documents(["Parental leave"])


def test_the_node_client_understands_everything(service: Service, embedder: Embedder) -> None:
    if not shutil.which("node") or not (NODE_CLIENT / "node_modules").is_dir():
        pytest.skip("needs Node, and `npm ci` in tests/clients")
    ran = subprocess.run(
        ["node", "openai-client.mjs", f"{service.url}/v1", service.key, QUESTION],
        cwd=NODE_CLIENT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    got = json.loads(ran.stdout)
    message = got["completion"]["choices"][0]["message"]
    assert service.answer in message["content"]
    assert message["annotations"][0]["url_citation"]["title"] == "handbook.md, Leave"
    assert message["footnote"]["outcome"] == "grounded"

    *_, annotated, finished, counted = got["chunks"]
    assert annotated["choices"][0]["delta"]["annotations"] == message["annotations"]
    assert finished["choices"][0]["finish_reason"] == "stop"
    assert (counted["usage"]["total_tokens"] > 0) == service.writes
    assert got["streamed"] == got["final"]["content"] == message["content"]
    assert got["final"]["annotations"] == message["annotations"]
    assert got["final"]["footnote"]["outcome"] == "grounded"

    assert got["models"] == ["footnote", "footnote:brief", "footnote:default", "minilm"]
    assert got["model"] == "footnote"
    expected = embedder.embed_query(QUESTION)
    assert got["embedding"] == got["embeddingAsFloats"] == pytest.approx(expected)
    assert {name: (error["name"], error["status"], error["code"]) for name, error in got["failures"].items()} == {
        "authentication": ("AuthenticationError", 401, "invalid_api_key"),
        "notFound": ("NotFoundError", 404, "model_not_found"),
        "badRequest": ("BadRequestError", 400, "unsupported_value"),
    }
