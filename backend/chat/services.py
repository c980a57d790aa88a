"""Ask a question in a conversation. The question is stored before the model is asked: nothing is lost when it fails."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone
from uuid_utils.compat import uuid7

from backend.accounts.models import User
from backend.api.errors import Unavailable
from backend.chat import selectors
from backend.chat.memory import ConversationHistory
from backend.chat.models import Citation, Conversation, Feedback, Message, Role
from backend.knowledge.index import IndexBusy, get_index
from backend.knowledge.models import SourceVersion
from backend.knowledge.selectors import make_retriever, read_span
from chains.abstention import SHIPPED, BadCalibration, Calibration, load_calibration
from chains.answer import ChatModel, build_answer_chain
from chains.errors import ModelUnavailable, UnknownModel
from chains.model import Answer, AnswerEvent, Cited, Done, Question, Retrieved, Token
from chains.models import load_chat_model
from chains.prompts import load_prompt
from vectorstore.errors import IndexUnavailable

if TYPE_CHECKING:
    from langchain_core.documents import Document
    from langchain_core.messages import BaseMessage

    from chains.answer import AnswerChain

logger = logging.getLogger(__name__)

PASSAGES = 8  # retrieved for one question
TITLE_LENGTH = 80
SNIPPET_LENGTH = 300


class Exchange:
    """One question and its answer: `events()` may be read once; closing it early keeps what was written, marked cut."""

    def __init__(self, user_message: Message, chain: AnswerChain, source_ids: tuple[str, ...] | None) -> None:
        self.user_message = user_message
        self.conversation = user_message.conversation
        self.message_id: UUID = uuid7()
        self.chain = chain
        self.source_ids = source_ids
        self.answer: Message | None = None

    def events(self) -> Iterator[AnswerEvent]:
        """The chain's events; the answer is stored before Done is passed on. Unavailable (503) keeps the question."""
        history = ConversationHistory(self.conversation, before=self.user_message).messages
        question = Question(self.user_message.content, history, self.source_ids)
        _lend_connection()
        partial = _Partial()
        try:
            for event in self.chain.stream(question):
                if isinstance(event, Done):
                    self.answer = self._store(event.answer)
                partial.note(event)
                yield event
        except GeneratorExit:
            if self.answer is None and partial.text:
                self.answer = self._store(partial.as_answer(self.chain), cut=True)
            raise
        except ModelUnavailable as error:
            raise Unavailable(f"{error} Your question is kept.", "model_unavailable", error.retry_after) from error
        except IndexUnavailable as error:
            raise Unavailable(f"{error} Your question is kept.", "index_unavailable") from error

    def run(self) -> Message:
        """The stored answer."""
        for _ in self.events():
            pass
        assert self.answer is not None  # noqa: S101 (a stream ends with Done)
        return self.answer

    def _store(self, answer: Answer, *, cut: bool = False) -> Message:
        with transaction.atomic():
            message = Message.objects.create(
                id=self.message_id,
                conversation=self.conversation,
                role=Role.ASSISTANT,
                content=answer.text,
                outcome=answer.outcome,
                confidence=answer.confidence,
                cut=cut,
                model=answer.model,
                prompt=answer.prompt,
                retrieved=[describe_passage(passage) for passage in answer.passages],
                latency_ms=answer.latency_ms,
                grounding={} if cut else {name: getattr(answer, name) for name in ("claims", "supported", "dropped")},
                usage={**answer.usage, "cost": None if answer.usage["input_tokens"] else 0.0},
            )
            versions = {citation.version_id for citation in answer.citations}
            kept = {str(pk) for pk in SourceVersion.objects.filter(pk__in=versions).values_list("pk", flat=True)}
            Citation.objects.bulk_create(
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
            )
            Conversation.objects.filter(pk=self.conversation.pk).update(updated_at=timezone.now())
        return message


def begin(
    user: User,
    text: str,
    *,
    conversation_id: UUID | None = None,
    prompt: str | None = None,
    source_ids: tuple[str, ...] | None = None,
) -> Exchange:
    """Store the question and make its answer ready to be read.

    Http404 when the conversation does not exist or is not the user's; UnknownPrompt; Unavailable when the index or the
    model cannot be loaded.
    """
    chosen = load_prompt(prompt or settings.ENV.prompt)
    chain = _make_chain(chosen.name)
    with transaction.atomic():
        if conversation_id is None:
            conversation = start_conversation(user, text)
        else:
            conversation = selectors.get_conversation(user, conversation_id)
        message = Message.objects.create(conversation=conversation, role=Role.USER, content=text)
    return Exchange(message, chain, source_ids)


