"""What OpenAI's clients send and get. Parameters that do not apply here are accepted and change nothing; those that
would have to change the answer's form are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from drf_spectacular.utils import OpenApiResponse, extend_schema_field
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail

from backend.api.given import OpenBody
from backend.api.schema import MEANINGS, event
from backend.chat.memory import REMEMBERED
from backend.chat.serializers import LONGEST_MESSAGE, CitationSerializer, GroundingSerializer, PassageSerializer
from backend.openai_api.errors import unsupported

MOST_MESSAGES = 2048
MOST_TEXTS = 256  # embedded in one request
LONGEST_TEXT = 8_000  # characters of each

# Roles that say nothing to the answerer. Its instructions are the operator's prompt: one that a client sends could tell
# it to answer without the documents. Tools are never called, so nothing comes of their results.
IGNORED_ROLES = ("system", "developer", "tool", "function")

# Parameters that are right with one value only: whether a value is that one, and what to say of others.
FIXED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "n": (lambda value: value == 1, "There is one answer to a question; leave it out, or give 1."),
    "logprobs": (lambda value: value is False, "Probabilities are not known."),
    "top_logprobs": (lambda value: value == 0, "Probabilities are not known."),
    "tool_choice": (lambda value: value in ("auto", "none"), "Tools are never called, so none can be required."),
    "function_call": (lambda value: value in ("auto", "none"), "Functions are never called, so none can be required."),
    "response_format": (
        lambda value: value == {"type": "text"},
        'Answers are text; leave it out, or {"type": "text"}.',
    ),
    "modalities": (lambda value: value == ["text"], 'Answers are text; leave it out, or give ["text"].'),
    "audio": (lambda value: False, "Answers are text."),
}


@dataclass(frozen=True, slots=True)
class Said:
    """The last thing that the user said, and what was said before it, oldest first."""

    question: str
    history: tuple[BaseMessage, ...]


@extend_schema_field({"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "object"}}], "nullable": True})
class ContentField(serializers.JSONField):
    """A text, or text parts."""


class ChatMessageSerializer(OpenBody):
    role = serializers.ChoiceField(choices=["user", "assistant", *IGNORED_ROLES])
    content = ContentField(required=False, allow_null=True, default=None)


class StreamOptionsSerializer(OpenBody):
    include_usage = serializers.BooleanField(required=False, allow_null=True, default=False)


class KeptInSerializer(OpenBody):
    conversation_id = serializers.UUIDField(
        required=False, allow_null=True, default=None, help_text="With `store`: the conversation to go on with."
    )


class CompletionRequestSerializer(OpenBody):
    model = serializers.CharField(max_length=200, help_text="A chat model of GET /v1/models, for instance `footnote`.")
    messages = ChatMessageSerializer(many=True, allow_empty=False, max_length=MOST_MESSAGES)  # type: ignore[call-arg]
    stream = serializers.BooleanField(required=False, allow_null=True, default=False)
    stream_options = StreamOptionsSerializer(required=False, allow_null=True, default=None)
    store = serializers.BooleanField(
        required=False, allow_null=True, default=False, help_text="Keep question and answer in the history."
    )
    metadata = KeptInSerializer(required=False, allow_null=True, default=None)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        for name, (is_right, why) in FIXED.items():
            value = self.initial_data.get(name)
            if value is not None and not is_right(value):
                raise unsupported(name, why)
        return {**attrs, "said": read_messages(attrs["messages"])}


def read_messages(messages: list[dict[str, Any]]) -> Said:
    """The question and its history. What follows the last thing that the user said is passed over."""
    said = [
        (message["role"], _text(message["content"], f"messages[{i}].content"))
        for i, message in enumerate(messages)
        if message["role"] not in IGNORED_ROLES
    ]
    while said and said[-1][0] != "user":
        said.pop()
    if not said or not said[-1][1].strip():
        raise serializers.ValidationError({"messages": ["The user asks nothing in them."]})
    question = said.pop()[1].strip()
    if len(question) > LONGEST_MESSAGE:
        why = f"A question has at most {LONGEST_MESSAGE:,} characters; this one has {len(question):,}."
        raise serializers.ValidationError({"messages": [ErrorDetail(why, "context_length_exceeded")]})
    history = [HumanMessage(text) if role == "user" else AIMessage(text) for role, text in said if text.strip()]
    return Said(question, tuple(history[-REMEMBERED:]))


def _text(content: Any, where: str) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise serializers.ValidationError({where: ["Give a text, or a list of text parts."]})
    return "\n".join(_texts(content, where))


def _texts(parts: list[Any], where: str) -> Iterator[str]:
    for i, part in enumerate(parts):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "refusal":
            continue
        if kind != "text":
            raise unsupported(f"{where}[{i}]", "Only text is read: no images, sound or files.")
        if not isinstance(part.get("text"), str):
            raise serializers.ValidationError({f"{where}[{i}].text": ["This must be a text."]})
        yield part["text"]


class UrlCitationSerializer(serializers.Serializer[None]):
    start_index = serializers.IntegerField(help_text="Where the marker [n] begins in the content, in code points.")
    end_index = serializers.IntegerField(help_text="Where it ends (exclusive).")
    title = serializers.CharField(help_text="The file, and page or heading.")
    url = serializers.CharField(help_text="GET /sources/{id} of the file; its fragment is the quote's place.")


class AnnotationSerializer(serializers.Serializer[None]):
    type = serializers.ChoiceField(choices=["url_citation"])
    url_citation = UrlCitationSerializer()


class ExtensionSerializer(serializers.Serializer[None]):
    """The rest of the answer object of POST /chat."""

    conversation_id = serializers.UUIDField(required=False, help_text="With `store`.")
    message_id = serializers.UUIDField(required=False, help_text="With `store`.")
    outcome = serializers.CharField()
    confidence = serializers.FloatField(allow_null=True)
    grounding = GroundingSerializer()
    citations = CitationSerializer(many=True)
    retrieved = PassageSerializer(many=True)
    model = serializers.CharField(help_text="The chat model that wrote it.")
    prompt = serializers.CharField()
    latency_ms = serializers.DictField(child=serializers.FloatField())


class CompletionMessageSerializer(serializers.Serializer[None]):
    role = serializers.ChoiceField(choices=["assistant"])
    content = serializers.CharField()
    refusal = serializers.CharField(allow_null=True)
    annotations = AnnotationSerializer(many=True)
    footnote = ExtensionSerializer()


class CompletionChoiceSerializer(serializers.Serializer[None]):
    index = serializers.IntegerField()
    message = CompletionMessageSerializer()
    logprobs = serializers.JSONField(allow_null=True, help_text="null")
    finish_reason = serializers.CharField(help_text="stop, length or content_filter")


class CompletionUsageSerializer(serializers.Serializer[None]):
    prompt_tokens = serializers.IntegerField()
    completion_tokens = serializers.IntegerField()
    total_tokens = serializers.IntegerField()


class CompletionSerializer(serializers.Serializer[None]):
    id = serializers.CharField()
    object = serializers.CharField(help_text="`chat.completion`")
    created = serializers.IntegerField()
    model = serializers.CharField()
    system_fingerprint = serializers.CharField(help_text="The prompt, as name@digest.")
    choices = CompletionChoiceSerializer(many=True)
    usage = CompletionUsageSerializer()


class ModelSerializer(serializers.Serializer[None]):
    id = serializers.CharField()
    object = serializers.CharField(help_text="`model`")
    created = serializers.IntegerField()
    owned_by = serializers.CharField()


class ModelListSerializer(serializers.Serializer[None]):
    object = serializers.CharField(help_text="`list`")
    data = ModelSerializer(many=True)  # type: ignore[assignment]  # OpenAI's name, which DRF also uses


A_TEXT = {"type": "string", "minLength": 1, "maxLength": LONGEST_TEXT}


@extend_schema_field({"oneOf": [A_TEXT, {"type": "array", "items": A_TEXT, "minItems": 1, "maxItems": MOST_TEXTS}]})
class TextsField(serializers.JSONField):
    """A text or a list of texts, as a list."""

    def to_internal_value(self, data: Any) -> list[str]:  # type: ignore[override]  # the stub knows objects only
        texts = data if isinstance(data, list) else [data]
        if not all(isinstance(text, str) for text in texts):
            raise serializers.ValidationError(
                "Give a text or a list of texts. Lists of tokens are not read; with LangChain's OpenAIEmbeddings, set "
                "check_embedding_ctx_length=False."
            )
        if not 0 < len(texts) <= MOST_TEXTS:
            raise serializers.ValidationError(f"Give 1 to {MOST_TEXTS} texts.")
        if not all(0 < len(text) <= LONGEST_TEXT for text in texts):
            raise serializers.ValidationError(f"A text has 1 to {LONGEST_TEXT:,} characters.")
        return texts


class EmbeddingRequestSerializer(OpenBody):
    model = serializers.CharField(max_length=200, help_text="The embedding model of GET /v1/models.")
    input = TextsField(help_text=f"Up to {MOST_TEXTS} texts of up to {LONGEST_TEXT:,} characters.")
    encoding_format = serializers.ChoiceField(
        choices=["float", "base64"], required=False, allow_null=True, default="float"
    )
    dimensions = serializers.IntegerField(required=False, allow_null=True, default=None)


class EmbeddingSerializer(serializers.Serializer[None]):
    object = serializers.CharField(help_text="`embedding`")
    index = serializers.IntegerField()
    embedding = serializers.ListField(
        child=serializers.FloatField(), help_text="Of unit length. With base64: a string of little-endian float32."
    )


class EmbeddingUsageSerializer(serializers.Serializer[None]):
    prompt_tokens = serializers.IntegerField()
    total_tokens = serializers.IntegerField()


class EmbeddingListSerializer(serializers.Serializer[None]):
    object = serializers.CharField(help_text="`list`")
    model = serializers.CharField()
    data = EmbeddingSerializer(many=True)  # type: ignore[assignment]
    usage = EmbeddingUsageSerializer()


class OpenAIErrorDetailSerializer(serializers.Serializer[None]):
    message = serializers.CharField()
    type = serializers.CharField(help_text="invalid_request_error, authentication_error, server_error, ...")
    param = serializers.CharField(allow_null=True, help_text="What is wrong in the request: `messages[0].content`.")
    code = serializers.CharField(allow_null=True)


class OpenAIErrorSerializer(serializers.Serializer[None]):
    error = OpenAIErrorDetailSerializer()


def errors(*statuses: int) -> dict[int, OpenApiResponse]:
    """Error responses for `extend_schema(responses=...)`, as backend.api.schema's."""
    wanted = {*statuses, 413, 415} if 400 in statuses else set(statuses)
    return {status: OpenApiResponse(OpenAIErrorSerializer, MEANINGS[status]) for status in sorted(wanted)}


EVENT_STREAM = {(200, "text/event-stream"): event()}
