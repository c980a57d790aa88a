"""One question and its answer: the turn is waited for, the question stored, the model asked, the answer stored.

The question is stored before the model is asked, so nothing is lost when that fails or the process is killed. No
transaction is open and, on PostgreSQL, no connection is held while the model writes.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db import IntegrityError, connection, transaction
from django.db.models import Case, F, QuerySet, Value, When
from django.http import Http404
from django.utils import timezone
from rest_framework.exceptions import NotFound
from uuid_utils.compat import uuid7

from backend.accounts.models import User
from backend.api.errors import Conflict, Unavailable
from backend.api.requests import note_conversation
from backend.chat import metrics, usage
from backend.chat.memory import ConversationHistory
from backend.chat.models import Citation, Conversation, IdempotencyKey, Message, Role
from backend.chat.turns import RENEWED_AFTER, Line, Seat, end_turn, lease_end, nobody_speaks, renew
from backend.knowledge.models import SourceVersion
from chains.errors import ModelUnavailable
from chains.model import Answer, AnswerEvent, Cited, Done, Draft, Question, Retrieved, Token, Waiting
from vectorstore import spans
from vectorstore.errors import IndexUnavailable

if TYPE_CHECKING:
    from langchain_core.documents import Document

    from chains.answer import AnswerChain

TITLE_LENGTH = 80
SNIPPET_LENGTH = 300
POLL = 0.1  # seconds between looks at a turn that another process has
MANY = 64  # answers at once, beyond which connections to SQLite are not kept while nothing is asked
SIGN = 5.0  # seconds between signs of life while waiting for a turn


@dataclass(frozen=True, slots=True)
class Asked:
    """What a client asks for. conversation: None for a new one. key: its Idempotency-Key.

    question: one that is stored already and is to be answered (again). rewind: a message that the new question takes
    the place of, with all that follows it. options: prompt and filter, kept for asking again.
    """

    user: User
    text: str
    conversation: Conversation | None
    options: dict[str, Any]
    key: str = ""
    question: Message | None = None
    rewind: Message | None = None

    @property
    def fingerprint(self) -> str:
        """sha256 of what was asked: the same key with another one is a mistake."""
        where = str(self.conversation.pk) if self.conversation else None
        said = json.dumps([self.text, where, self.options], sort_keys=True, default=str)
        return hashlib.sha256(said.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Replayed:
    """An answer that is stored already: asked for again by its key or its id."""

    answer: Message


ExchangeEvent = AnswerEvent | Replayed
ReadyChain = Callable[[], "tuple[AnswerChain, tuple[str, ...] | None]"]


class Exchange:
    """`events()` may be read once; closing it early keeps what was written, marked cut."""

    def __init__(self, asked: Asked, ready: ReadyChain) -> None:
        self.asked = asked
        self.ready = ready
        self.message_id: UUID = uuid7()  # of the answer
        self.question: Message | None = asked.question
        self.conversation: Conversation | None = asked.conversation
        self.answer: Message | None = None
        self.again = False  # whether the question was asked before

    def run(self) -> Message:
        """The stored answer. Nobody reads along, so a model is asked for it at once."""
        for _ in self.events(whole=True):
            pass
        assert self.answer is not None  # noqa: S101 (a stream ends with Done or Replayed)
        return self.answer

    def events(self, *, whole: bool = False) -> Iterator[ExchangeEvent]:
        """The chain's events; the answer is stored before Done is passed on. Unavailable (503) keeps the question."""
        with Seat(self.asked.user):
            kept = self._kept()
            if kept is not None:
                yield from self._follow(kept, whole=whole)
            elif self.conversation is None:
                yield from self._speak(whole=whole)
            else:
                yield from self._speak_in_turn(self.conversation, whole=whole)

    def _kept(self) -> Message | None:
        """The question that was stored when this request was made before. Conflict when the key was another's."""
        if not self.asked.key:
            return None
        kept = IdempotencyKey.objects.select_related("question__conversation")
        row = kept.filter(user=self.asked.user, key=self.asked.key).first()
        if row is None:
            return None
        if row.fingerprint != self.asked.fingerprint:
            raise Conflict("This Idempotency-Key was used for another request.", "idempotency_key_reused")
        return row.question

    def _follow(self, question: Message, *, whole: bool) -> Iterator[ExchangeEvent]:
        """The answer that is there or being written; where none came of it, the question is answered now."""
        self.question, self.conversation = question, question.conversation
        answer = yield from await_answer(question)
        if answer is not None and not answer.cut:
            self.answer, self.message_id = answer, answer.pk
            yield Replayed(answer)
            return
        yield from self._speak_in_turn(question.conversation, whole=whole)

    def _speak_in_turn(self, conversation: Conversation, *, whole: bool) -> Iterator[ExchangeEvent]:
        with Line(conversation.pk) as line:
            while not line.wait(SIGN):
                yield Waiting()
            yield from self._speak(whole=whole)

    def _speak(self, *, whole: bool) -> Iterator[ExchangeEvent]:
        began = time.monotonic()
        try:
            while not self._take_turn():  # another process has it
                if time.monotonic() - began > SIGN:
                    began = time.monotonic()
                    yield Waiting()
                time.sleep(POLL)
        except _AskedBefore:
            kept = self._kept()
            if kept is None:
                raise Http404 from None
            yield from self._follow(kept, whole=whole)
            return
        assert self.conversation is not None  # noqa: S101 (the turn is one in it)
        note_conversation(self.conversation.pk)
        try:
            yield from self._answer(whole=whole)
        finally:
            if self.answer is None:
                end_turn(self.conversation.pk, self.message_id)

    def _take_turn(self) -> bool:
        """Take the turn and store the question, in one transaction. NotFound when the conversation is gone."""
        question_id, self.message_id = uuid7(), uuid7()  # messages are ordered by them, so not before it is their turn
        try:
            with transaction.atomic():
                if self.conversation is None:
                    self.conversation = Conversation.objects.create(
                        user=self.asked.user,
                        title=make_title(self.asked.text),
                        updated_at=timezone.now(),
                        answering=self.message_id,
                        answering_until=lease_end(),
                    )
                elif not self._take_lease(self.conversation):
                    return False
                self._store_question(self.conversation, question_id)
        except IntegrityError:
            if self.asked.conversation is None and self.asked.question is None:
                self.conversation = None
            if self.asked.key and self._kept() is not None:
                raise _AskedBefore from None
            if self.conversation is not None and not _is_there(self.conversation):
                raise _erased() from None
            raise
        return True

    def _take_lease(self, conversation: Conversation) -> bool:
        mine = Conversation.objects.filter(pk=conversation.pk)
        title = Case(When(title="", then=Value(make_title(self.asked.text))), default=F("title"))
        free = mine.filter(nobody_speaks())
        if free.update(answering=self.message_id, answering_until=lease_end(), title=title):
            return True
        if not mine.exists():
            raise _erased()
        return False

    def _store_question(self, conversation: Conversation, question_id: UUID) -> None:
        if self.question is not None:
            self.again = True
            Message.objects.filter(pk=self.question.pk).update(answer_id=self.message_id)
            self.question.answer_id = self.message_id
            return
        if self.asked.rewind is not None:
            take_back(conversation.messages.filter(id__gte=self.asked.rewind.pk))
        question = Message.objects.create(
            id=question_id,
            conversation=conversation,
            role=Role.USER,
            content=self.asked.text,
            answer_id=self.message_id,
            options=self.asked.options,
        )
        if self.asked.key:
            IdempotencyKey.objects.create(
                user=self.asked.user, key=self.asked.key, fingerprint=self.asked.fingerprint, question=question
            )
        self.question = question

    def _answer(self, *, whole: bool) -> Iterator[AnswerEvent]:
        question, conversation = self.question, self.conversation
        assert question is not None and conversation is not None  # noqa: S101, PT018 (stored with the turn)
        try:
            chain, source_ids = self.ready()
            began_here = self.asked.conversation is None and not self.again
            history = [] if began_here else ConversationHistory(conversation, before=question).messages
            yield from self._ask(chain, Question(question.content, history, source_ids), whole=whole)
        except ModelUnavailable as error:
            raise self._failed(error, "model_unavailable", error.retry_after) from error
        except IndexUnavailable as error:
            raise self._failed(error, "index_unavailable") from error
        except Unavailable as error:  # what the chain is made of cannot be loaded
            code = getattr(error.detail, "code", error.default_code)
            raise self._failed(error.detail, str(code), error.wait) from error

    def _ask(self, chain: AnswerChain, question: Question, *, whole: bool) -> Iterator[AnswerEvent]:
        assert self.conversation is not None  # noqa: S101 (see _answer)
        draft = Draft()
        partial = _Partial()
        lend_connection()
        began = renewed = time.monotonic()
        events = chain.events(question, whole=whole, draft=draft)
        try:
            for event in events:
                if isinstance(event, Done):
                    self.answer = self._store(event.answer)
                elif time.monotonic() - renewed > RENEWED_AFTER:
                    renewed = time.monotonic()
                    renew(self.conversation.pk, self.message_id)
                    lend_connection()
                if isinstance(event, Token) and not whole and not partial.text:
                    metrics.FIRST_TOKEN.observe(time.monotonic() - began)
                partial.note(event)
                yield event
        except GeneratorExit:
            events.close()  # ends the model call, and counts what it cost
            spans.note({"footnote.cut": True})
            if self.answer is None and partial.text:
                self.answer = self._store(partial.as_answer(chain, draft), cut=True)
            raise

    def _failed(self, reason: object, code: str, wait: float = 5.0) -> Unavailable:
        """Tells by which ids the question can be asked again."""
        assert self.conversation is not None  # noqa: S101 (see _answer)
        usage.record(self.asked.user, "", None)
        metrics.FAILED.labels(code).inc()
        ids = {"X-Conversation-Id": str(self.conversation.pk), "X-Message-Id": str(self.message_id)}
        return Unavailable(f"{reason} Your question is kept.", code, wait, ids)

    def _store(self, answer: Answer, *, cut: bool = False) -> Message:
        assert self.conversation is not None and self.question is not None  # noqa: S101, PT018
        cost = usage.cost_of(answer.model, answer.usage["input_tokens"], answer.usage["output_tokens"])
        now = timezone.now()
        with transaction.atomic():
            mine = Conversation.objects.filter(pk=self.conversation.pk)
            if not mine.update(updated_at=now, answering=None, answering_until=None):
                raise _erased()
            if self.again:
                take_back(self.conversation.messages.filter(id__gt=self.question.pk))
            message = Message.objects.create(
                id=self.message_id,
                conversation=self.conversation,
                role=Role.ASSISTANT,
                content=answer.text,
                created_at=now,
                outcome=answer.outcome,
                confidence=answer.confidence,
                cut=cut,
                finish_reason="" if cut else answer.finish_reason,
                model=answer.model,
                prompt=answer.prompt,
                retrieved=[describe_passage(passage) for passage in answer.passages],
                latency_ms=answer.latency_ms,
                grounding={} if cut else {name: getattr(answer, name) for name in ("claims", "supported", "dropped")},
                usage={**answer.usage, "cost": cost},
            )
            message.new_citations = self._store_citations(message, answer)  # type: ignore[attr-defined]
            usage.record(self.asked.user, answer.model, answer.outcome, answer.usage, cost)
        metrics.note_answer(answer, cost, cut=cut)
        return message

    def _store_citations(self, message: Message, answer: Answer) -> list[Citation]:
        if not answer.citations:
            return []
        versions = {citation.version_id for citation in answer.citations}
        kept = {str(pk) for pk in SourceVersion.objects.filter(pk__in=versions).values_list("pk", flat=True)}
        rows = [
            Citation(
                message=message,
                n=citation.n,
                version_id=citation.version_id if citation.version_id in kept else None,
                source=citation.source,
                source_version=citation.source_version,
                page=citation.page,
                heading=list(citation.heading),
                start=citation.start,
                end=citation.end,
                quote=citation.quote,
                score=citation.score,
            )
            for citation in answer.citations
        ]
        Citation.objects.bulk_create(rows)
        return rows


