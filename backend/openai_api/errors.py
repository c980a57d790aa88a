"""Errors as OpenAI's clients read them: `{"error": {"message", "type", "param", "code"}}`; they raise by the status."""

from __future__ import annotations

from typing import Any

from rest_framework.exceptions import APIException, ErrorDetail, NotFound, ValidationError
from rest_framework.response import Response

from backend.api import errors

TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
CODES = {  # OpenAI's, by what validation calls it
    "required": "missing_required_parameter",
    "unsupported_value": "unsupported_value",
    "context_length_exceeded": "context_length_exceeded",
}


class ModelNotFound(NotFound):
    param = "model"

    def __init__(self, name: str) -> None:
        super().__init__(f"The model {name!r} does not exist. GET /v1/models lists those that do.", "model_not_found")


def unsupported(param: str, why: str) -> ValidationError:
    """A 400 for what OpenAI's API has and this one does not."""
    return ValidationError({param: [ErrorDetail(why, "unsupported_value")]})


def handle(error: Exception, context: dict[str, Any]) -> Response:
    """DRF's exception handler below /v1: the product's own, in another shape."""
    response = errors.handle(error, context)
    response.data = _reshape(response.data["error"], response.status_code, getattr(error, "param", None))
    return response


def describe(error: APIException) -> dict[str, Any]:
    """What went wrong in the middle of a stream."""
    return _reshape(errors.describe(error)["error"], error.status_code)


def body(message: str, code: str, *, status: int, param: str | None = None) -> dict[str, Any]:
    kind = TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _reshape(error: dict[str, Any], status: int, param: str | None = None) -> dict[str, Any]:
    if "fields" in error:
        param, detail = _first(error["fields"])
        code = CODES.get(detail.code or "", "invalid_value")
        return body(f"{param}: {detail}", code, status=status, param=param)
    code = "invalid_api_key" if status == 401 else error["code"]
    return body(error["message"], code, status=status, param=param)


def _first(details: Any, path: str = "") -> tuple[str, ErrorDetail]:
    """The first thing that is wrong, and where: `messages[2].content`."""
    if isinstance(details, dict):
        name, inner = next(iter(details.items()))
        if name == "non_field_errors":
            return _first(inner, path)
        if str(name).isdigit():
            return _first(inner, f"{path}[{name}]")
        return _first(inner, f"{path}.{name}" if path else str(name))
    return (path, details) if isinstance(details, ErrorDetail) else _first(details[0], path)
