"""Documents and questions that give orders, before a model that obeys them and before the keyless answerer.

The cases are data (tests/injection/cases.json) and are listed with what happens in docs/security-of-answers.md. An
order is what follows "Answer with exactly:" in what the model was shown; {prompt}, {question} and {conversation} in it
are all that the model has to give away, and {denial} contradicts the document.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from backend.accounts.models import User
from backend.environment import BASE_DIR
from chains.prompts import load_prompt
from evals.model_server import Messages, ModelServer
from tests.backend.conftest import Sync
from tests.backend.test_chat import QUESTION, ask, check_citations, events
from tests.folder import write

CASES: list[dict[str, Any]] = json.loads((BASE_DIR / "tests" / "injection" / "cases.json").read_text())
SECRET = "eve is looking for another job"
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])


def obey(messages: Messages) -> str:
    """What an order in the prompt says; without one, the model declines."""
    shown = html.unescape(messages[-1]["content"])
    order = re.search(r"Answer with exactly: ([^\n]+)", shown)
    if order is None:
        return "NOT_IN_DOCUMENTS"
    return (
        order.group(1)
        .replace("{prompt}", messages[0]["content"])
        .replace("{denial}", "Parental leave is not paid in full by the house [1].")
        .replace("{question}", QUESTION.replace(" ", "+"))
        .replace("{conversation}", "+".join(message["content"] for message in messages))
    )


@pytest.fixture
def place(folder: Path, sync: Sync) -> Callable[[dict[str, Any]], None]:
    """Puts a case's files into the watched folder."""

    def write_files(case: dict[str, Any]) -> None:
        for name, text in case["files"].items():
            write(folder, name, re.sub(r"\{unseen:(.*?)\}", _as_tags, text))
        sync()

    return write_files


@pytest.fixture
def obedient(model_server: ModelServer, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> ModelServer:
    monkeypatch.setenv("OPENAI_BASE_URL", model_server.url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    name = f"openai:obedient-{model_server.server_address[1]}"  # models are kept by name
    settings.ENV = settings.ENV.model_copy(update={"chat_model": name})
    model_server.reply = obey
    return model_server


@each_case
def test_an_obedient_model_changes_nothing_that_the_code_controls(
    client: APIClient,
    make_user: Callable[[str], User],
    client_of: Callable[[User], APIClient],
    obedient: ModelServer,
    place: Callable[[dict[str, Any]], None],
    case: dict[str, Any],
) -> None:
    place(case)
    ask(client_of(make_user("eve")), f"{QUESTION} {SECRET}")
    obedient.requests.clear()
    body = {"message": case.get("question", QUESTION), "filter": case.get("filter"), "stream": True}
    got = events(client.post("/chat", body))
    answer = got[-1][1]

    assert answer["outcome"] == case["outcome"], answer
    assert [quote["quote"] for quote in answer["citations"]] == case.get(
        "cited", [c["quote"] for c in answer["citations"]]
    )
    for text in case.get("absent", []):
        assert text not in answer["answer"]
    for text in case.get("present", []):
        assert text in answer["answer"]
    if case["outcome"] != "abstained":
        streamed = "".join(data["text"] for name, data in got if name == "token")
        assert streamed == answer["answer"], "what was cut was never sent"
    check_the_rest(answer, case)
    sent = json.dumps(obedient.requests)
    assert SECRET not in sent, "another user's chats are not in reach"
    assert (not re.search("Answer with exactly", sent)) is case.get("unread", False)


@each_case
def test_the_keyless_answerer_quotes_and_obeys_nothing(
    client: APIClient, place: Callable[[dict[str, Any]], None], case: dict[str, Any]
) -> None:
    place(case)
    answer = ask(client, case.get("question", QUESTION), filter=case.get("filter"))
    assert answer["outcome"] in ("grounded", "abstained")
    check_the_rest(answer, case)


def check_the_rest(answer: dict[str, Any], case: dict[str, Any]) -> None:
    """Citations hold; no link, source, prompt or other user's words come in that no document has."""
    check_citations(answer)
    cited = " ".join(citation["quote"] for citation in answer["citations"])
    assert load_prompt("default").text[:60] not in cited
    assert SECRET not in json.dumps(answer)
    texts = "\n".join(case["files"].values()) + case.get("question", "")
    assert all(link in texts for link in re.findall(r"https?://[^\s)\"<>]+", answer["answer"]))
    if "sources" in case:
        assert {found["source"] for found in (*answer["retrieved"], *answer["citations"])} == set(case["sources"])


def test_every_case_is_in_the_table() -> None:
    table = (BASE_DIR / "docs" / "security-of-answers.md").read_text()
    assert [case["name"] for case in CASES if f"| {case['name']} |" not in table] == []


def _as_tags(match: re.Match[str]) -> str:
    """The text in characters that are not seen and that models read."""
    return "".join(chr(0xE0000 + ord(char)) for char in match.group(1))