class Follower:
    """Waits for the answer to a question that was asked before, and never asks for it."""

    def __init__(self, question: Message) -> None:
        self.question = question
        self.message_id = question.answer_id
        self.answer: Message | None = None

    def look(self) -> Message | None:
        """The answer; None while it is being written. Conflict when there is none."""
        steps = await_answer(self.question, patience=0)
        try:
            next(steps)
        except StopIteration as end:
            if end.value is None:
                raise _unanswered() from None
            answer: Message = end.value
            return answer
        return None

    def events(self) -> Iterator[ExchangeEvent]:
        """Replayed, once the answer is there. Conflict when none comes."""
        answer = yield from await_answer(self.question)
        if answer is None:
            raise _unanswered()
        self.answer = answer
        yield Replayed(answer)


def _is_there(conversation: Conversation) -> bool:
    return Conversation.objects.filter(pk=conversation.pk).exists()


def _erased() -> NotFound:
    return NotFound("This conversation was erased meanwhile.")


def _unanswered() -> Conflict:
    return Conflict("This question was not answered. POST /messages/{id}/regenerate asks it again.", "unanswered")


class _AskedBefore(Exception):
    """Another request with the same Idempotency-Key was a moment quicker."""


def await_answer(question: Message, patience: float = SIGN) -> Generator[Waiting, None, Message | None]:
    """Returns the answer to a stored question once it is there; None when there is none and nobody writes it.
    patience: seconds between signs of life.
    """
    began = time.monotonic()
    while True:
        # In this order: between the two looks the answer may be stored, and its turn ended.
        speaking = Conversation.objects.filter(pk=question.conversation_id).exclude(nobody_speaks())
        written = speaking.filter(answering=question.answer_id).exists() if question.answer_id else False
        answer = Message.objects.filter(pk=question.answer_id).first() if question.answer_id else None
        if answer is not None or not written:
            return answer
        if time.monotonic() - began >= patience:
            began = time.monotonic()
            yield Waiting()
        lend_connection()
        time.sleep(POLL)


