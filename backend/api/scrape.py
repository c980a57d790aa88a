"""GET /metrics, for Prometheus: with METRICS_TOKEN as a bearer token where that is set, otherwise on this machine."""

from __future__ import annotations

import ipaddress
from secrets import compare_digest

from django.conf import settings
from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from rest_framework.authentication import get_authorization_header
from rest_framework.exceptions import NotAuthenticated, PermissionDenied
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.views import APIView

from backend.api.addresses import FORWARDED_ONCE
from backend.api.metrics import scraped
from backend.api.schema import errors

# A proxy on this machine sends everybody's requests from it, and says so in one of these.
FORWARDED = (FORWARDED_ONCE, "HTTP_FORWARDED", "HTTP_X_REAL_IP", "HTTP_VIA")


class Metrics(APIView):
    authentication_classes = ()
    permission_classes = (AllowAny,)

    @extend_schema(tags=["operations"], auth=[], responses={(200, "text/plain"): OpenApiTypes.STR, **errors(401, 403)})
    def get(self, request: Request) -> HttpResponse:
        """For Prometheus, as text. With METRICS_TOKEN as a bearer token; where none is set, from this machine alone."""
        _require_reader(request)
        return HttpResponse(generate_latest(scraped), content_type=CONTENT_TYPE_PLAIN_0_0_4)

    def get_authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="metrics"'


def _require_reader(request: Request) -> None:
    token = settings.ENV.metrics_token
    if token:
        kind, _, given = get_authorization_header(request).partition(b" ")
        if kind.lower() != b"bearer" or not compare_digest(given.strip(), token.encode()):
            raise NotAuthenticated("METRICS_TOKEN is wanted as a bearer token.")
        return
    if any(request.META.get(name) for name in FORWARDED) or not _is_this_machine(request.META.get("REMOTE_ADDR", "")):
        raise PermissionDenied("Metrics are read on this machine alone, unless METRICS_TOKEN is set.")


def _is_this_machine(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
