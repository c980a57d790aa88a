"""`manage.py restore FILE`: let this instance be what a backup says. The server must be stopped."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser

from backend.backups.errors import BackupError
from backend.backups.restoring import check_backup, restore, undo


class Command(BaseCommand):
    help = "Verify a backup, then restore it into an empty instance; nothing is touched before all of it is right."
    requires_system_checks: list[str] = []  # one of them is that no restore was interrupted

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", nargs="?", type=Path, metavar="FILE", help="what `manage.py backup` wrote")
        parser.add_argument("--force", action="store_true", help="replace what this instance holds")
        parser.add_argument("--check", action="store_true", help="only verify the file")
        parser.add_argument("--sync", action="store_true", help="make the indexes now, not at the server's next start")
        parser.add_argument("--undo", action="store_true", help="go back to before a restore that was interrupted")

    def handle(self, *args: Any, **options: Any) -> None:
        if (options["file"] is None) != options["undo"]:
            raise CommandError("Give a FILE, or --undo.")
        try:
            if options["undo"]:
                undo()
                self.stdout.write("The instance is as it was before the restore.")
            elif options["check"]:
                manifest = check_backup(options["file"].absolute())
                self.stdout.write(f"{options['file']} is whole: of {manifest.made_at}, {_held(manifest)}.")
            else:
                self._restore(options["file"].absolute(), force=options["force"])
        except BackupError as error:
            raise CommandError(str(error)) from None
        if options["sync"]:
            call_command("sync")

    def _restore(self, file: Path, *, force: bool) -> None:
        done = restore(file, force=force)
        self.stdout.write(f"Restored as of {done.manifest.made_at}: {_held(done.manifest)}.")
        if done.erased:
            self.stdout.write(f"{done.erased} accounts that were erased since then were erased again.")
        for path, reason in done.manifest.left_out.items():
            self.stdout.write(f"not in the backup: {path}: {reason}")
        if settings.ENV.secret_key:
            self.stdout.write(
                "Sessions that were ended since then are good again until they expire; a new SECRET_KEY ends all."
            )


def _held(manifest: Any) -> str:
    counts = manifest.counts
    held = {"accounts": "accounts_user", "conversations": "chat_conversation", "messages": "chat_message"}
    told = [f"{counts[table]} {name}" for name, table in held.items() if table in counts]
    return ", ".join([*told, f"{len(manifest.documents)} documents"])
