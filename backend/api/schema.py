"""How errors appear in the OpenAPI schema."""

from drf_spectacular.utils import OpenApiResponse
from rest_framework import serializers

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
