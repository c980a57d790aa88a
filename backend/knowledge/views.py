"""GET /search, GET /sources..., GET and POST /sources/sync. Any signed-in user reads, staff start a sync."""

from __future__ import annotations

from typing import Any, cast
from uuid import UUID

from django.http import Http404
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.generics import ListAPIView, RetrieveAPIView
from rest_framework.permissions import BasePermission, IsAdminUser, IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from backend.accounts.models import User
from backend.api.errors import Unavailable
from backend.api.schema import errors
from backend.audit.models import Action
from backend.audit.services import record
from backend.knowledge import selectors, services, uploads
from backend.knowledge.index import IndexBusy, get_index
from backend.knowledge.models import Chunk, Source, SourceState
from backend.knowledge.selectors import SourceFilter
from backend.knowledge.serializers import (
    ChunkSerializer,
    SearchRequestSerializer,
    SearchResponseSerializer,
    SourceSerializer,
    SyncRequestSerializer,
    SyncRunSerializer,
    UploadedSerializer,
    UploadSerializer,
)
from backend.knowledge.uploads import UploadParser
from backend.throttling import throttles
from vectorstore.errors import IndexUnavailable


class Search(APIView):
    throttle_classes = [throttles.Search]

    @extend_schema(
        tags=["knowledge"],
        parameters=[SearchRequestSerializer],
        responses={200: SearchResponseSerializer, **errors(400, 401, 429, 503)},
    )
    def get(self, request: Request) -> Response:
        """Ranked passages with scores; no model is asked."""
        if twice := [name for name, values in request.query_params.lists() if len(values) > 1]:
            raise ValidationError({name: ["Give this once."] for name in twice})
        form = SearchRequestSerializer(data=request.query_params.dict())
        form.is_valid(raise_exception=True)
        filtered = form.validated_data
        query, k = filtered.pop("q"), filtered.pop("k")
        source_ids = selectors.matching_source_ids(SourceFilter(**filtered)) if filtered else None
        try:
            found = selectors.search(get_index(), query, k, source_ids)
        except (IndexBusy, IndexUnavailable) as error:
            raise Unavailable(f"The index is not available: {error}", "index_unavailable") from error
        return Response({"count": len(found), "results": found})


class Sources(ListAPIView[Source]):
    serializer_class = SourceSerializer
    parser_classes = [UploadParser]
    throttle_classes = [throttles.Upload]

    def get_permissions(self) -> list[BasePermission]:
        return [IsAdminUser() if self.request.method == "POST" else IsAuthenticated()]

    @extend_schema(
        tags=["knowledge"],
        parameters=[OpenApiParameter("state", str, enum=SourceState.values)],
        responses={200: SourceSerializer(many=True), **errors(400, 401, 404)},
    )
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Every file that was ever seen in the folder, with its state and, where it failed, the reason."""
        return super().get(request, *args, **kwargs)

    @extend_schema(
        tags=["knowledge"],
        request={"multipart/form-data": UploadSerializer},
        responses={202: UploadedSerializer, **errors(400, 401, 403, 413, 415, 429, 503)},
    )
    def post(self, request: Request) -> Response:
        """Put files into the watched folder, each replacing the one of its name; they are indexed within seconds."""
        form = UploadSerializer(
            data={"files": request.FILES.getlist("files"), "folder": request.POST.get("folder", "")}
        )
        form.is_valid(raise_exception=True)
        rows = uploads.store(form.validated_data["files"], form.validated_data["folder"])
        record(Action.SOURCE_UPLOADED, request, cast(User, request.user), paths=[row.path for row in rows])
        services.request_sync("upload")
        return Response({"count": len(rows), "results": SourceSerializer(rows, many=True).data}, status=202)

    def get_queryset(self) -> Any:
        state = self.request.query_params.get("state")
        if state is not None and state not in SourceState.values:
            raise ValidationError({"state": [f"One of {', '.join(SourceState.values)}."]})
        return selectors.list_sources(state)


class SourceDetail(RetrieveAPIView[Source]):
    serializer_class = SourceSerializer
    lookup_url_kwarg = "source_id"

    def get_permissions(self) -> list[BasePermission]:
        return [IsAdminUser() if self.request.method == "DELETE" else IsAuthenticated()]

    @extend_schema(tags=["knowledge"], responses={200: SourceSerializer, **errors(401, 404)})
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """One source."""
        return super().get(request, *args, **kwargs)

    @extend_schema(tags=["knowledge"], responses={204: None, **errors(401, 403, 404, 409, 503)})
    def delete(self, request: Request, source_id: UUID) -> Response:
        """Delete a source's file from the watched folder; nothing answers from it any more, from now on."""
        source = get_object_or_404(Source.objects.exclude(state=SourceState.REMOVED), pk=source_id)
        uploads.delete(source)
        record(Action.SOURCE_DELETED, request, cast(User, request.user), path=source.path)
        services.request_sync("delete")
        return Response(status=204)

    def get_queryset(self) -> Any:
        return selectors.list_sources()


class SourceChunks(ListAPIView[Chunk]):
    serializer_class = ChunkSerializer

    @extend_schema(tags=["knowledge"], responses={200: ChunkSerializer(many=True), **errors(400, 401, 404)})
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The passages of a source in reading order, as they are searched and quoted."""
        return super().get(request, *args, **kwargs)

    def get_queryset(self) -> Any:
        if getattr(self, "swagger_fake_view", False):  # the schema is made without a request
            return Chunk.objects.none()
        source = get_object_or_404(Source, pk=self.kwargs["source_id"])
        return Chunk.objects.current().filter(source=source).order_by("position")


class SyncView(APIView):
    def get_permissions(self) -> list[BasePermission]:
        return [IsAdminUser() if self.request.method == "POST" else IsAuthenticated()]

    @extend_schema(tags=["knowledge"], responses={200: SyncRunSerializer, **errors(401, 404)})
    def get(self, request: Request) -> Response:
        """The sync that runs or waits, otherwise the last one, with its report."""
        run = selectors.latest_sync()
        if run is None:
            raise Http404
        return Response(SyncRunSerializer(run).data)

    @extend_schema(
        tags=["knowledge"],
        request=SyncRequestSerializer,
        responses={202: SyncRunSerializer, **errors(400, 401, 403)},
    )
    def post(self, request: Request) -> Response:
        """Ask for a comparison of the folder with the index now."""
        form = SyncRequestSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        record(Action.SYNC_REQUESTED, request, cast(User, request.user), full=form.validated_data["full"])
        run = services.request_sync("api", full=form.validated_data["full"])
        return Response(SyncRunSerializer(run).data, status=202)
