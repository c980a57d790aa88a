"""Asks chat models so that nothing hangs, and so that one failure is not the end.

A reply is read in a thread of its own: the one who waits for it has a sign of life to pass on (`Waiting`) when nothing
comes, gives up when the model is silent for too long or the whole takes too long, and ends the call when it goes away.

What fails before a word was written is asked again: a refused connection, a 429, a 5xx, a broken or senseless reply at
most RETRIES times, with growing pauses or the pause that the server asks for; a prompt that is too long with half as
much; then the next model is asked. A model that failed is passed over for a while if there is another.
"""

from __future__ import annotations

import _thread
import queue
import random
import re
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chains.context import TOKENS_PER_MESSAGE, count_tokens
from chains.errors import ModelUnavailable
from chains.model import Draft, Waiting
from chains.wire import BrokenReply, Ended, HangUp, read_reply
from vectorstore import spans

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import BaseMessage

RETRIES = 2  # of the same model
PAUSE = 0.5  # seconds before the first retry; twice as long before the next
LONGEST_PAUSE = (
    10.0  # seconds that a server may ask us to wait; beyond it the question is given up, with its Retry-After
)
PASSED_OVER = 30.0  # seconds for which a model that failed is not asked when there is another
SHARES = (1, 2, 4, 8)  # of the budget, where a model has a shorter context than it
KNOWN_REASONS = ("stop", "length", "content_filter", "tool_calls")  # a server may say anything
FIRST_SIGN, SIGN = 1.0, 5.0  # seconds without a word until the first and each further sign of life

_TOO_LONG = re.compile(
    r"context[ _]length|context[ _]window|context size|maximum context|prompt is too long|too many tokens|"
    r"input tokens exceed|reduce the length",
    re.IGNORECASE,
)
_RETRIED = frozenset((408, 409, 425, 429))
_failed_at: dict[str, float] = {}  # when a model last failed, by its name


