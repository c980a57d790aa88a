"""Reads of conversations, those of one user: another's are as good as not there. Only drafts for evals see all."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from django.db.models import Q
from django.http import Http404
from django.shortcuts import get_object_or_404

from backend.accounts.models import User
from backend.chat.memory import ConversationHistory
from backend.chat.models import Citation, CitedSource, Conversation, Message, Outcome, Role
from backend.knowledge.models import Source
from backend.knowledge.selectors import Place, find_quote, has_vanished, read_span

AROUND = 200  # characters of the source text that are shown on either side of a quote


def get_conversation(user: User, conversation_id: UUID) -> Conversation:
    """The user's conversation, or Http404."""
    return get_object_or_404(Conversation, user=user, pk=conversation_id)


def get_answer(user: User, message_id: UUID) -> Message:
    """An answer that the user was given, or Http404."""
    return get_object_or_404(Message, conversation__user=user, pk=message_id, role=Role.ASSISTANT)


def get_question(user: User, message_id: UUID) -> Message:
    """The question that this message is or answers, or that was to be answered by it; or Http404."""
    questions = Message.objects.select_related("conversation").filter(conversation__user=user, role=Role.USER)
    found = questions.filter(Q(pk=message_id) | Q(answer_id=message_id)).first()
    if found is None:  # an answer that was replaced, or that an older version made
        answer = get_answer(user, message_id)
        found = questions.filter(conversation=answer.conversation_id, id__lt=answer.pk).order_by("-id").first()
    if found is None:
        raise Http404
    return found


def get_citation(user: User, message_id: UUID, n: int) -> Citation:
    """A citation of an answer that the user was given, as `verify` takes it, or Http404."""
    citations = Citation.objects.with_source_state().select_related("version__source").defer("version__text")
    return get_object_or_404(citations, message__conversation__user=user, message=message_id, n=n)


@dataclass(frozen=True, slots=True)
class SourceNow:
    """What answers now from a cited file: its path, its sha256, and where the quote stands in it, if it does."""

    source: str
    source_version: str
    place: Place | None


@dataclass(frozen=True, slots=True)
class Verification:
    """A citation, looked up again. valid: the stored text of the cited version is the quote, at its offsets. before and
    after: that text around the quote; None when it is not kept. now: None when nothing answers from the file.
    """

    citation: Citation
    valid: bool
    before: str | None
    after: str | None
    source_state: CitedSource
    now: SourceNow | None


def verify(citation: Citation) -> Verification:
    """Look the quote up in the stored text of the version that was cited, and in what answers from the file now."""
    start, end = citation.start, citation.end
    begin = max(0, start - AROUND)
    kept = read_span(str(citation.version_id), begin, end + AROUND) if citation.version_id else None
    state, now = _look_at_file(citation)
    return Verification(
        citation=citation,
        valid=kept is not None and kept[start - begin : end - begin] == citation.quote,
        before=kept and kept[: start - begin],
        after=kept and kept[end - begin :],
        source_state=state,
        now=now,
    )


def _look_at_file(citation: Citation) -> tuple[CitedSource, SourceNow | None]:
    sources = Source.objects.select_related("current_version").defer("current_version__text")
    its_own = {"pk": citation.version.source_id} if citation.version else {"path": citation.source}
    source = sources.filter(**its_own).first()
    if source is None or has_vanished(source.path):  # perhaps no sync has seen it yet
        return CitedSource.REMOVED, None
    state = CitedSource(citation.source_state)  # type: ignore[attr-defined]  # of with_source_state
    if source.current_version is None:
        return state, None
    place = find_quote(source.current_version, citation.quote, near=citation.start)
    return state, SourceNow(source.path, source.current_version.digest, place)


@dataclass(frozen=True, slots=True)
class WentWrong:
    """A question with the answer it should not have had. why: "declined" or "disliked". history: (role, text), oldest
    first. nearest: paths of the sources that were found.
    """

    question: str
    answer: str
    why: str
    comment: str
    history: list[tuple[str, str]]
    nearest: list[str]


def answers_that_went_wrong(number: int) -> list[WentWrong]:
    """The latest answers of all users that were declined, or that their readers disliked."""
    answers = (
        Message.objects.filter(role=Role.ASSISTANT)
        .filter(Q(outcome=Outcome.ABSTAINED) | Q(feedback__rating=-1))
        .select_related("conversation", "feedback")
        .order_by("-id")[:number]
    )
    found = []
    for answer in answers:
        asked = Message.objects.filter(conversation=answer.conversation, id__lt=answer.id, role=Role.USER).last()
        if asked is not None:
            feedback = getattr(answer, "feedback", None)
            disliked = feedback is not None and feedback.rating < 0
            found.append(
                WentWrong(
                    question=asked.content,
                    answer=answer.content,
                    why="disliked" if disliked else "declined",
                    comment=feedback.comment if feedback is not None else "",
                    history=[
                        ("user" if message.type == "human" else "assistant", message.text)
                        for message in ConversationHistory(answer.conversation, before=asked).messages
                    ],
                    nearest=list(dict.fromkeys(passage["source"] for passage in answer.retrieved)),
                )
            )
    return found
