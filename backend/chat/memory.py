"""Chat memory: a LangChain chat history over the Message rows of one conversation."""

from collections.abc import Sequence
from itertools import pairwise

from langchain_core.chat_history import BaseChatMessageHistory
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

from backend.chat.models import Conversation, Message, Role

REMEMBERED = 12  # messages that the chain is given; older ones stay in the history and out of the prompt


class ConversationHistory(BaseChatMessageHistory):
    """The last turns of a conversation, oldest first. `before` leaves out that message and what came after it.

    A question that was never answered (its model was down) is kept in the database and left out here: turns alternate,
    and asking it again is not a follow-up to itself.
    """

    def __init__(self, conversation: Conversation, before: Message | None = None) -> None:
        self.conversation = conversation
        self.before = before

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]  # LangChain declares a plain attribute
        rows = Message.objects.filter(conversation=self.conversation, replaced_at=None)
        if self.before is not None:
            rows = rows.filter(id__lt=self.before.id)
        latest = list(reversed(rows.order_by("-id").values_list("role", "content")[:REMEMBERED]))
        answered = (
            (role, text)
            for (role, text), (next_role, _) in pairwise([*latest, (Role.USER, "")])
            if role != Role.USER or next_role != Role.USER
        )
        return [HumanMessage(text) if role == Role.USER else AIMessage(text) for role, text in answered]

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        Message.objects.bulk_create(
            Message(
                conversation=self.conversation,
                role=Role.USER if isinstance(message, HumanMessage) else Role.ASSISTANT,
                content=message.text,
            )
            for message in messages
        )

    def clear(self) -> None:
        Message.objects.filter(conversation=self.conversation).delete()
