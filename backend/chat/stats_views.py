"""GET /stats: the catalogue and the use of it, in numbers."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from backend.api.schema import errors
from backend.chat.serializers import StatsQuerySerializer, StatsSerializer
from backend.chat.stats import chat_stats
from backend.knowledge.selectors import count_catalogue


class Stats(APIView):
    @extend_schema(
        tags=["knowledge"],
        parameters=[StatsQuerySerializer],
        responses={200: StatsSerializer, **errors(400, 401)},
    )
    def get(self, request: Request) -> Response:
        """Sources and passages; questions, outcomes, times, opinions, tokens and cost by day (UTC). No names."""
        form = StatsQuerySerializer(data=request.query_params)
        form.is_valid(raise_exception=True)
        days = form.validated_data["days"]
        return Response({"days": days, "sources": count_catalogue(), **chat_stats(days)})
