"""`manage.py run_scheduler`: the scheduler without a server; where processes share an index, it is to own that."""

import signal
import threading
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from backend.api import tracing
from tasks.locks import process_name
from tasks.runtime import runtime


class Command(BaseCommand):
    help = "Run the jobs by the clock when no other process does; take over when the one that does so ends."

    def handle(self, *args: Any, **options: Any) -> None:
        executor = MigrationExecutor(connection)
        if executor.migration_plan(executor.loader.graph.leaf_nodes()):
            raise CommandError("The database is not up to date: `manage.py migrate`, or start `manage.py serve`.")
        connection.close()
        told = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: told.set())
        tracing.start()
        runtime.start_scheduler()
        self.stdout.write(f"{process_name()} runs the jobs when no other process does. Stop with Ctrl-C.")
        self.stdout.flush()
        while not told.wait(1.0):
            if not runtime.is_alive:
                raise CommandError("The scheduler has ended by itself; the log says why.")
        runtime.stop()
        tracing.stop()