def start_conversation(user: User, text: str) -> Conversation:
    """A new conversation, titled by the beginning of its first message."""
    return Conversation.objects.create(user=user, title=_title(text), updated_at=timezone.now())


def ask(user: User, text: str, **options: Any) -> Message:
    """The answer to a question, stored; options as for `begin`."""
    return begin(user, text, **options).run()


def converse(
    user: User, text: str, history: Sequence[BaseMessage] = (), *, prompt: str | None = None, whole: bool = False
) -> Iterator[AnswerEvent]:
    """The answer to a question whose conversation its client keeps; nothing is stored. Unavailable when a part is down.

    history: what was said before, oldest first. whole: nobody reads along, so the model is asked for its answer at once.
    """
    chain = _make_chain(prompt or settings.ENV.prompt)
    try:
        yield from chain.stream(Question(text, history))
    except ModelUnavailable as error:
        raise Unavailable(str(error), "model_unavailable", error.retry_after) from error
    except IndexUnavailable as error:
        raise Unavailable(str(error), "index_unavailable") from error


def rate(answer: Message, rating: int, comment: str) -> Feedback:
    """What its reader thinks of an answer, in place of what was thought before."""
    feedback, _ = Feedback.objects.update_or_create(message=answer, defaults={"rating": rating, "comment": comment})
    return feedback


def chat_model() -> ChatModel:
    """The configured chat model; UnknownModel says what is wrong with its name."""
    name = settings.ENV.chat_model
    return ChatModel(name, load_chat_model(name, settings.ENV.chat_model_timeout))


def _make_chain(prompt_name: str) -> AnswerChain:
    try:
        index = get_index()
        model = chat_model()
    except (IndexBusy, IndexUnavailable) as error:
        raise Unavailable(f"The index is not available: {error}", "index_unavailable") from error
    except UnknownModel as error:
        raise Unavailable(str(error), "model_unavailable") from error
    return build_answer_chain(
        make_retriever(index, PASSAGES),
        model,
        load_prompt(prompt_name),
        index.embedder,
        functools.lru_cache(maxsize=64)(read_span),
        settings.ENV.no_match,
        _calibration(index.embedder.fingerprint),
    )


def _calibration(embedding: str) -> Calibration:
    """The one in its file, at once when it changes; the shipped one when the file is of no use, which the log tells."""
    path = settings.ENV.calibration_file
    if path is None:
        return SHIPPED
    try:
        changed = path.stat().st_mtime_ns
    except OSError:
        changed = 0  # it is not there, or reading it tells why not
    return _read_calibration(path, changed, embedding)


@functools.lru_cache(maxsize=4)
def _read_calibration(path: Path, changed: int, embedding: str) -> Calibration:
    try:
        calibration = load_calibration(path)
    except BadCalibration as error:
        logger.error("%s The shipped calibration is used.", error)
        return SHIPPED
    if calibration.embedding not in ("", embedding):
        logger.warning(
            "%s was made for another embedding model; the shipped calibration is used. Make it anew: "
            "`python -m evals calibrate`.",
            path,
        )
        return SHIPPED
    return calibration


def _lend_connection() -> None:
    """Give a pooled connection back while the model writes, so that long answers do not use the pool up."""
    if connection.vendor != "sqlite" and not connection.in_atomic_block:
        connection.close()


def _title(text: str) -> str:
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


class _Partial:
    """What an answer had become when its reader hung up."""

    def __init__(self) -> None:
        self.text = ""
        self.citations: list[Any] = []
        self.passages: tuple[Document, ...] = ()

    def note(self, event: AnswerEvent) -> None:
        match event:
            case Retrieved(passages):
                self.passages = passages
            case Token(text):
                self.text += text
            case Cited(citation):
                self.citations.append(citation)

    def as_answer(self, chain: AnswerChain) -> Answer:
        general = chain.no_match == "model" and not self.citations
        return Answer(
            text=self.text,
            outcome="ungrounded" if general else "partial",
            citations=tuple(self.citations),
            passages=self.passages,
            model=chain.model.name,
            prompt=chain.prompt.label,
            latency_ms={},
        )
