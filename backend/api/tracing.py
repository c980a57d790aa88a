"""Traces to the OpenTelemetry collector of OTEL_EXPORTER_OTLP_ENDPOINT; the SDK reads its other variables itself.

The provider is this product's own and not OpenTelemetry's global one: libraries that look for that (LangSmith, redis,
Chroma) would add spans of theirs, with what people wrote in them.
"""

from __future__ import annotations

import logging
import re
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from django.conf import settings
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from vectorstore import spans

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 1.0  # that the end of the process waits for the last spans to be sent
LONGEST_STATEMENT = 2_000  # characters
READ = 4 * LONGEST_STATEMENT  # of a statement that may have thousands of placeholders

_LITERAL = re.compile(r"'(?:[^']|'')*(?:'|$)")
_SAME = re.compile(r"%s(?:, ?%s)+")
_VERB = re.compile(r"\w+")
_TABLE = re.compile(r'(?:\bFROM|\bINTO|^UPDATE)\s+"?(\w+)')

_provider: TracerProvider | None = None


def start() -> None:
    """Record and send in this process, which forks no more. Without the setting nothing is loaded."""
    global _provider
    if not settings.ENV.otel_exporter_otlp_endpoint or _provider is not None:
        return
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    from vectorstore.spans.recorder import Recorder

    version = str(settings.SPECTACULAR_SETTINGS["VERSION"])
    resource = Resource.create(
        {
            "service.name": str(settings.ENV.otel_service_name),
            "service.version": version,
            "service.instance.id": str(uuid.uuid4()),
        }
    )
    _provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    exporter = cast("SpanExporter", Telling(_make_exporter()))
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # it has a line for every try; Telling has one
    _provider.add_span_processor(BatchSpanProcessor(exporter))
    spans.use(Recorder(_provider.get_tracer("footnote", version)))
    connection_created.connect(_watch)
    for database in connections.all(initialized_only=True):
        _watch(database)


def stop(seconds: float = FLUSH_SECONDS) -> None:
    """Record no more, and wait at most so long for what was recorded to be sent."""
    global _provider
    provider, _provider = _provider, None
    if provider is None:
        return
    spans.use(None)
    connection_created.disconnect(_watch)
    # The SDK's own end waits as long as the exporter tries.
    ending = threading.Thread(target=provider.shutdown, name="last-spans", daemon=True)
    ending.start()
    ending.join(seconds)


@contextmanager
def running(name: str, traceparent: str = "") -> Iterator[None]:
    """For a program that does one thing and ends: that thing is a span, of the trace that the traceparent names."""
    start()
    traced = spans.begin(name, {}, "internal", traceparent)
    try:
        yield
    finally:
        if traced is not None:
            traced.end(name, {})
        stop()


class Telling:
    """An exporter with one line in the log when it fails for the first time, and one when it works again."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._fails = False

    def export(self, batch: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(batch)
        fails = result.name != "SUCCESS"
        if fails and not self._fails:
            logger.warning("traces cannot be sent to OTEL_EXPORTER_OTLP_ENDPOINT; they are dropped until it takes them")
        elif self._fails and not fails:
            logger.info("traces are sent again")
        self._fails = fails
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def _make_exporter() -> SpanExporter:
    if settings.ENV.otel_exporter_otlp_protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as OverGRPC

        return OverGRPC()
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as OverHTTP

    return OverHTTP()


def _watch(connection: BaseDatabaseWrapper, **_: Any) -> None:
    """Of this connection every query is a span."""
    if _query not in connection.execute_wrappers:
        connection.execute_wrappers.insert(0, _query)  # whoever appends one takes the last away again


def _query(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
    statement, summary = describe(sql[:READ]) if isinstance(sql, str) else ("", "")
    told = {"db.system.name": context["connection"].vendor, "db.query.text": statement, "db.query.summary": summary}
    with spans.span(summary or "query", told, "client", many=True):
        return execute(sql, params, many, context)


@lru_cache(maxsize=1_000)
def describe(sql: str) -> tuple[str, str]:
    """A statement without values, and what it does to which table: `SELECT chat_message`. Texts that stand in it, whole
    or cut off, are `?`; of placeholders in a row the first is left.
    """
    statement = _SAME.sub("%s, ...", _LITERAL.sub("?", sql)).strip()
    words = [found[found.lastindex or 0] for found in (_VERB.search(statement), _TABLE.search(statement)) if found]
    return statement[:LONGEST_STATEMENT], " ".join(words)
