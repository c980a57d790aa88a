"""The models on offer: each prompt answers under a name of its own, and the embedding model that is in use."""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings

from backend.knowledge.models import Embedding, EmbeddingState
from backend.openai_api.errors import ModelNotFound
from chains.prompts import FOLDER, prompt_names

DEFAULT = "footnote"  # answers by the configured prompt; `footnote:NAME` by that one


@dataclass(frozen=True, slots=True)
class OfferedModel:
    """created: Unix seconds. prompt: by which it answers; None: it embeds."""

    id: str
    created: int
    prompt: str | None


def list_models() -> list[OfferedModel]:
    """The default first."""
    names = [(DEFAULT, settings.ENV.prompt), *((f"{DEFAULT}:{prompt}", prompt) for prompt in prompt_names())]
    chat = [OfferedModel(name, _written(prompt), prompt) for name, prompt in names]
    return [
        *chat,
        *(
            OfferedModel(embedding.name, int(embedding.active_since.timestamp()) if embedding.active_since else 0, None)
            for embedding in Embedding.objects.filter(state=EmbeddingState.ACTIVE)
        ),
    ]


def get_model(name: str) -> OfferedModel:
    """The model of this name, or ModelNotFound (404)."""
    found = next((model for model in list_models() if model.id == name), None)
    if found is None:
        raise ModelNotFound(name)
    return found


def prompt_of(name: str) -> str:
    """The prompt that this model answers by; ModelNotFound (404) also where it is the embedding model."""
    start, separator, prompt = name.partition(":")
    if start == DEFAULT and not separator:
        return str(settings.ENV.prompt)
    if start == DEFAULT and prompt in prompt_names():
        return prompt
    raise ModelNotFound(name)


def _written(prompt: str) -> int:
    return int((FOLDER / f"{prompt}.md").stat().st_mtime)
