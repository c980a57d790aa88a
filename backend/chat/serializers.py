"""What the chat endpoints take and give. An answer looks the same when it is made and when it is read again."""

from __future__ import annotations

import unicodedata
from typing import Any

from rest_framework import serializers

from backend.api.given import Body, Given
from backend.chat.history import OF_A_CITATION, OF_A_CONVERSATION, OF_A_MESSAGE, OF_AN_ANSWER
from backend.chat.models import Citation, CitedSource, Conversation, Message, Outcome, Role
from backend.chat.selectors import Verification
from backend.chat.stats import LONGEST
from backend.knowledge.serializers import SourceFilterSerializer
from chains.prompts import prompt_names

LONGEST_MESSAGE = 8_000  # characters


class FilterSerializer(Body, SourceFilterSerializer):
    described = {"minProperties": 1}

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not attrs:
            raise serializers.ValidationError(f"Give at least one of {', '.join(self.fields)}.")
        return attrs


class QuestionSerializer(Body):
    message = serializers.CharField(max_length=LONGEST_MESSAGE)
    stream = serializers.BooleanField(required=False, default=False)
    filter = FilterSerializer(required=False, allow_null=True)
    prompt = serializers.ChoiceField(choices=prompt_names(), required=False, allow_null=True)


class ChatRequestSerializer(QuestionSerializer):
    conversation_id = serializers.UUIDField(required=False, allow_null=True)


class RegenerateSerializer(Body):
    stream = serializers.BooleanField(required=False, default=False)
    prompt = serializers.ChoiceField(
        choices=prompt_names(), required=False, allow_null=True, help_text="Another than it was asked with."
    )


class CitationSerializer(serializers.ModelSerializer[Citation]):
    class Meta:
        model = Citation
        fields = list(OF_A_CITATION)
        read_only_fields = fields

    heading = serializers.ListField(child=serializers.CharField())
    source_state = serializers.ChoiceField(
        choices=CitedSource.choices,
        default=CitedSource.CURRENT,  # of an answer that was just made; what is read again comes with its state
        help_text="The file, as of the last sync: the cited version answers, it has other content now, or it is gone.",
    )


class PlaceSerializer(serializers.Serializer[None]):
    start = serializers.IntegerField()
    end = serializers.IntegerField()
    page = serializers.IntegerField(allow_null=True)
    heading = serializers.ListField(child=serializers.CharField())


class SourceNowSerializer(serializers.Serializer[None]):
    source = serializers.CharField(help_text="Its path now; it may have moved.")  # type: ignore[assignment]
    source_version = serializers.CharField(help_text="sha256 of the content that answers now.")
    place = PlaceSerializer(
        allow_null=True, help_text="Where the quote stands in it verbatim, nearest to its old place; null: nowhere."
    )


class VerificationSerializer(serializers.Serializer[Verification]):
    """A citation with what a look at the stored source text says of it now."""

    valid = serializers.BooleanField(
        help_text="The stored text of the cited version is the quote, at [start, end). It is kept while it is cited."
    )
    n = serializers.IntegerField(source="citation.n")
    source = serializers.CharField(  # type: ignore[assignment]
        source="citation.source", help_text="Path of the file when it was quoted."
    )
    source_version = serializers.CharField(
        source="citation.source_version", help_text="sha256 of the file when it was quoted."
    )
    page = serializers.IntegerField(source="citation.page", allow_null=True)
    heading = serializers.ListField(source="citation.heading", child=serializers.CharField())
    start = serializers.IntegerField(source="citation.start")
    end = serializers.IntegerField(source="citation.end")
    quote = serializers.CharField(source="citation.quote")
    before = serializers.CharField(allow_null=True, help_text="The stored text before the quote; null: not kept.")
    after = serializers.CharField(allow_null=True, help_text="The stored text after the quote; null: not kept.")
    source_state = serializers.ChoiceField(choices=CitedSource.choices, help_text="The file as it is now.")
    now = SourceNowSerializer(allow_null=True, help_text="What answers from the file now; null when nothing does.")


class PassageSerializer(serializers.Serializer[None]):
    source = serializers.CharField()  # type: ignore[assignment]
    page = serializers.IntegerField(allow_null=True)
    heading = serializers.ListField(child=serializers.CharField())
    snippet = serializers.CharField()
    score = serializers.FloatField()
    chunk_id = serializers.CharField(required=False)  # answers of older versions did not keep it


class LatencySerializer(serializers.Serializer[None]):
    condense = serializers.FloatField(required=False)
    retrieve = serializers.FloatField(required=False)
    generate = serializers.FloatField(required=False)
    verify = serializers.FloatField(required=False)
    total = serializers.FloatField(required=False)


