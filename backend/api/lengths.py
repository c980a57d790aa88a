"""A body without a length is refused: Django would pass over it in silence."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse, JsonResponse

from backend.api.errors import body


class LengthRequired:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.META.get("HTTP_TRANSFER_ENCODING") and not request.META.get("CONTENT_LENGTH"):
            message = "Bodies in chunks are not read. Send the length of the body (Content-Length)."
            return JsonResponse(body("length_required", message), status=400)
        return self.get_response(request)
