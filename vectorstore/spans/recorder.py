"""The spans of this package, made with OpenTelemetry's API."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal, TypeVar

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

Attributes = Mapping[str, str | bool | int | float | Sequence[str]]
Kind = Literal["internal", "client", "server"]
R = TypeVar("R")
Y = TypeVar("Y")

MANY = 200  # spans of `many` that one trace of this process may have
KINDS = {"internal": SpanKind.INTERNAL, "client": SpanKind.CLIENT, "server": SpanKind.SERVER}

_COUNT = contexts.create_key("footnote-many")
_w3c = TraceContextTextMapPropagator()


class _Count:
    """On the outermost span of this process: how many of `many` were recorded below it, and how many were not."""

    def __init__(self) -> None:
        self.taken = self.left_out = 0


class Root:
    """The outermost span of a thread. It may be ended by another thread."""

    def __init__(self, span: Span, inside: Context) -> None:
        self._span = span
        self._inside = inside
        contexts.attach(inside)

    def resume(self) -> None:
        """Work in it here too."""
        contexts.attach(self._inside)

    def end(self, name: str, attributes: Attributes, failed: str = "") -> None:
        """failed: by which name the failure goes, if it was one that has no name yet."""
        self._span.update_name(name)
        self._span.set_attributes(attributes)
        if failed and "error.type" not in (getattr(self._span, "attributes", None) or {}):
            _fail(self._span, failed)
        _end(self._span, self._inside)
        contexts.attach(Context())


class Recorder:
    """Safe to use from many threads."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def begin(self, name: str, attributes: Attributes, kind: Kind, traceparent: str) -> Root:
        given = {"traceparent": traceparent} if traceparent else {}
        return Root(*self._start(name, attributes, kind, _w3c.extract(given, Context())))

    def block(self, name: str, attributes: Attributes | None, kind: Kind, many: bool) -> AbstractContextManager[None]:
        if many and not _may_be_recorded():
            return nullcontext()
        return self._block(name, attributes, kind)

    @contextmanager
    def _block(self, name: str, attributes: Attributes | None, kind: Kind) -> Iterator[None]:
        span, inside = self._start(name, attributes, kind, contexts.get_current())
        token = contexts.attach(inside)
        try:
            yield
        except Exception as error:
            _fail(span, _name(error))
            raise
        finally:
            contexts.detach(token)
            _end(span, inside)

    def steps(
        self, name: str, work: Generator[Y, None, R], attributes: Attributes | None, kind: Kind
    ) -> Generator[Y, None, R]:
        span, inside = self._start(name, attributes, kind, contexts.get_current())
        try:
            while True:
                token = contexts.attach(inside)
                try:
                    step = next(work)
                except StopIteration as end:
                    result: R = end.value
                    return result
                finally:
                    contexts.detach(token)
                yield step
        except Exception as error:
            _fail(span, _name(error))
            raise
        finally:
            token = contexts.attach(inside)
            try:
                work.close()  # a reader that goes away ends it in the middle
            finally:
                contexts.detach(token)
                _end(span, inside)

    def note(self, attributes: Attributes) -> None:
        trace.get_current_span().set_attributes(attributes)

    def fail(self, kind: str) -> None:
        _fail(trace.get_current_span(), kind)

    def carried(self, function: Callable[[], R]) -> Callable[[], R]:
        here = contexts.get_current()

        def call() -> R:
            token = contexts.attach(here)
            try:
                return function()
            finally:
                contexts.detach(token)

        return call

    def trace_id(self) -> str:
        here = trace.get_current_span().get_span_context()
        return trace.format_trace_id(here.trace_id) if here.is_valid else ""

    def traceparent(self) -> str:
        carrier: dict[str, str] = {}
        _w3c.inject(carrier)
        return carrier.get("traceparent", "")

    def _start(self, name: str, attributes: Attributes | None, kind: Kind, outside: Context) -> tuple[Span, Context]:
        above = trace.get_current_span(outside).get_span_context()
        if not above.is_valid or above.is_remote:
            outside = contexts.set_value(_COUNT, _Count(), outside)
        # What an exception says may quote what somebody wrote, so nothing of it is recorded by itself.
        span = self._tracer.start_span(
            name, outside, KINDS[kind], attributes, record_exception=False, set_status_on_exception=False
        )
        return span, trace.set_span_in_context(span, outside)


def _may_be_recorded() -> bool:
    count = contexts.get_value(_COUNT)
    if not isinstance(count, _Count) or not trace.get_current_span().is_recording():
        return False
    if count.taken >= MANY:
        count.left_out += 1
        return False
    count.taken += 1
    return True


def _end(span: Span, inside: Context) -> None:
    count = contexts.get_value(_COUNT, inside)
    parent = getattr(span, "parent", None)  # the API's spans do not tell, nor do they record
    if isinstance(count, _Count) and count.left_out and (parent is None or parent.is_remote):
        span.set_attribute("footnote.spans_left_out", count.left_out)
    span.end()


def _fail(span: Span, kind: str) -> None:
    span.set_attribute("error.type", kind)
    span.set_status(StatusCode.ERROR)


def _name(error: Exception) -> str:
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
