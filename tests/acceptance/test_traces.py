"""Traces of a real server, as a collector gets them: what a request is made of, and nothing that anybody wrote."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.environment import BASE_DIR, as_unset, child_environment
from evals.model_server import ModelServer
from tests.acceptance.server import PASSWORD, Client, Server, serving
from tests.collector import Collector, Told, running_collector
from tests.folder import write

pytestmark = pytest.mark.acceptance

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = {"traceparent": f"00-{TRACE}-{CALLER}-01", "tracestate": "whoever=Wolverhampton"}
QUESTION = "How many fortnights of Zanzibar holiday do employees receive?"
AGAIN = "And how many of those elsewhere?"
PASSAGE = "Employees receive sixteen fortnights of Zanzibar holiday."
REPLY = "Employees receive sixteen fortnights of Zanzibar holiday. [1]"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with running_collector() as server:
        yield server


def make(make_server: Callable[..., Server], model: ModelServer, endpoint: str, **settings: str) -> Server:
    """A server that sends its traces every 100 ms, over a folder with one file."""
    model.reply = lambda messages: REPLY if "<passage" in messages[-1]["content"] else QUESTION
    server = make_server(
        CHAT_MODEL="openai:tester",
        OPENAI_BASE_URL=model.url,
        OPENAI_API_KEY="none",
        OTEL_EXPORTER_OTLP_ENDPOINT=endpoint,
        OTEL_BSP_SCHEDULE_DELAY="100",
        LOG_FORMAT="json",
        **settings,
    )
    write(server.knowledge, "holidays.md", f"# Holidays\n\n{PASSAGE}\n")
    return server


@pytest.fixture
def traced(make_server: Callable[..., Server], model_server: ModelServer, collector: Collector) -> Iterator[Server]:
    with serving(make(make_server, model_server, collector.url)) as server:
        yield server


def traces(server: Server, collector: Collector, name: str, number: int = 1) -> list[Told]:
    """So many of that name, once they have come."""
    found: list[Told] = []

    def came() -> bool:
        found[:] = collector.traces(name)
        return len(found) >= number

    server.wait_until(came, f"{number} of {name}")
    return found


def outline(span: Told) -> Any:
    """Names and nesting, without the database."""
    children = [child for child in span.children if "db.system.name" not in child.attributes]
    return [(child.name, below) if (below := outline(child)) else child.name for child in children]


def check_nothing_was_written(collector: Collector, client: Client, *words: str) -> None:
    sent = b"".join(collector.bodies).lower()
    token = client.headers["Authorization"].removeprefix("Bearer ")
    said = re.findall(r"\w{5,}", " ".join([QUESTION, AGAIN, PASSAGE, REPLY, *words]))
    for word in {*said, PASSWORD, client.name, f"{client.name}@example.org", token, "holidays.md", "Wolverhampton"}:
        assert word.lower().encode() not in sent, word
    for span in collector.spans():
        assert not span.rest, span


def log_lines(server: Server) -> list[dict[str, Any]]:
    return [json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")]


def test_a_chat_is_one_trace_with_its_stages(traced: Server, collector: Collector) -> None:
    with Client(traced) as client:
        first = client.post("/chat?why=Wolverhampton", json={"message": QUESTION}, headers=PARENT)
        assert first.json()["outcome"] == "grounded", first.text
        conversation = first.json()["conversation_id"]
        client.ask(AGAIN, conversation_id=conversation)
        [one, other] = traces(traced, collector, "POST chat", 2)
        check_nothing_was_written(collector, client)

    assert (one.trace, one.parent, one.kind) == (TRACE, CALLER, 2)
    assert other.trace != TRACE
    assert not other.parent
    assert one.attributes == {
        "http.request.method": "POST",
        "http.route": "chat",
        "http.response.status_code": 200,
        "footnote.request_id": first.headers["X-Request-ID"],
    }
    retrieve = ("retrieve", ["embeddings minilm", "dense", "lexical"])
    generate = ("generate", ["chat tester", "verify"])
    assert outline(one) == [("answer", ["condense", retrieve, generate])]
    [condense] = other.find("condense")
    assert [child.name for child in condense.children] == ["chat tester"]
    [model] = one.find("chat tester")
    usage = first.json()["usage"]
    assert model.kind == 3
    assert model.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "tester",
        "gen_ai.request.stream": False,
        "gen_ai.usage.input_tokens": usage["input_tokens"],
        "gen_ai.usage.output_tokens": usage["output_tokens"],
        "gen_ai.response.finish_reasons": ["stop"],
    }
    [answer] = one.find("answer")
    assert answer.attributes["footnote.outcome"] == "grounded"
    assert answer.attributes["footnote.claims"] == answer.attributes["footnote.supported"] == 1
    [stored] = one.find("INSERT chat_conversation")
    assert stored.attributes["db.system.name"] == "sqlite"
    assert stored.attributes["db.query.text"].startswith('INSERT INTO "chat_conversation"')
    assert "VALUES (%s, ...)" in stored.attributes["db.query.text"]
    for span in one.find_all():
        assert one.began <= span.began <= span.ended <= one.ended, span
    assert all(resource["service.name"] == "footnote" for resource in collector.resources)

    [line] = [line for line in log_lines(traced) if line.get("request_id") == first.headers["X-Request-ID"]]
    assert line["trace_id"] == TRACE


def test_a_stream_is_in_its_trace_to_the_end(traced: Server, collector: Collector, model_server: ModelServer) -> None:
    model_server.seconds_per_token = 0.02
    with Client(traced) as client:
        with client.stream("POST", "/chat", json={"message": QUESTION, "stream": True}) as response:
            assert "event: done" in "".join(response.iter_text())
        [whole] = traces(traced, collector, "POST chat")
        [model] = whole.find("chat tester")
        assert model.attributes["gen_ai.request.stream"] is True
        assert model.ended - model.began > 0.02e9 * len(REPLY.split())
        assert whole.began <= model.began < model.ended <= whole.ended
        [stored] = whole.find("INSERT chat_citation")
        assert model.ended <= stored.began < whole.ended
        assert stored.parent == whole.id

        model_server.reply = lambda _: REPLY * 500
        with client.stream("POST", "/chat", json={"message": QUESTION, "stream": True}) as response:
            for piece in response.iter_text():
                if "event: token" in piece:
                    break
        [_, cut] = traces(traced, collector, "POST chat", 2)
        assert cut.attributes["footnote.cut"] is True
        assert not cut.failed
        [model] = cut.find("chat tester")
        assert model.ended <= cut.ended
        check_nothing_was_written(collector, client)


def test_what_fails_is_told_by_its_kind_alone(traced: Server, collector: Collector, model_server: ModelServer) -> None:
    model_server.fail_with = 500
    model_server.retry_after = "0"
    with Client(traced) as client:
        assert client.post("/chat", json={"message": QUESTION}).status_code == 503
        [failed] = traces(traced, collector, "POST chat")
        check_nothing_was_written(collector, client, "as the test wants")
    assert failed.failed
    assert failed.attributes["error.type"] == "503"
    tries = failed.find("chat tester")
    assert len(tries) == 3
    assert all(one.failed and one.attributes["error.type"] == "openai.InternalServerError" for one in tries)
    for name in ("generate", "answer"):
        [span] = failed.find(name)
        assert span.attributes["error.type"] == "chains.errors.ModelUnavailable"


def test_syncs_and_jobs_have_traces_of_their_own(traced: Server, collector: Collector) -> None:
    synced = traces(traced, collector, "sync")[0]
    assert synced.attributes["footnote.trigger"] == "start"
    assert synced.attributes["footnote.state"] == "done"
    assert [name if isinstance(name, str) else name[0] for name in outline(synced)] == ["compare", "apply"]
    assert len(synced.find("read")) == len(synced.find("write")) == 1

    done = traced.manage("run_job", "expired")
    assert done.returncode == 0, done.stderr
    [command] = traces(traced, collector, "manage.py run_job")
    [job] = command.find("job expired")
    assert job.attributes["footnote.state"] == "done"
    [child] = [span for span in job.children if "db.system.name" not in span.attributes]
    assert child.name == "tasks.jobs.expired.run", "in a process of its own"
    assert any(span.name.startswith("SELECT") for span in child.children)


def test_a_collector_that_is_away_costs_nobody_anything(
    make_server: Callable[..., Server], model_server: ModelServer, collector: Collector
) -> None:
    collector.status = 503
    with serving(make(make_server, model_server, collector.url)) as server, Client(server) as client:

        def told(words: str) -> list[dict[str, Any]]:
            return [line for line in log_lines(server) if words in line["message"]]

        assert client.ask(QUESTION)["outcome"] == "grounded"
        server.wait_until(lambda: bool(told("traces cannot be sent")), "a line in the log")
        assert client.ask(QUESTION)["outcome"] == "grounded"
        collector.status = 200
        server.wait_until(lambda: bool(told("traces are sent again")), "another one")
        client.get("/me")
        traces(server, collector, "GET me")
        assert server.interrupt() == 0
        assert len(told("traces cannot be sent")) == 1
        assert not [line for line in log_lines(server) if line["logger"].startswith("opentelemetry")]


def test_the_last_spans_are_sent_at_the_end_and_a_dead_address_does_not_hold_it_up(
    make_server: Callable[..., Server], model_server: ModelServer, collector: Collector
) -> None:
    unhurried = make(make_server, model_server, collector.url)
    unhurried.environment["OTEL_BSP_SCHEDULE_DELAY"] = "600000"
    with serving(unhurried), Client(unhurried) as client:
        client.ask(QUESTION)
        assert not collector.traces("POST chat")
        assert unhurried.interrupt() == 0
    assert len(collector.traces("POST chat")) == 1

    with serving(make(make_server, model_server, "http://127.0.0.1:9")) as server, Client(server) as client:
        assert client.ask(QUESTION)["outcome"] == "grounded"
        assert server.interrupt() == 0


@pytest.mark.parametrize("endpoint", ["", "http://127.0.0.1:9"])
def test_nothing_is_loaded_where_it_is_not_set(endpoint: str, tmp_path: Path) -> None:
    """LangChain's langsmith imports parts of the SDK wherever it is installed; none of ours does."""
    asked = """
import sys, backend.settings, backend.api.tracing, vectorstore.spelling
from vectorstore import spans
print(any(name.startswith("opentelemetry") for name in sys.modules))
import django; django.setup()
import backend.urls, tasks.server, tasks.runtime, tasks.child
print("opentelemetry.exporter" in sys.modules, "opentelemetry.sdk.trace.export" in sys.modules)
backend.api.tracing.start()
print("opentelemetry.exporter" in sys.modules, spans.begin("a", {}, "server") is not None)
"""
    values = as_unset() | {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "DATA_DIR": str(tmp_path)}
    values["DJANGO_SETTINGS_MODULE"] = "backend.settings"
    done = subprocess.run(
        [sys.executable, "-c", asked],
        cwd=BASE_DIR, env=child_environment(**values), capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    there = bool(endpoint)
    assert done.stdout.splitlines() == ["False", "False False", f"{there} {there}"]
