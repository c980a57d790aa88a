"""`manage.py sync`: one exact sync of the watched folder, here or in the running server."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from backend.api import tracing
from backend.knowledge import services
from backend.knowledge.index import close_index
from backend.knowledge.models import SyncState
from loaders.errors import FolderUnavailable
from tasks.management.progress import Bar

COUNTS = ("added", "changed", "moved", "removed", "unchanged", "failed", "waiting")


class Command(BaseCommand):
    help = "Compare the watched folder with the index and make the index follow."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--full", action="store_true", help="hash every file, also where size and time are the same"
        )
        parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
        parser.add_argument("--json", action="store_true", help="print the report as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["dry_run"]:
            self._preview(as_json=options["json"])
            return
        bar = Bar()
        try:
            with tracing.running("manage.py sync"):
                run = services.sync_or_request("command", full=options["full"], on_progress=bar)
        finally:
            bar.close()
            close_index()
        if run.state == SyncState.FAILED:
            raise CommandError(run.error)
        if options["json"]:
            self.stdout.write(json.dumps(run.report, indent=2))
            return
        report = run.report
        self.stdout.write(", ".join(f"{name} {report[name]}" for name in COUNTS) + f" ({report['seconds']:.1f} s)")
        for path, reason in report["names"]["failed"]:
            self.stdout.write(f"failed: {path}: {reason}")
        if report["outdated"]:
            self.stdout.write(
                f"{report['outdated']} files answer as another release read them; `manage.py reindex` reads them "
                "anew, and so does the server when it starts."
            )

    def _preview(self, *, as_json: bool) -> None:
        try:
            changes = services.preview()
        except FolderUnavailable as error:
            raise CommandError(str(error)) from None
        if as_json:
            self.stdout.write(json.dumps(changes, indent=2))
            return
        for change, paths in changes.items():
            for path in paths:
                self.stdout.write(f"{change}: {path}")
        if not any(changes.values()):
            self.stdout.write("nothing to do")
