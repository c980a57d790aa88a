"""`manage.py reconcile`: do disk, catalogue and both indexes agree? Exit 1 when they differ and were not repaired."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from backend.knowledge import services
from backend.knowledge.index import close_index
from backend.knowledge.models import SyncState, Task

MEANING = {
    "not_indexed": "files that are not indexed as they are",
    "not_on_disk": "sources whose file is gone",
    "damaged_rows": "sources whose passages are not what was read from them",
    "words_missing": "passages that the word index lacks",
    "words_extra": "entries of the word index without a passage",
    "vectors_missing": "passages that the vector index lacks",
    "vectors_extra": "vectors without a passage",
    "vectors_wrong": "vectors that are not those of their passage",
}


class Command(BaseCommand):
    help = "Compare disk, catalogue, word index and vector index; --repair makes them agree."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--repair", action="store_true", help="mend what differs")
        parser.add_argument("--full", action="store_true", help="compute every vector again, not a sample")
        parser.add_argument("--json", action="store_true", help="print the report as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        task = Task.REPAIR if options["repair"] else Task.RECONCILE
        try:
            run = services.sync_or_request("command", full=options["full"], task=task)
        finally:
            close_index()
        if run.state == SyncState.FAILED:
            raise CommandError(run.error)
        report = run.report
        if options["json"]:
            self.stdout.write(json.dumps(report, indent=2))
        else:
            self._tell(report)
        left = report.get("left", report["differences"])
        if any(left[name] for name in MEANING):
            raise SystemExit(1)

    def _tell(self, report: dict[str, Any]) -> None:
        found = report["differences"]
        for name, meaning in MEANING.items():
            if found[name]:
                names = found["names"][name]
                more = f" and {found[name] - len(names)} more" if found[name] > len(names) else ""
                self.stdout.write(f"{found[name]} {meaning}: {', '.join(names)}{more}")
        if not any(found[name] for name in MEANING):
            self.stdout.write("Disk, catalogue, word index and vector index agree.")
        elif report["repaired"]:
            self.stdout.write("All of it was repaired.")
        elif "left" in report:
            left = ", ".join(f"{report['left'][name]} {name}" for name in MEANING if report["left"][name])
            self.stdout.write(f"Not all of it could be repaired: {left}.")
