"""GET /jobs, GET /jobs/{name}/runs, POST /jobs/{name}/run, and the table of runs in the admin."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from backend.accounts.models import User
from backend.api.errors import Conflict
from backend.audit.models import Action, Event
from backend.jobs import services
from backend.jobs.models import JobRecord, JobRun, RunState, Trigger
from backend.jobs.table import all_jobs
from tests.backend.test_edges import check_error

pytestmark = pytest.mark.django_db


@pytest.fixture
def staff(root: User, client_of: Callable[[User], APIClient]) -> APIClient:
    return client_of(root)


def test_every_job_is_listed_with_its_schedule_and_its_latest_runs(staff: APIClient) -> None:
    for number in range(7):
        JobRun.objects.create(job="expired", state=RunState.DONE, counts={"tokens": number}, trigger=Trigger.COMMAND)
    JobRecord.objects.create(job="expired", last_success_at=timezone.now())
    answer = staff.get("/jobs").json()
    assert set(answer) == {"count", "next", "previous", "results"}
    jobs = {row["name"]: row for row in answer["results"]}
    assert set(jobs) == set(all_jobs())
    expired = jobs["expired"]
    assert (expired["schedule"], expired["enabled"], expired["timeout"]) == ("0 3 * * *", True, 7200.0)
    assert expired["next_run"].endswith("T03:00:00Z")
    assert [run["counts"]["tokens"] for run in expired["last_runs"]] == [6, 5, 4, 3, 2]
    assert expired["last_success_at"] is not None
    assert (expired["failing_since"], expired["last_runs"][0]["requested_by"]) == (None, None)
    assert jobs["reindex"]["schedule"] == "every 30 s"
    assert staff.get("/jobs?page_size=2").json()["next"] is not None


def test_a_job_that_is_switched_off_says_so_and_can_be_asked_for(staff: APIClient, settings: Settings) -> None:
    settings.ENV = settings.ENV.model_copy(
        update={"schedule_tokens": "", "sync_interval": 0, "time_zone": "Asia/Tokyo"}
    )
    jobs = {row["name"]: row for row in staff.get("/jobs").json()["results"]}
    for name in ("expired", "reindex"):
        assert (jobs[name]["enabled"], jobs[name]["schedule"], jobs[name]["next_run"]) == (False, "", None)
    assert jobs["old_conversations"]["next_run"].endswith("T17:00:00Z"), "02:00 in Tokyo"
    assert staff.post("/jobs/expired/run").status_code == 202


def test_a_run_is_asked_for_once(staff: APIClient, root: User) -> None:
    answer = staff.post("/jobs/expired/run")
    assert answer.status_code == 202
    asked = answer.json()
    assert (asked["job"], asked["state"], asked["trigger"], asked["requested_by"]) == (
        "expired",
        "requested",
        "api",
        "root",
    )
    event = Event.objects.get(action=Action.JOB_REQUESTED)
    assert (event.user, event.detail) == (root, {"job": "expired"})
    check_error(staff.post("/jobs/expired/run"), 409, "job_requested")
    JobRun.objects.update(state=RunState.RUNNING)
    check_error(staff.post("/jobs/expired/run"), 409, "job_running")
    assert JobRun.objects.count() == Event.objects.filter(action=Action.JOB_REQUESTED).count() == 1
    assert staff.post("/jobs/reconcile/run").status_code == 202, "another one"
    assert staff.get("/jobs/expired/runs").json()["results"][0]["id"] == asked["id"]


def test_a_run_that_waits_to_be_tried_again_is_tried_now(staff: APIClient) -> None:
    slot = timezone.now() - timedelta(minutes=5)
    waiting = JobRun.objects.create(job="expired", slot=slot, attempt=1, not_before=slot + timedelta(hours=1))
    answer = staff.post("/jobs/expired/run")
    assert (answer.status_code, answer.json()["id"]) == (202, str(waiting.pk))
    waiting.refresh_from_db()
    assert waiting.not_before <= timezone.now()


@pytest.mark.django_db(transaction=True)
def test_requests_at_the_same_moment_are_one(root: User) -> None:
    def ask(_: int) -> bool:
        try:
            services.request_run(all_jobs()["expired"], root)
        except Conflict:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(ask, range(4))) == 1
    assert JobRun.objects.count() == 1


@pytest.mark.parametrize(
    ("method", "path"), [("get", "/jobs"), ("get", "/jobs/expired/runs"), ("post", "/jobs/expired/run")]
)
def test_jobs_are_for_staff(client: APIClient, method: str, path: str) -> None:
    check_error(getattr(client, method)(path), 403, "permission_denied")
    check_error(getattr(APIClient(), method)(path), 401, "not_authenticated")
    assert not JobRun.objects.exists()


@pytest.mark.parametrize("name", ["nothing", "a/b", "%00", "expired%20", "🙂", "x" * 3000])
def test_an_unknown_job_is_a_404(staff: APIClient, name: str) -> None:
    check_error(staff.post(f"/jobs/{name}/run"), 404)
    check_error(staff.get(f"/jobs/{name}/runs"), 404)
    check_error(staff.get("/jobs/expired/run"), 405)


def test_the_number_of_queries_does_not_grow_with_the_runs(staff: APIClient, root: User) -> None:
    def queries(path: str) -> int:
        with CaptureQueriesContext(connection) as captured:
            assert staff.get(path).status_code == 200
        return len(captured)

    paths = ("/jobs", "/jobs/expired/runs?page_size=200")
    JobRun.objects.create(job="expired", state=RunState.DONE, requested_by=root)
    few = [queries(path) for path in paths]
    for _ in range(30):
        JobRun.objects.create(job="expired", state=RunState.DONE, requested_by=root)
    assert [queries(path) for path in paths] == few


def test_the_admin_shows_runs_and_lets_nobody_write_them(root: User) -> None:
    run = JobRun.objects.create(job="expired", state=RunState.FAILED, error="the disk is full")
    JobRecord.objects.create(job="expired", failed=1)
    browser = Client()
    browser.force_login(User.objects.get(username="root"))
    page = browser.get("/admin/jobs/jobrun/?state=failed")
    assert page.status_code == 200
    assert "the disk is full" in page.content.decode()
    assert browser.get(f"/admin/jobs/jobrun/{run.pk}/change/").status_code == 200
    assert browser.get("/admin/jobs/jobrecord/").status_code == 200
    assert browser.get("/admin/jobs/jobrun/add/").status_code == 403
    assert browser.post(f"/admin/jobs/jobrun/{run.pk}/delete/", {"post": "yes"}).status_code == 403
    assert JobRun.objects.exists()