class UsageSerializer(serializers.Serializer[None]):
    input_tokens = serializers.IntegerField(required=False)
    output_tokens = serializers.IntegerField(required=False)
    cost = serializers.FloatField(required=False, allow_null=True, help_text="null where the price is not known")


class GroundingSerializer(serializers.Serializer[None]):
    """Missing from answers of older versions."""

    claims = serializers.IntegerField(required=False, help_text="Sentences of the answer that state something.")
    supported = serializers.IntegerField(required=False, help_text="Those of them whose citations hold.")
    dropped = serializers.IntegerField(
        required=False, help_text="Citations that did not hold, and links that no document has; they were left out."
    )


class AnswerSerializer(serializers.Serializer[Message]):
    conversation_id = serializers.UUIDField()
    message_id = serializers.UUIDField(source="id")
    answer = serializers.CharField(source="content")
    outcome = serializers.ChoiceField(choices=Outcome.choices)
    cut = serializers.BooleanField(help_text="The client hung up, or the server stopped, before it was complete.")
    finish_reason = serializers.CharField(
        allow_blank=True, help_text="Why the model ended: stop, length, content_filter; empty where it was cut."
    )
    confidence = serializers.FloatField(
        allow_null=True, help_text="In [0, 1]: how likely what was found holds the answer, before a word was written."
    )
    grounding = GroundingSerializer()
    citations = CitationSerializer(many=True)
    retrieved = PassageSerializer(many=True)
    model = serializers.CharField()
    prompt = serializers.CharField()
    latency_ms = LatencySerializer()
    usage = UsageSerializer()


class PendingSerializer(serializers.Serializer[None]):
    conversation_id = serializers.UUIDField()
    message_id = serializers.UUIDField(help_text="The id that the answer will have.")


def describe_citation(citation: Any) -> dict[str, Any]:
    """As CitationSerializer does it: a stored one, or the chain's own, whose source is current."""
    return {name: getattr(citation, name, CitedSource.CURRENT) for name in OF_A_CITATION}


def describe_answer(answer: Message) -> dict[str, Any]:
    """As AnswerSerializer does it, in a fifth of the time. An answer that was just stored brings its `new_citations`;
    for another they are read, with the state of their sources.
    """
    cited = getattr(answer, "new_citations", None)
    if cited is None:
        cited = list(answer.citations.with_source_state())
    return {
        "conversation_id": answer.conversation_id,
        "message_id": answer.pk,
        "answer": answer.content,
        "outcome": answer.outcome,
        "cut": answer.cut,
        "finish_reason": answer.finish_reason,
        "confidence": answer.confidence,
        "grounding": answer.grounding,
        "citations": [describe_citation(one) for one in cited],
        "retrieved": answer.retrieved,
        "model": answer.model,
        "prompt": answer.prompt,
        "latency_ms": answer.latency_ms,
        "usage": answer.usage,
    }


class FeedbackSerializer(Body):
    rating = serializers.ChoiceField(choices=[1, -1], help_text="1 for a good answer, -1 for a bad one.")
    comment = serializers.CharField(max_length=2_000, required=False, allow_blank=True, default="")


class MessageSerializer(serializers.ModelSerializer[Message]):
    """A turn of the history, as `history.describe_messages` makes it. Only an answer has what follows `replaced`."""

    role = serializers.ChoiceField(choices=Role.choices)
    replaced = serializers.BooleanField(
        required=False, help_text="true: another answer or question stands in its place. Otherwise left out."
    )
    outcome = serializers.ChoiceField(choices=Outcome.choices, required=False)
    citations = CitationSerializer(many=True, required=False)
    model = serializers.CharField(required=False)
    prompt = serializers.CharField(required=False)
    cut = serializers.BooleanField(required=False)
    finish_reason = serializers.CharField(required=False, allow_blank=True)
    confidence = serializers.FloatField(required=False, allow_null=True)
    grounding = GroundingSerializer(required=False)
    latency_ms = LatencySerializer(required=False)
    usage = UsageSerializer(required=False)
    feedback = FeedbackSerializer(required=False, allow_null=True)

    class Meta:
        model = Message
        fields = [*OF_A_MESSAGE, "replaced", *OF_AN_ANSWER, "citations", "feedback"]
        read_only_fields = fields


