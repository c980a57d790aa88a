"""Every endpoint there is, read off the URL conf: what is generated from it cannot forget a new one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.contrib.admin import site
from django.urls import URLPattern, URLResolver, get_resolver

METHODS = ("get", "post", "put", "patch", "delete")


@dataclass(frozen=True)
class Endpoint:
    """A path with its parameters' names in braces, and a method that it answers."""

    path: str
    method: str
    view: Any

    def __str__(self) -> str:
        return f"{self.method.upper()} {self.path}"

    @property
    def parameters(self) -> list[str]:
        return [part[1:-1].split(":")[-1] for part in self.path.split("/") if part.startswith("<")]

    def fill(self, values: dict[str, Any]) -> str:
        """The path with values for its parameters; KeyError names one that nobody thought of."""
        return "/".join(
            str(values[part[1:-1].split(":")[-1]]) if part.startswith("<") else part for part in self.path.split("/")
        )


def endpoints() -> list[Endpoint]:
    """All of them, in the order of the URL conf; the admin, which has its own users, is left out."""
    return list(_walk(get_resolver().url_patterns, "/"))


def _walk(patterns: list[Any], before: str) -> Iterator[Endpoint]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            if pattern.namespace != site.name:
                yield from _walk(pattern.url_patterns, before + str(pattern.pattern))
        elif isinstance(pattern, URLPattern):
            view = getattr(pattern.callback, "view_class", None) or getattr(pattern.callback, "cls", None)
            for method in METHODS:
                if view is not None and hasattr(view, method):
                    yield Endpoint(before + str(pattern.pattern), method, view)
