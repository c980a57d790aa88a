"""GET /healthz: the process lives. GET /readyz: questions can be answered, each part named."""

from __future__ import annotations

from dataclasses import asdict

from drf_spectacular.utils import OpenApiResponse, extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from backend.api.checks import run_checks


class CheckSerializer(serializers.Serializer[None]):
    ok = serializers.BooleanField()
    detail = serializers.CharField()


class ReadinessSerializer(serializers.Serializer[None]):
    ready = serializers.BooleanField()
    checks = serializers.DictField(child=CheckSerializer(), help_text="database, index, model, scheduler")


class Healthz(APIView):
    authentication_classes = ()
    permission_classes = (AllowAny,)

    @extend_schema(tags=["operations"], responses=inline_serializer("Health", {"status": serializers.CharField()}))
    def get(self, request: Request) -> Response:
        """Whether the process is alive."""
        return Response({"status": "ok"})


class Readyz(APIView):
    authentication_classes = ()
    permission_classes = (AllowAny,)

    @extend_schema(
        tags=["operations"],
        responses={200: ReadinessSerializer, 503: OpenApiResponse(ReadinessSerializer, "Something is missing.")},
    )
    def get(self, request: Request) -> Response:
        """Whether questions can be answered: 200, or 503 and what is missing."""
        checks = run_checks()
        ready = all(check.ok for check in checks.values())
        rendered = {name: asdict(check) for name, check in checks.items()}
        return Response({"ready": ready, "checks": rendered}, status=200 if ready else 503)
