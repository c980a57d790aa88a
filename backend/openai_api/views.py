"""POST /v1/chat/completions, GET /v1/models, GET /v1/models/{id}, POST /v1/embeddings; errors as OpenAI's."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any, NoReturn, cast

import numpy as np
from django.conf import settings
from django.http import HttpResponseBase
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import NotFound
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from backend.accounts.models import User
from backend.api.errors import Unavailable
from backend.openai_api import services, sse
from backend.openai_api.errors import ModelNotFound, handle, unsupported
from backend.openai_api.selectors import OfferedModel, get_model, list_models, prompt_of
from backend.openai_api.serializers import (
    EVENT_STREAM,
    CompletionRequestSerializer,
    CompletionSerializer,
    EmbeddingListSerializer,
    EmbeddingRequestSerializer,
    ModelListSerializer,
    ModelSerializer,
    errors,
)
from backend.openai_api.wire import Completion
from backend.throttling import throttles
from chains.context import count_tokens
from chains.model import Done
from chains.prompts import load_prompt
from vectorstore.errors import EmbeddingsUnavailable


class OpenAIView(APIView):
    def get_exception_handler(self) -> Callable[[Exception, dict[str, Any]], Response]:
        return handle


class ChatCompletions(OpenAIView):
    throttle_classes = [throttles.Chat]

    @extend_schema(
        tags=["openai"],
        request=CompletionRequestSerializer,
        responses={200: CompletionSerializer, **EVENT_STREAM, **errors(400, 401, 403, 404, 409, 429, 503)},
    )
    def post(self, request: Request) -> HttpResponseBase:
        """OpenAI's chat completions: the last user message is the question, what stands before it the conversation.

        System and developer messages are accepted and not read. Parameters that do not apply are accepted and change
        nothing; `n` over 1, required tools, JSON formats and probabilities are a 400. Citations come as `annotations`.
        """
        form = CompletionRequestSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        asked = form.validated_data
        prompt = prompt_of(asked["model"])
        user, said, whole = cast(User, request.user), asked["said"], not asked["stream"]
        if asked["store"]:
            conversation_id = (asked["metadata"] or {}).get("conversation_id")
            answering = services.answer_and_store(
                user, said.question, prompt=prompt, conversation_id=conversation_id, whole=whole
            )
        else:
            answering = services.answer(user, said.question, said.history, prompt=prompt, whole=whole)
        site = settings.ENV.public_url or request.build_absolute_uri("/")[:-1]
        completion = Completion(asked["model"], load_prompt(prompt).label, site)
        if asked["stream"]:
            include_usage = (asked["stream_options"] or {}).get("include_usage")
            return sse.stream(completion, answering, include_usage=bool(include_usage))
        *_, last = answering.events
        assert isinstance(last, Done)  # noqa: S101 (a stream ends with Done)
        return Response(completion.whole(last.answer, answering.kept()))


class Models(OpenAIView):
    @extend_schema(
        operation_id="v1_models_list", tags=["openai"], responses={200: ModelListSerializer, **errors(401, 403)}
    )
    def get(self, request: Request) -> Response:
        """The models: `footnote` (the configured prompt), `footnote:NAME` for each prompt, the embedding model."""
        return Response({"object": "list", "data": [_describe(model) for model in list_models()]})


class ModelDetail(OpenAIView):
    @extend_schema(tags=["openai"], responses={200: ModelSerializer, **errors(401, 403, 404)})
    def get(self, request: Request, model_id: str) -> Response:
        """One model."""
        return Response(_describe(get_model(model_id)))


class Embeddings(OpenAIView):
    throttle_classes = [throttles.Chat]

    @extend_schema(
        tags=["openai"],
        request=EmbeddingRequestSerializer,
        responses={200: EmbeddingListSerializer, **errors(400, 401, 403, 404, 503)},
    )
    def post(self, request: Request) -> Response:
        """Vectors of texts, by the embedding model that answers questions."""
        form = EmbeddingRequestSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        asked = form.validated_data
        embedder = services.open_index().embedder
        if asked["model"] != embedder.name:
            raise ModelNotFound(asked["model"])
        texts = asked["input"]
        try:
            if asked["dimensions"] not in (None, embedder.dimensions):
                raise unsupported("dimensions", f"Vectors of this model have {embedder.dimensions} dimensions.")
            vectors = embedder.embed_array(texts)
        except EmbeddingsUnavailable as error:
            raise Unavailable(str(error), "model_unavailable") from error
        tokens = embedder.count_tokens(texts)
        if tokens is None:
            tokens = sum(map(count_tokens, texts))
        as_base64 = asked["encoding_format"] == "base64"
        rows = [
            {"object": "embedding", "index": i, "embedding": _base64(vector) if as_base64 else vector.tolist()}
            for i, vector in enumerate(vectors)
        ]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return Response({"object": "list", "model": embedder.name, "data": rows, "usage": usage})


@extend_schema(exclude=True)
class Nowhere(OpenAIView):
    """Any other path below /v1."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> NoReturn:
        raise NotFound(f"There is nothing at {request.method} {request.path}.", "unknown_url")


def _describe(model: OfferedModel) -> dict[str, Any]:
    return {"id": model.id, "object": "model", "created": model.created, "owned_by": "footnote"}


def _base64(vector: np.ndarray) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()
