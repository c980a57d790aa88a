"""One error shape everywhere: `{"error": {"code", "message", "fields"?}}`.

APIException (DRF)
├── PayloadTooLarge   413
├── Unavailable       503, with Retry-After; nothing is lost
└── Conflict          409
"""

from __future__ import annotations

import logging
import math
import sys
import uuid
from collections.abc import Mapping
from typing import Any, cast

from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import DatabaseError, IntegrityError, OperationalError, transaction
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, UnreadablePostError
from prometheus_client import Counter
from rest_framework import exceptions, status
from rest_framework.response import Response

from backend.api.metrics import registry
from vectorstore import spans

logger = logging.getLogger(__name__)

DATABASE = Counter("footnote_database_errors", "Requests that the database did not answer.", registry=registry)
UNEXPECTED = Counter("footnote_unexpected_errors", "Errors that nobody expected, each logged.", registry=registry)


class PayloadTooLarge(exceptions.APIException):
    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_detail = "The request body is too large."
    default_code = "too_large"


class Conflict(exceptions.APIException):
    status_code = status.HTTP_409_CONFLICT
    default_detail = "This cannot be done now."
    default_code = "conflict"


class Unavailable(exceptions.APIException):
    """A part that the request needs is down. `wait` is the Retry-After in seconds, `headers` are further ones."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_detail = "This is not available right now. Please try again."
    default_code = "unavailable"

    def __init__(
        self,
        detail: str | None = None,
        code: str | None = None,
        wait: float = 5,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail, code)
        self.wait = wait
        self.headers = dict(headers or {})


def body(code: str, message: str, fields: dict[str, Any] | None = None) -> dict[str, Any]:
    """The error object; `fields` maps a field's name to a list of what is wrong with it."""
    error: dict[str, Any] = {"code": code, "message": message}
    if fields:
        error["fields"] = fields
    return {"error": error}


def handle(error: BaseException, context: dict[str, Any]) -> Response:
    """DRF's exception handler: every exception of a view becomes our shape; an unexpected one is logged with an id."""
    from rest_framework.views import set_rollback  # it loads the parsers, which import this module

    set_rollback()
    api_error = _account_gone(error, context) or as_api_exception(error)
    if api_error is None:
        reference = uuid.uuid4().hex[:12]
        logger.error("unexpected error %s", reference, exc_info=error, extra={"reference": reference})
        spans.note({"footnote.reference": reference})
        spans.fail(type(error).__name__)
        UNEXPECTED.inc()
        return Response(
            body("internal", f"Something went wrong on our side. If it happens again, report it as {reference}."),
            status=status.HTTP_500_INTERNAL_SERVER_ERROR,
        )
    headers = {}
    if header := getattr(api_error, "auth_header", None):
        headers["WWW-Authenticate"] = header
    headers |= getattr(api_error, "headers", {})
    if (wait := getattr(api_error, "wait", None)) is not None:
        headers["Retry-After"] = str(math.ceil(wait))
    return Response(describe(api_error), status=api_error.status_code, headers=headers)


def is_deadlock(error: BaseException) -> bool:
    """Whether PostgreSQL ended a transaction because it and another one waited for each other."""
    return getattr(error.__cause__, "sqlstate", None) == "40P01"


def _account_gone(error: BaseException, context: Mapping[str, Any]) -> exceptions.APIException | None:
    """What the database refuses because the account was erased while the request was under way is a 401."""
    request, view = context.get("request"), context.get("view")
    if request is None or view is None or not (isinstance(error, IntegrityError) or is_deadlock(error)):
        return None
    user: Any = getattr(request, "_user", None)  # not `user`, which would authenticate
    if getattr(user, "pk", None) is None:
        return None
    try:
        with transaction.atomic():  # waits for an erasure that is not complete
            there = type(user)._default_manager.select_for_update().filter(pk=user.pk).first()
    except DatabaseError:
        return None
    if there is not None:
        return None
    gone: Any = exceptions.AuthenticationFailed("This account does not exist any more.", "token_not_valid")
    gone.auth_header = view.get_authenticate_header(request)
    return cast(exceptions.APIException, gone)


def describe(error: exceptions.APIException) -> dict[str, Any]:
    """An APIException as the error object."""
    if isinstance(error, exceptions.ValidationError):
        fields = error.detail if isinstance(error.detail, dict) else {"non_field_errors": error.detail}
        return body("invalid", "Some fields are not right.", fields)
    detail = error.detail
    if isinstance(detail, dict):  # simplejwt puts its message into a dict
        return body(str(detail.get("code", error.default_code)), str(detail.get("detail", error.default_detail)))
    return body(str(getattr(detail, "code", error.default_code)), str(detail))


def as_api_exception(error: BaseException) -> exceptions.APIException | None:
    """An exception of a view, or of a stream, as what its client is told; None for one that nobody expected."""
    match error:
        case exceptions.APIException():
            return error
        case Http404():
            return exceptions.NotFound()
        case PermissionDenied():
            return exceptions.PermissionDenied()
        case RequestDataTooBig():
            return PayloadTooLarge()
        case SuspiciousOperation():  # more parameters than anybody needs
            return exceptions.ParseError("This request cannot be understood.", "bad_request")
        case UnreadablePostError():
            return exceptions.ParseError("The body did not arrive.", "incomplete")
        case OperationalError():
            DATABASE.inc()
            logger.error("database: %s", error)
            return Unavailable("The database is not available right now. Please try again.", "database_unavailable")
    return None


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return JsonResponse(body("bad_request", "This request cannot be understood."), status=400)


def forbidden(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return JsonResponse(body("permission_denied", "You may not do this."), status=403)


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return JsonResponse(body("not_found", "There is nothing at this path. The API is described at /docs."), status=404)


def server_error(request: HttpRequest) -> HttpResponse:
    """Outside of DRF's views: in a middleware, in the admin, in a page."""
    answer = handle(sys.exc_info()[1] or RuntimeError("an unknown error"), {})
    headers = {name: value for name, value in answer.headers.items() if name != "Content-Type"}
    return JsonResponse(answer.data, status=answer.status_code, headers=headers)