def take_back(messages: QuerySet[Message]) -> None:
    """Something else stands in the place of these from now on."""
    messages.filter(replaced_at=None).update(replaced_at=timezone.now())


def make_title(text: str) -> str:
    """The beginning of a conversation's first message."""
    line = " ".join(text.split())
    return line if len(line) <= TITLE_LENGTH else line[: TITLE_LENGTH - 1].rsplit(" ", 1)[0] + "…"


def describe_passage(passage: Document) -> dict[str, Any]:
    """A retrieved passage as it is shown and stored beside an answer."""
    place = passage.metadata
    snippet = " ".join(passage.page_content[: SNIPPET_LENGTH + 1].split())
    return {
        "source": place["source"],
        "page": place["page"],
        "heading": place["heading"],
        "snippet": snippet if len(passage.page_content) <= SNIPPET_LENGTH else f"{snippet[:SNIPPET_LENGTH]}…",
        "score": round(place["score"], 4),
        "chunk_id": place["chunk_id"],
    }


def lend_connection() -> None:
    """Give the connection back while the model writes, so that long answers do not use the pool up. One to SQLite is
    closed when there are many: each takes files and memory.
    """
    if not connection.in_atomic_block and (connection.vendor != "sqlite" or Seat.taken() > MANY):
        connection.close()


class _Partial:
    """What an answer had become when its reader hung up."""

    def __init__(self) -> None:
        self.text = ""
        self.citations: list[Any] = []
        self.passages: tuple[Document, ...] = ()

    def note(self, event: AnswerEvent) -> None:
        match event:
            case Token(text):
                self.text += text
            case Retrieved(passages):
                self.passages = passages
            case Cited(citation):
                self.citations.append(citation)

    def as_answer(self, chain: AnswerChain, draft: Draft) -> Answer:
        general = chain.no_match == "model" and not self.citations
        return Answer(
            text=self.text,
            outcome="ungrounded" if general else "partial",
            citations=tuple(self.citations),
            passages=self.passages,
            model=draft.model,
            prompt=chain.prompt.label,
            latency_ms={},
            usage=draft.usage,
        )
