"""GET /jobs, GET /jobs/{name}/runs, POST /jobs/{name}/run. For staff."""

from __future__ import annotations

from typing import Any, cast

from django.db import transaction
from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework.generics import ListAPIView
from rest_framework.permissions import IsAdminUser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from backend.accounts.models import User
from backend.api.given import Body
from backend.api.schema import errors
from backend.audit.models import Action
from backend.audit.services import record
from backend.jobs import selectors, services
from backend.jobs.models import JobRun
from backend.jobs.serializers import JobRunSerializer, JobSerializer
from backend.jobs.table import Job, all_jobs


class Jobs(ListAPIView[Any]):
    permission_classes = (IsAdminUser,)
    serializer_class = JobSerializer

    @extend_schema(tags=["operations"], responses={200: JobSerializer(many=True), **errors(400, 401, 403, 404)})
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Every job that runs by the clock: its schedule, when it is due next, and its latest runs."""
        return super().get(request, *args, **kwargs)

    def get_queryset(self) -> Any:
        if getattr(self, "swagger_fake_view", False):  # the schema is made without a request
            return []
        return selectors.describe_jobs()


class JobRuns(ListAPIView[JobRun]):
    permission_classes = (IsAdminUser,)
    serializer_class = JobRunSerializer

    @extend_schema(tags=["operations"], responses={200: JobRunSerializer(many=True), **errors(400, 401, 403, 404)})
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The runs of a job, the latest first."""
        return super().get(request, *args, **kwargs)

    def get_queryset(self) -> Any:
        if getattr(self, "swagger_fake_view", False):  # the schema is made without a request
            return JobRun.objects.none()
        return selectors.runs_of(_job(self.kwargs["name"]).name)


class RunJob(APIView):
    permission_classes = (IsAdminUser,)

    @extend_schema(
        tags=["operations"], request=None, responses={202: JobRunSerializer, **errors(400, 401, 403, 404, 409)}
    )
    def post(self, request: Request, name: str) -> Response:
        """Ask for a run of a job now, also one that is switched off. The leader begins it within seconds."""
        Body(data=request.data).is_valid(raise_exception=True)  # it takes nothing
        job, user = _job(name), cast(User, request.user)
        with transaction.atomic():
            run = services.request_run(job, user)
            record(Action.JOB_REQUESTED, request, user, job=job.name)
        return Response(JobRunSerializer(run).data, status=202)


def _job(name: str) -> Job:
    job = all_jobs().get(name)
    if job is None:
        raise Http404
    return job
