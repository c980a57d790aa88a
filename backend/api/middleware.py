"""Paths need no trailing slash, and one is accepted: it is taken off before routing, so a POST is never redirected.
Answers are not kept by caches on their way.
"""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

KEEPS_ITS_SLASH = ("/admin", "/static")  # Django's own pages


class TrailingSlash:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        path = request.path_info
        if len(path) > 1 and path.endswith("/") and not path.startswith(KEEPS_ITS_SLASH):
            request.path_info = path[:-1]
        return self.get_response(request)


class NotStored:
    """Answers are somebody's own: no cache on the way keeps them, unless the answer says that it may."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        response.headers.setdefault("Cache-Control", "no-store")
        return response
