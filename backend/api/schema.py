"""The OpenAPI schema: how errors appear in it, and what it says of what clients give."""

from __future__ import annotations

import re
from typing import Any

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiResponse
from rest_framework import serializers

from backend.api.given import Given

MEANINGS = {
    400: "The body or a parameter is not right.",
    401: "No valid credentials.",
    403: "Not allowed for this user.",
    404: "It does not exist, or it is not yours.",
    409: "It cannot be done now.",
    413: "The body is too large.",
    415: "The body must be application/json.",
    429: "Too many requests, or the day's budget is spent. Retry-After says when to try again.",
    503: "A part that is needed is down; nothing is lost. Retry-After says when to try again.",
}


class ErrorDetailSerializer(serializers.Serializer[None]):
    code = serializers.CharField()
    message = serializers.CharField()
    fields = serializers.DictField(  # type: ignore[assignment]  # the contract's name, which DRF also uses
        child=serializers.JSONField(), required=False, help_text="For 400 only: what is wrong, by field."
    )


class ErrorSerializer(serializers.Serializer[None]):
    error = ErrorDetailSerializer()


def errors(*statuses: int) -> dict[int, OpenApiResponse]:
    """Error responses for `extend_schema(responses=...)`; a body brings 413 and 415 with its 400."""
    wanted = {*statuses, 413, 415} if 400 in statuses else set(statuses)
    return {status: OpenApiResponse(ErrorSerializer, MEANINGS[status]) for status in sorted(wanted)}


def event(*names: str) -> dict[str, Any]:
    """One server-sent event, as the schema of an event stream: the data are JSON."""
    data = {"type": "string", "contentMediaType": "application/json"}
    if not names:
        return {"type": "object", "properties": {"data": data}, "required": ["data"]}
    named = {"type": "string", "enum": list(names)}
    return {"type": "object", "properties": {"event": named, "data": data}, "required": ["event", "data"]}


class Described(AutoSchema):
    """drf-spectacular's, which leaves out that a text or list must not be empty and that other names are refused, and
    calls an operation by its id where no summary is written.
    """

    def get_summary(self) -> str | None:
        """The first clause of the docstring."""
        text = " ".join((self.get_description() or "").split())
        return re.split(r"[.;:](?:\s|$)", text)[0] or None

    def get_operation(self, *args: Any, **kwargs: Any) -> Any:
        operation = super().get_operation(*args, **kwargs)
        if operation and "requestBody" not in operation:
            for status in ("413", "415"):
                operation["responses"].pop(status, None)
        return operation

    def _insert_field_validators(self, field: Any, schema: Any) -> None:
        super()._insert_field_validators(field, schema)  # type: ignore[no-untyped-call]
        if isinstance(field, serializers.ListField) and not field.allow_empty:
            schema.setdefault("minItems", 1)
        if isinstance(field, serializers.CharField) and isinstance(field.parent, Given) and not field.allow_blank:
            schema.setdefault("minLength", 1)
            if field.trim_whitespace:
                schema.setdefault("pattern", r"\S")

    def _map_basic_serializer(self, serializer: Any, direction: Any) -> Any:
        schema = super()._map_basic_serializer(serializer, direction)  # type: ignore[no-untyped-call]
        if isinstance(serializer, Given):
            if type(serializer).__doc__ is None:  # otherwise it is the base class's
                schema.pop("description", None)
            schema |= serializer.described
            if not serializer.others_are_passed_over:
                schema["additionalProperties"] = False
        return schema
