"""`manage.py run_job NAME`: run a job here and now. Exit 1 when it fails, or is running already."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from backend.api import tracing
from backend.jobs.models import RunState
from backend.jobs.table import all_jobs
from tasks.errors import JobBusy
from tasks.runs import run_now


class Command(BaseCommand):
    help = "Run a job of the table here and now, also beside a running server; one that runs already is not run twice."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", nargs="?", help="its name; without one, the table is printed")

    def handle(self, *args: Any, **options: Any) -> None:
        jobs = all_jobs()
        if options["name"] is None:
            for job in jobs.values():
                when = job.schedule.text if job.schedule else "switched off"
                self.stdout.write(f"{job.name:<20} {when:<16} {job.does}")
            return
        if options["name"] not in jobs:
            raise CommandError(f"There is no job {options['name']!r}; there are {', '.join(sorted(jobs))}.")
        try:
            with tracing.running("manage.py run_job"):
                run = run_now(jobs[options["name"]])
        except JobBusy as error:
            raise CommandError(str(error)) from None
        counts = json.dumps(run.counts) if run.counts else ""
        if run.state != RunState.DONE:
            raise CommandError(f"{run.job} {RunState(run.state).label.lower()}: {run.error} {counts}".strip())
        self.stdout.write(f"{run.job} done {counts}".strip())