@dataclass(frozen=True)
class ChatModel:
    """A LangChain chat model with the name it was configured by; `llm` is None for the extractive answerer."""

    name: str
    llm: BaseChatModel | None


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds: `silence` until the next word, or until a reply that is asked for whole; `total` for an answer with all
    that is asked for it, retries included.
    """

    silence: float = 60.0
    total: float = 300.0

    def deadline(self) -> float:
        """Of an answer that is begun now, by the monotonic clock."""
        return time.monotonic() + self.total


Prompts = Callable[[int], "Sequence[BaseMessage] | None"]  # messages within 1/n of the budget; None: nothing is left


def ask(
    models: Sequence[ChatModel], prompts: Prompts, draft: Draft, patience: Patience, deadline: float, *, whole: bool
) -> Iterator[str | Waiting]:
    """The text of the first model that answers, in pieces; its name, tokens and finish reason go into the draft.

    ModelUnavailable when none does, or when one breaks off after its first word.
    """
    error = ModelUnavailable("There is no chat model.")
    for model in _in_turn(models):
        attempt = _Attempt(model, prompts, draft, patience, deadline, whole)
        try:
            yield from attempt.run()
        except ModelUnavailable as failure:
            if attempt.said or time.monotonic() >= deadline:
                raise
            error = failure
        else:
            return
    raise error


def _in_turn(models: Sequence[ChatModel]) -> list[ChatModel]:
    """Without those that failed a moment ago, unless all did."""
    now = time.monotonic()
    well = [model for model in models if now - _failed_at.get(model.name, -PASSED_OVER) >= PASSED_OVER]
    return well or list(models)


class _Attempt:
    """One model, asked until it answers or need not be asked again. `said`: whether it wrote something."""

    def __init__(
        self, model: ChatModel, prompts: Prompts, draft: Draft, patience: Patience, deadline: float, whole: bool
    ) -> None:
        self.model = model
        self.prompts = prompts
        self.draft = draft
        self.patience = patience
        self.deadline = deadline
        self.whole = whole
        self.said = False

    def run(self) -> Iterator[str | Waiting]:
        assert self.model.llm is not None  # noqa: S101 (for the type checker)
        shares = iter(SHARES)
        messages = self.prompts(next(shares))
        tried = 0
        while True:
            if messages is None:
                raise self._given_up("The chat model's context is too short for this question.")
            try:
                yield from self._once(self.model.llm, messages)
            except ModelUnavailable:
                _failed_at[self.model.name] = time.monotonic()
                raise
            except Exception as error:
                if self.said:
                    raise self._given_up("The chat model broke off in the middle of its answer.") from error
                if _is_too_long(error):
                    messages = self.prompts(share) if (share := next(shares, None)) else None
                    continue
                tried += 1
                pause = _pause(error, tried)
                if pause is None or tried > RETRIES or time.monotonic() + pause >= self.deadline:
                    raise self._given_up(f"The chat model did not answer ({_name(error)}).", error) from error
                yield from _sleep(pause)
            else:
                _failed_at.pop(self.model.name, None)
                return

    def _once(self, llm: BaseChatModel, messages: Sequence[BaseMessage]) -> Iterator[str | Waiting]:
        told = spans.of_model("chat", self.model.name) | {"gen_ai.request.stream": not self.whole}
        return spans.steps(f"chat {told['gen_ai.request.model']}", self._reply(llm, messages), told, "client")

    def _reply(self, llm: BaseChatModel, messages: Sequence[BaseMessage]) -> Generator[str | Waiting, None, None]:
        self.draft.model = self.model.name
        text = ""
        ended = None
        try:
            for piece in _read(llm, messages, self.patience, self.deadline, whole=self.whole):
                if isinstance(piece, Ended):
                    ended = piece
                    continue
                if isinstance(piece, str):
                    self.said = True
                    text += piece
                yield piece
        finally:
            self._count(messages, text, ended)

    def _count(self, messages: Sequence[BaseMessage], text: str, ended: Ended | None) -> None:
        """Tokens as told; estimated where the server does not tell, or was hung up on before it did."""
        if ended is None and not text:
            return
        asked = ended.input_tokens if ended else None
        said = ended.output_tokens if ended else None
        if asked is None:
            asked = sum(count_tokens(message.text) + TOKENS_PER_MESSAGE for message in messages)
        said = count_tokens(text) if said is None else said
        self.draft.usage["input_tokens"] += asked
        self.draft.usage["output_tokens"] += said
        self.draft.finish_reason = ended.finish_reason if ended else ""
        spans.note({"gen_ai.usage.input_tokens": asked, "gen_ai.usage.output_tokens": said})
        if ended:
            reason = ended.finish_reason if ended.finish_reason in KNOWN_REASONS else "other"
            spans.note({"gen_ai.response.finish_reasons": [reason]})

    def _given_up(self, message: str, error: Exception | None = None) -> ModelUnavailable:
        _failed_at[self.model.name] = time.monotonic()
        asked = _told_pause(error) if error is not None else None
        return ModelUnavailable(message, 5.0 if asked is None else asked)


def _read(
    llm: BaseChatModel, messages: Sequence[BaseMessage], patience: Patience, deadline: float, *, whole: bool
) -> Iterator[str | Waiting | Ended]:
    """What a thread reads. ModelUnavailable when it takes too long; closing this ends the call."""
    arrived: queue.SimpleQueue[str | Ended | Exception | None] = queue.SimpleQueue()
    hang_up = HangUp()

    def read() -> None:
        try:
            for piece in read_reply(llm, messages, whole=whole, hang_up=hang_up):
                arrived.put(piece)
                if hang_up.asked:
                    return
            arrived.put(None)
        except Exception as error:  # noqa: BLE001 (it is raised again by the one who waits)
            arrived.put(error)

    _thread.start_new_thread(read, ())  # threading.Thread waits until it runs, and is known to the end of the process
    heard = time.monotonic()
    sign = FIRST_SIGN
    try:
        while True:
            left = min(heard + patience.silence, deadline) - time.monotonic()
            if left <= 0:
                raise ModelUnavailable("The chat model took too long.") from TimeoutError()
            try:
                piece = arrived.get(timeout=min(left, sign))
            except queue.Empty:
                sign = SIGN
                yield Waiting()
                continue
            if piece is None:
                return
            if isinstance(piece, Exception):
                raise piece
            heard = time.monotonic()
            if piece != "":
                yield piece
    finally:
        hang_up()


def _sleep(seconds: float) -> Iterator[Waiting]:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        yield Waiting()
        time.sleep(min(left, SIGN))


def _pause(error: Exception, tried: int) -> float | None:
    """Seconds until it is asked again; None: that would change nothing, or take too long."""
    status = getattr(error, "status_code", None)
    if _is_timeout(error) or (status is not None and status < 500 and status not in _RETRIED):
        return None
    told = _told_pause(error)
    if told is not None:
        return told if told <= LONGEST_PAUSE else None
    return PAUSE * 2.0 ** (tried - 1) * random.uniform(0.8, 1.2)  # noqa: S311 (so that many do not come back at once)


def _told_pause(error: Exception) -> float | None:
    """The Retry-After of a refusal, in seconds."""
    headers: Any = getattr(getattr(error, "response", None), "headers", None) or {}
    try:
        told = float(headers.get("retry-after", ""))
        return max(told, 0.0)
    except ValueError:
        return None


def _is_timeout(error: Exception) -> bool:
    return "timeout" in type(error).__name__.lower()


def _is_too_long(error: Exception) -> bool:
    from langchain_core.exceptions import ContextOverflowError

    if isinstance(error, BrokenReply):
        return bool(_TOO_LONG.search(error.told))
    refused = getattr(error, "status_code", None) in (400, 413, 422)
    return isinstance(error, ContextOverflowError) or (refused and bool(_TOO_LONG.search(str(error))))


def _name(error: Exception) -> str:
    """What went wrong, without the provider's text, which may hold what it was sent."""
    status = getattr(error, "status_code", None)
    if isinstance(error, BrokenReply):
        return str(error)
    return f"status {status}" if status else type(error).__name__
