"""Celery, for TASKS=celery: `manage.py run_worker ingestion` and `run_worker mail`.

A message names a row of the database, and says no more: the row tells what is to be done, a worker takes it by a
conditional update, and one that nobody has begun is sent again. So a message that is lost costs seconds, and one that
comes twice does nothing. The functions are those that one process calls without Celery.
"""

from __future__ import annotations

import logging
import os
import threading
from typing import Any
from uuid import UUID

from celery import Celery
from celery.signals import worker_process_init, worker_process_shutdown
from kombu.exceptions import OperationalError

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "backend.settings")

logger = logging.getLogger(__name__)

INGESTION, MAIL = "ingestion", "mail"
SEND_AGAIN_SECONDS = 30.0
CONNECT_SECONDS = 4

app = Celery("footnote")  # with DJANGO_SETTINGS_MODULE set it opens and closes Django and its database around tasks


@worker_process_init.connect  # type: ignore[untyped-decorator]
def _begin(**_: Any) -> None:
    from backend.api import tracing

    tracing.start()


@worker_process_shutdown.connect  # type: ignore[untyped-decorator]
def _end(**_: Any) -> None:
    from backend.api import tracing

    tracing.stop()


def configured() -> Celery:
    """The application with the broker of the settings."""
    from django.conf import settings

    app.conf.update(
        broker_url=settings.CELERY_BROKER,
        broker_connection_timeout=CONNECT_SECONDS,
        broker_connection_retry_on_startup=True,
        broker_transport_options={"socket_connect_timeout": CONNECT_SECONDS, "socket_timeout": 30},
        task_ignore_result=True,
        task_default_queue=MAIL,
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        timezone="UTC",
    )
    return app


def send(task: str, queue: str, pk: UUID) -> bool:
    """Whether the broker has taken it."""
    try:
        configured().send_task(f"footnote.{task}", [str(pk)], queue=queue, retry=False)
    except (OperationalError, OSError) as error:
        logger.error("the broker does not answer, it is tried again: %s", " ".join(str(error).split()))
        return False
    return True


@app.task(name="footnote.sync")  # type: ignore[untyped-decorator]
def sync(pk: str) -> None:
    """Carry out a request of knowledge.services, in the process that owns the index by now or from now on."""
    from backend.knowledge import services
    from backend.knowledge.index import IndexBusy, get_index, is_open
    from backend.knowledge.models import SyncRun, SyncState, Task

    first = not is_open()
    try:
        get_index()
    except IndexBusy:
        logger.warning("another process owns the index; this request waits for it")
        return
    if first:
        services.close_interrupted_runs()
    request = SyncRun.objects.filter(pk=pk, state=SyncState.REQUESTED).first()
    if request is not None:
        services.carry_out(request)
        if request.task != Task.REINDEX and services.needs_reindex():
            services.carry_out(services.request_sync("start", task=Task.REINDEX))


@app.task(name="footnote.run")  # type: ignore[untyped-decorator]
def run(pk: str) -> None:
    """Run a job of the table for the leader, unless another worker does."""
    from django.utils import timezone

    from backend.jobs.models import JobRun, RunState
    from backend.jobs.table import all_jobs
    from tasks.errors import JobBusy
    from tasks.runs import run_requested

    request = JobRun.objects.filter(pk=pk, state=RunState.REQUESTED, not_before__lte=timezone.now()).first()
    job = all_jobs().get(request.job) if request else None
    if request is not None and job is not None:
        try:
            run_requested(job, request, threading.Event())
        except JobBusy:
            logger.info("%s is running already", job.name)


def work(queue: str, extra: list[str] | None = None) -> Any:
    """Take messages from a queue until told to stop. The index has one owner, so ingestion has one process."""
    concurrency = 1 if queue == INGESTION else 2
    return configured().worker_main(
        [
            "worker",
            "--queues",
            queue,
            "--concurrency",
            str(concurrency),
            "--hostname",
            f"{queue}@%h",
            "--loglevel",
            "INFO",
        ]
        + (extra or [])
    )
