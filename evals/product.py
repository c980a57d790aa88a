"""The product in this process, as a Client: the services that the HTTP views call, without the HTTP."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from chains.errors import UnknownModel
from evals.samples import Turn


class CannotServe(Exception):
    """The product cannot answer from these files or with these settings; the message says why."""


@contextmanager
def booted() -> Iterator[ProductClient]:
    """Set Django up by the environment, migrate, index the watched folder. CannotServe when the chat model cannot be
    loaded or a file cannot be read.
    """
    os.environ["DJANGO_SETTINGS_MODULE"] = "backend.settings"
    import django

    django.setup()
    from django.core.management import call_command

    from backend.accounts.models import User
    from backend.chat.services import chat_models
    from backend.knowledge.index import close_index

    try:
        chat_models()
    except UnknownModel as error:
        raise CannotServe(str(error)) from error
    call_command("migrate", interactive=False, verbosity=0)
    try:
        client = ProductClient(User.objects.create_user("eval", "eval@example.org", None))
        client.sync()
        yield client
    finally:
        close_index()


class ProductClient:
    """See evals.runner.Client. Threads may share it."""

    def __init__(self, user: Any) -> None:
        self.user = user

    def sync(self) -> None:
        """Index the watched folder as it is now; CannotServe when a file cannot be read."""
        from backend.knowledge import services

        run = services.sync("eval")
        if run.state != "done":
            raise CannotServe(f"The files could not be indexed: {run.error}")
        if failed := run.report["names"]["failed"]:
            raise CannotServe("These files could not be read: " + "; ".join(": ".join(row) for row in failed) + ".")

    def ask(self, question: str, history: Sequence[Turn]) -> dict[str, Any]:
        from backend.chat import conversations, services
        from backend.chat.exchange import make_title
        from backend.chat.memory import ConversationHistory
        from backend.chat.serializers import AnswerSerializer

        conversation_id = None
        if history:
            conversation = conversations.open_conversation(self.user, make_title(history[0].content))
            ConversationHistory(conversation).add_messages(_messages(history))
            conversation_id = conversation.pk
        answer = services.ask(self.user, question, conversation_id=conversation_id)
        return dict(AnswerSerializer(answer).data)

    def search(self, question: str, k: int, history: Sequence[Turn] = ()) -> list[dict[str, Any]]:
        from backend.chat import services
        from backend.knowledge import selectors
        from backend.knowledge.index import get_index

        return selectors.search(get_index(), services.standalone(question, _messages(history)), k, None)

    def source_text(self, source: str, start: int, end: int) -> str | None:
        from backend.knowledge.models import Source
        from backend.knowledge.selectors import read_span

        version = Source.objects.filter(path=source).values_list("current_version", flat=True).first()
        return read_span(str(version), start, end) if version else None


def _messages(history: Sequence[Turn]) -> list[Any]:
    from langchain_core.messages import AIMessage, HumanMessage

    return [HumanMessage(turn.content) if turn.role == "user" else AIMessage(turn.content) for turn in history]
