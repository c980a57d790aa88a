"""`manage.py backup`: the instance as one file, also beside a running server."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from backend.backups.errors import BackupError
from backend.backups.making import make_backup


class Command(BaseCommand):
    help = "Write database, documents and calibration into one file, while the server serves."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--output", type=Path, metavar="FILE", help="default: one in DATA_DIR/backups, named by the time"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            made = make_backup(options["output"] and options["output"].absolute())
        except BackupError as error:
            raise CommandError(str(error)) from None
        for path, reason in made.left_out.items():
            self.stderr.write(f"left out: {path}: {reason}")
        self.stdout.write(f"{made.path}: {made.size / 1e6:,.1f} MB, {made.documents} documents")
