"""GET /metrics: who may read it, and that it is what Prometheus reads."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from backend.jobs import services
from backend.jobs.models import JobRun, Leader, RunState
from backend.jobs.table import all_jobs
from backend.outbox.models import Mail, MailState
from tests.backend.test_edges import check_error

pytestmark = pytest.mark.django_db

TOKEN = "a-token-for-prometheus"


def samples(client: APIClient) -> dict[tuple[str, tuple[str, ...]], float]:
    """Every sample by its name and the values of its labels."""
    answer = client.get("/metrics")
    assert answer.status_code == 200, answer.content
    assert answer["Content-Type"].startswith("text/plain; version=0.0.4")
    families = text_string_to_metric_families(answer.content.decode())
    return {(one.name, tuple(one.labels.values())): one.value for family in families for one in family.samples}


def test_jobs_and_outbox_are_told_from_the_database() -> None:
    job = all_jobs()["expired"]
    before = samples(APIClient())
    assert before["footnote_job_runs_total", ("expired", "done")] == 0
    assert before["footnote_job_last_success_timestamp_seconds", ("expired",)] == 0
    assert before["footnote_leader_known", ()] == before["footnote_leader", ()] == 0
    for hour, state in enumerate((RunState.DONE, RunState.DONE, RunState.FAILED)):
        begun = services.begin_slot(job, timezone.now() - timedelta(days=10 - hour), "here:1")
        assert begun is not None
        services.finish(job, JobRun.objects.get(pk=begun.pk), state)
        JobRun.objects.filter(pk=begun.pk).update(state=state)  # it is not tried again
    services.note_leader("here:1", timezone.now())
    for waiting in (MailState.PENDING, MailState.PENDING, MailState.DEAD):
        Mail.objects.create(kind="a", to="a@example.org", subject="a", state=waiting)
    found = samples(APIClient())
    assert found["footnote_job_runs_total", ("expired", "done")] == 2
    assert found["footnote_job_runs_total", ("expired", "failed")] == 1
    assert found["footnote_job_seconds_total", ("expired",)] > 0
    assert found["footnote_job_last_success_timestamp_seconds", ("expired",)] == pytest.approx(
        timezone.now().timestamp(), abs=60
    )
    assert found["footnote_leader_known", ()] == 1
    assert [found["footnote_outbox_mails", (state,)] for state in MailState.values] == [2, 0, 1]
    assert found["footnote_metrics_read", ("jobs",)] == 1
    assert found["footnote_process_resident_memory_bytes", ()] > 0
    Leader.objects.update(seen_at=timezone.now() - timedelta(minutes=5))
    assert samples(APIClient())["footnote_leader_known", ()] == 0


def test_without_a_token_this_machine_alone_reads() -> None:
    assert APIClient(REMOTE_ADDR="::1").get("/metrics").status_code == 200
    elsewhere: dict[str, Any]
    for elsewhere in ({"REMOTE_ADDR": "192.0.2.1"}, {"REMOTE_ADDR": ""}, {"HTTP_X_FORWARDED_FOR": "127.0.0.1"}):
        check_error(APIClient(enforce_csrf_checks=False, **elsewhere).get("/metrics"), 403, "permission_denied")


def test_a_token_is_the_only_way_where_one_is_set(settings: Settings) -> None:
    settings.ENV = settings.ENV.model_copy(update={"metrics_token": TOKEN})
    assert samples(APIClient(HTTP_AUTHORIZATION=f"Bearer {TOKEN}", REMOTE_ADDR="192.0.2.1"))
    for given in ("", "Bearer", "Bearer ", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer é"):
        answer = APIClient(HTTP_AUTHORIZATION=given).get("/metrics")
        check_error(answer, 401, "not_authenticated")
        assert answer["WWW-Authenticate"].startswith("Bearer")
        assert TOKEN not in answer.content.decode()


def test_a_database_that_is_down_leaves_the_rest() -> None:
    def refuse(*_: object) -> None:
        raise OperationalError("could not connect")

    with connection.execute_wrapper(refuse):
        found = samples(APIClient())
    assert found["footnote_metrics_read", ("jobs",)] == 0
    assert found["footnote_process_resident_memory_bytes", ()] > 0