class HistorySerializer(serializers.ModelSerializer[Conversation]):
    """A conversation with its messages, as `history.with_messages` makes it."""

    message_count = serializers.IntegerField()
    messages = MessageSerializer(many=True, help_text="The latest 200, oldest first.")
    messages_url = serializers.URLField(required=False, help_text="Where all messages are, if there are more.")

    class Meta:
        model = Conversation
        fields = [*OF_A_CONVERSATION, "message_count", "messages", "messages_url"]
        read_only_fields = fields


class LastMessageSerializer(serializers.Serializer[None]):
    role = serializers.ChoiceField(choices=Role.choices)
    snippet = serializers.CharField(help_text="Its beginning, on one line.")
    created_at = serializers.DateTimeField()


class ConversationSerializer(serializers.ModelSerializer[Conversation]):
    """A conversation as it is listed; `history.describe_conversations` makes it."""

    title = serializers.CharField(allow_blank=True, help_text="Empty until the first question, unless it was given.")
    message_count = serializers.IntegerField()
    last_message = LastMessageSerializer(allow_null=True)

    class Meta:
        model = Conversation
        fields = [*OF_A_CONVERSATION, "message_count", "last_message"]
        read_only_fields = fields


def one_line(text: str) -> None:
    """Refuse line breaks and other control characters."""
    if any(unicodedata.category(char) in ("Cc", "Zl", "Zp", "Cs") for char in text):
        raise serializers.ValidationError("A title is one line, without control characters.")


class TitleSerializer(Body):
    title = serializers.CharField(max_length=200, validators=[one_line])


class NewConversationSerializer(TitleSerializer):
    title = serializers.CharField(max_length=200, validators=[one_line], required=False)


class HistoryQuerySerializer(Given):
    q = serializers.CharField(
        max_length=1_000,
        required=False,
        allow_blank=True,
        help_text="Only conversations in whose title or messages this text occurs, in any case.",
    )
    conversation_id = serializers.UUIDField(required=False, help_text="Only this conversation.")


class MessagesQuerySerializer(Given):
    order = serializers.ChoiceField(
        choices=["asc", "desc"],
        required=False,
        help_text="asc (unless told otherwise): the oldest first. desc: the newest.",
    )
    replaced = serializers.BooleanField(
        required=False, help_text="Also those in whose place another answer or question stands."
    )


class StatsQuerySerializer(serializers.Serializer[None]):
    days = serializers.IntegerField(
        min_value=1, max_value=LONGEST, default=30, help_text="So many days up to today, in UTC."
    )


class CatalogueSerializer(serializers.Serializer[None]):
    by_state = serializers.DictField(child=serializers.IntegerField())
    by_format = serializers.DictField(child=serializers.IntegerField(), help_text="Of the sources that answer.")
    chunks = serializers.IntegerField(help_text="Passages that may be answered from.")
    pages = serializers.IntegerField(help_text="Of the sources that have pages.")


class OutcomesSerializer(serializers.Serializer[None]):
    grounded = serializers.IntegerField()
    partial = serializers.IntegerField()  # type: ignore[assignment]  # the contract's name, which DRF also uses
    abstained = serializers.IntegerField()
    ungrounded = serializers.IntegerField()


class PercentilesSerializer(serializers.Serializer[None]):
    p50 = serializers.FloatField()
    p95 = serializers.FloatField()


class TimesSerializer(serializers.Serializer[None]):
    answers = serializers.IntegerField(help_text="So many were timed: the latest 300 of each day that are still kept.")
    total = PercentilesSerializer(required=False)
    condense = PercentilesSerializer(required=False)
    retrieve = PercentilesSerializer(required=False)
    generate = PercentilesSerializer(required=False)
    verify = PercentilesSerializer(required=False)


class OpinionsSerializer(serializers.Serializer[None]):
    up = serializers.IntegerField()
    down = serializers.IntegerField()


class TotalsSerializer(serializers.Serializer[None]):
    questions = serializers.IntegerField()
    outcomes = OutcomesSerializer()
    failed = serializers.IntegerField(help_text="Questions whose model did not answer.")
    latency_ms = TimesSerializer()
    feedback = OpinionsSerializer()
    input_tokens = serializers.IntegerField()
    output_tokens = serializers.IntegerField()
    cost = serializers.FloatField(help_text="In the price table's currency.")
    unpriced = serializers.IntegerField(help_text="Answers of models whose price is not known.")


class DaySerializer(TotalsSerializer):
    day = serializers.DateField()


class StatsSerializer(serializers.Serializer[None]):
    days = serializers.IntegerField()
    sources = CatalogueSerializer()
    totals = TotalsSerializer()
    by_day = DaySerializer(many=True, help_text="The oldest first; days without a question too.")
