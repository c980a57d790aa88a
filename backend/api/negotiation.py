"""A client that accepts something we do not speak gets JSON anyway, errors included."""

from collections.abc import Iterable

from rest_framework.exceptions import NotAcceptable
from rest_framework.negotiation import BaseContentNegotiation, DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request


class JSONAnyway(DefaultContentNegotiation):
    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        available = list(renderers)
        try:
            chosen: tuple[BaseRenderer, str] = super().select_renderer(request, available, format_suffix)
            return chosen
        except NotAcceptable:
            return available[0], available[0].media_type or "application/json"


class OnlyJSON(BaseContentNegotiation):
    """For a view whose `?format=` is a parameter of its own: DRF would look for a renderer of that name."""

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        renderer = next(iter(renderers))
        return renderer, renderer.media_type or "application/json"
