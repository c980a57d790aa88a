"""`manage.py serve`: migrate, then serve with the scheduler and the folder's follower inside."""

import socket
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from filelock import FileLock, Timeout

from backend.knowledge.models import Source


class Command(BaseCommand):
    help = "Migrate the database, then serve the API on HOST:PORT; the scheduler and the watcher run inside."

    def handle(self, *args: Any, **options: Any) -> None:
        env = settings.ENV
        self._refuse_if_busy(env.host, env.port)
        call_command("migrate", interactive=False, verbosity=0)
        if not env.knowledge_dir.exists() and not Source.objects.exists():
            env.knowledge_dir.mkdir(parents=True)
        from tasks.server import Server

        self.stdout.write(
            f"Footnote serves http://{env.host}:{env.port} (API: /docs, ready when /readyz says so)\n"
            f"Watched folder: {env.knowledge_dir}\nData: {env.data_dir}\n"
            f"Answers: {env.chat_model}. Stop with Ctrl-C."
        )
        # An answer that is being written takes a thread; the others are there for everything else.
        Server(env.host, env.port, env.web_threads + env.max_chats).run()

    def _refuse_if_busy(self, host: str, port: int) -> None:
        """Say in one line what would otherwise be a traceback of a worker that is started again and again."""
        lock = FileLock(settings.ENV.data_dir / "index.lock", timeout=0)
        try:
            lock.acquire()
            lock.release()
        except Timeout:
            raise CommandError(
                f"Another Footnote process is using {settings.ENV.data_dir}. Stop it, or set another DATA_DIR."
            ) from None
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                raise CommandError(
                    f"{host}:{port} cannot be used ({error.strerror}). Set PORT (or HOST) to another, for instance: "
                    f"PORT={port + 1} make run"
                ) from None
