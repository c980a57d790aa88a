"""Reads of conversations, those of one user: another's are as good as not there. Only drafts for evals see all."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from django.db.models import Prefetch, Q, QuerySet
from django.shortcuts import get_object_or_404

from backend.accounts.models import User
from backend.chat.memory import ConversationHistory
from backend.chat.models import Conversation, Message, Outcome, Role


def list_conversations(user: User, *, search: str = "", conversation_id: UUID | None = None) -> QuerySet[Conversation]:
    """The user's conversations, the latest first. `search` looks for a text in titles and messages, in any case."""
    conversations = Conversation.objects.filter(user=user)
    if conversation_id is not None:
        conversations = conversations.filter(pk=conversation_id)
    if search:
        saying = Message.objects.filter(conversation__user=user, content__icontains=search)
        conversations = conversations.filter(Q(title__icontains=search) | Q(pk__in=saying.values("conversation")))
    return conversations


def with_messages(conversations: QuerySet[Conversation]) -> QuerySet[Conversation]:
    """The same with their messages and citations read in one query each."""
    return conversations.prefetch_related(Prefetch("messages", Message.objects.prefetch_related("citations")))


def get_conversation(user: User, conversation_id: UUID) -> Conversation:
    """The user's conversation, or Http404."""
    return get_object_or_404(Conversation, user=user, pk=conversation_id)


def get_answer(user: User, message_id: UUID) -> Message:
    """An answer that the user was given, or Http404."""
    return get_object_or_404(Message, conversation__user=user, pk=message_id, role=Role.ASSISTANT)


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
