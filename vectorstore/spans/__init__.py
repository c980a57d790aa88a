"""What a request, an answer or a job is made of, as spans of a trace. Every call does next to nothing until
backend.api.tracing gives a recorder.

A span's name and attributes are names, numbers and ids that this program gave: never what anybody wrote, and of an
exception its type alone (docs/adr/0016).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from vectorstore.spans.recorder import Attributes, Kind, Recorder, Root

P = ParamSpec("P")
R = TypeVar("R")
Y = TypeVar("Y")

_NOTHING = nullcontext()
_recorder: Recorder | None = None


def use(recorder: Recorder | None) -> None:
    """Record with it from now on; None: no more."""
    global _recorder
    _recorder = recorder


def span(
    name: str, attributes: Attributes | None = None, kind: Kind = "internal", *, many: bool = False
) -> AbstractContextManager[None]:
    """A block that does not yield to others is a span. many: one of perhaps thousands, which is recorded only within a
    trace, and of each trace only the first (recorder.py).
    """
    return _NOTHING if _recorder is None else _recorder.block(name, attributes, kind, many)


def steps(
    name: str, work: Generator[Y, None, R], attributes: Attributes | None = None, kind: Kind = "internal"
) -> Generator[Y, None, R]:
    """The generator as a span from its first step to its last. What its reader does between two steps is not in it."""
    return work if _recorder is None else _recorder.steps(name, work, attributes, kind)


def traced(name: str, *, many: bool = False) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Each call of the function is a span."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            with span(name, many=many):
                return function(*args, **kwargs)

        return call

    return decorate


def begin(name: str, attributes: Attributes, kind: Kind, traceparent: str = "") -> Root | None:
    """The span that this thread works in until `end` is called on it: of the trace that a W3C traceparent names, else
    of a new one. None where nothing is recorded.
    """
    return None if _recorder is None else _recorder.begin(name, attributes, kind, traceparent)


def note(attributes: Attributes) -> None:
    """Tell more of the innermost span."""
    if _recorder is not None:
        _recorder.note(attributes)


def fail(kind: str) -> None:
    """Tell that the innermost span failed although nothing was raised, and by which name failures of its kind go."""
    if _recorder is not None:
        _recorder.fail(kind)


def carried(function: Callable[[], R]) -> Callable[[], R]:
    """The function, for another thread: what it does there belongs to the span that is the innermost here."""
    return function if _recorder is None else _recorder.carried(function)


def trace_id() -> str:
    """Of the trace that this thread works in, 32 hexadecimal digits; empty outside of one."""
    return "" if _recorder is None else _recorder.trace_id()


def traceparent() -> str:
    """By which another process goes on with this trace; empty outside of one."""
    return "" if _recorder is None else _recorder.traceparent()


def of_model(operation: str, name: str) -> dict[str, str | bool]:
    """The GenAI conventions' attributes of a call of the model `provider:model`, or of one that is part of the
    product.
    """
    provider, model = name.split(":", 1) if ":" in name else ("footnote", name)
    return {"gen_ai.operation.name": operation, "gen_ai.provider.name": provider, "gen_ai.request.model": model}
