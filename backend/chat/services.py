"""What users do in their conversations: ask, ask again, ask otherwise, rate."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.conf import settings

from backend.accounts.models import User
from backend.api.errors import Conflict, Unavailable
from backend.chat import selectors, usage
from backend.chat.exchange import Asked, Exchange, Follower, lend_connection
from backend.chat.models import Feedback, Message
from backend.chat.turns import Seat
from backend.knowledge.index import IndexBusy, get_index
from backend.knowledge.selectors import SourceFilter, make_retriever, matching_source_ids, read_span
from chains.abstention import SHIPPED, BadCalibration, Calibration, load_calibration
from chains.answer import build_answer_chain
from chains.calling import ChatModel, Patience
from chains.errors import ModelUnavailable, UnknownModel
from chains.model import AnswerEvent, Done, Draft, Question
from chains.models import load_chat_model
from chains.prompts import load_prompt
from vectorstore.errors import IndexUnavailable
from vectorstore.remembering import Remembering

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

    from chains.answer import AnswerChain

logger = logging.getLogger(__name__)

PASSAGES = 8  # retrieved for one question


def begin(
    user: User,
    text: str,
    *,
    conversation_id: UUID | None = None,
    prompt: str | None = None,
    filter: dict[str, Any] | None = None,  # noqa: A002 (the API's name)
    key: str = "",
) -> Exchange:
    """A question, ready to be asked. `filter`: fields of SourceFilter. `key`: the request's Idempotency-Key.

    Http404 when the conversation does not exist or is not the user's; BudgetSpent (429).
    """
    usage.require_budget(user)
    conversation = selectors.get_conversation(user, conversation_id) if conversation_id else None
    options = _options(prompt, filter)
    return _exchange(Asked(user, text, conversation, options, key=key))


def regenerate(user: User, message_id: UUID, *, prompt: str | None = None) -> Exchange:
    """The question of this message, ready to be asked again: the message is the question, or its answer, or the answer
    that it should have had. What follows the question is replaced when the new answer is there.
    """
    usage.require_budget(user)
    question = selectors.get_question(user, message_id)
    if question.replaced_at is not None:
        raise Conflict("This question was replaced by another one.", "replaced")
    options = {**question.options, **({"prompt": prompt} if prompt else {})}
    return _exchange(Asked(user, question.content, question.conversation, options, question=question))


def edit(
    user: User,
    message_id: UUID,
    text: str,
    *,
    prompt: str | None = None,
    filter: dict[str, Any] | None = None,  # noqa: A002
) -> Exchange:
    """Another question in the place of this one, ready to be asked; what followed the old one is replaced with it."""
    usage.require_budget(user)
    question = selectors.get_question(user, message_id)
    if question.replaced_at is not None:
        raise Conflict("This question was replaced by another one.", "replaced")
    return _exchange(Asked(user, text, question.conversation, _options(prompt, filter), rewind=question))


def follow(user: User, message_id: UUID) -> Follower:
    """The answer that this message is, or is a question for."""
    question = selectors.get_question(user, message_id)
    if question.answer_id != message_id and question.pk != message_id:  # an answer that was replaced
        question.answer_id = message_id
    return Follower(question)


def ask(user: User, text: str, **options: Any) -> Message:
    """The answer to a question, stored; options as for `begin`."""
    return begin(user, text, **options).run()


def _options(prompt: str | None, wanted: dict[str, Any] | None) -> dict[str, Any]:
    """As they are stored: the filter's moments as ISO 8601."""
    kept = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in (wanted or {}).items()}
    return ({"prompt": prompt} if prompt else {}) | ({"filter": kept} if kept else {})


def _exchange(asked: Asked) -> Exchange:
    def ready() -> tuple[AnswerChain, tuple[str, ...] | None]:
        chain = _make_chain(asked.options.get("prompt") or settings.ENV.prompt)
        wanted = asked.options.get("filter")
        return chain, matching_source_ids(_read_filter(wanted)) if wanted else None

    return Exchange(asked, ready)


def _read_filter(kept: dict[str, Any]) -> SourceFilter:
    moments = {name: datetime.fromisoformat(kept[name]) for name in ("after", "before") if kept.get(name)}
    return SourceFilter(**{**kept, **moments})


def standalone(text: str, history: Sequence[BaseMessage]) -> str:
    """What is searched with: the question, made whole by what was said before it."""
    return _make_chain(settings.ENV.prompt).standalone(Question(text, history))


def converse(
    user: User, text: str, history: Sequence[BaseMessage] = (), *, prompt: str | None = None, whole: bool = False
) -> Iterator[AnswerEvent]:
    """The answer to a question whose conversation its client keeps; nothing is stored but what it cost.

    history: what was said before, oldest first. whole: nobody reads along, so the model is asked for all at once.
    Unavailable: a part is down, or all seats are taken. BudgetSpent (429).
    """
    usage.require_budget(user)
    draft = Draft()
    outcome: str | None = None
    with Seat(user):
        try:
            chain = _make_chain(prompt or settings.ENV.prompt)
            lend_connection()
            for event in chain.events(Question(text, history), whole=whole, draft=draft):
                if isinstance(event, Done):
                    outcome = event.answer.outcome
                yield event
        except GeneratorExit:
            outcome = outcome or "partial"
            raise
        except ModelUnavailable as error:
            raise Unavailable(str(error), "model_unavailable", error.retry_after) from error
        except IndexUnavailable as error:
            raise Unavailable(str(error), "index_unavailable") from error
        finally:
            cost = usage.cost_of(draft.model, draft.usage["input_tokens"], draft.usage["output_tokens"])
            usage.record(user, draft.model, outcome, draft.usage, cost)


def rate(answer: Message, rating: int, comment: str) -> Feedback:
    """What its reader thinks of an answer, in place of what was thought before."""
    feedback, _ = Feedback.objects.update_or_create(message=answer, defaults={"rating": rating, "comment": comment})
    return feedback


def chat_models() -> list[ChatModel]:
    """The configured chat model and its fallback; UnknownModel says what is wrong with a name."""
    env = settings.ENV
    names = dict.fromkeys(name for name in (env.chat_model, env.chat_model_fallback) if name)
    # chains/calling.py asks again by itself.
    return [ChatModel(name, load_chat_model(name, env.chat_model_timeout, retries=0)) for name in names]


def _make_chain(prompt_name: str) -> AnswerChain:
    try:
        index = get_index()
        models = chat_models()
    except (IndexBusy, IndexUnavailable) as error:
        raise Unavailable(f"The index is not available: {error}", "index_unavailable") from error
    except UnknownModel as error:
        raise Unavailable(str(error), "model_unavailable") from error
    return build_answer_chain(
        make_retriever(index, PASSAGES),
        models,
        load_prompt(prompt_name),
        Remembering(index.embedder),
        functools.lru_cache(maxsize=64)(read_span),
        settings.ENV.no_match,
        _calibration(index.embedder.fingerprint),
        Patience(settings.ENV.chat_model_timeout, settings.ENV.answer_timeout),
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
