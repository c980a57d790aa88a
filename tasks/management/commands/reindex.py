"""`manage.py reindex`: make what this release and its configuration ask for beside what answers, then switch."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from backend.knowledge import reindex, services
from backend.knowledge.index import IndexBusy, close_index, get_index
from backend.knowledge.models import SyncState, Task
from tasks.management.progress import Bar


class Command(BaseCommand):
    help = (
        "Change over to this release's parser and to EMBEDDING_MODEL: passages and vectors are made beside those that "
        "answer, then one switch."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--forget-kept", action="store_true", help="delete the vectors of models that do not answer"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["forget_kept"]:
            self._forget()
            return
        bar = Bar()
        try:
            run = services.sync_or_request("command", task=Task.REINDEX, on_progress=bar)
        finally:
            bar.close()
            close_index()
        if run.state == SyncState.FAILED:
            raise CommandError(run.error)
        report = run.report
        if report["read"]:
            self.stdout.write(f"{report['read']} files answer as this release reads them.")
        self.stdout.write(f"{settings.ENV.embedding_model} answers; {report['embedded']} passages were embedded.")

    def _forget(self) -> None:
        try:
            names = reindex.forget_kept(get_index())
        except IndexBusy:
            raise CommandError("Stop the server first: it has the index open.") from None
        finally:
            close_index()
        self.stdout.write(f"Forgotten: {', '.join(names)}." if names else "There is nothing to forget.")
