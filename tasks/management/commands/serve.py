"""`manage.py serve`: migrate, then serve with the scheduler and the folder's follower inside."""

import signal
import threading
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connections
from django.db.backends.postgresql.base import DatabaseWrapper

from backend.knowledge.index import is_owned
from backend.knowledge.models import Source
from tasks.ports import why_taken


class Command(BaseCommand):
    help = "Migrate the database, then serve the API on HOST:PORT; the scheduler and the watcher run inside."

    def handle(self, *args: Any, **options: Any) -> None:
        env = settings.ENV
        self._refuse_if_busy(env.host, env.port)
        told = _remember_ctrl_c()
        call_command("migrate", interactive=False, verbosity=0)
        if not env.knowledge_dir.exists() and not Source.objects.exists():
            env.knowledge_dir.mkdir(parents=True)
        close_for_good()
        from tasks.server import Server

        self.stdout.write(
            f"Footnote serves http://{env.host}:{env.port} (API: /docs, ready when /readyz says so)\n"
            f"Watched folder: {env.knowledge_dir}\nData: {env.data_dir}\n"
            f"Answers: {env.chat_model}. Stop with Ctrl-C."
        )
        if told.is_set():
            raise KeyboardInterrupt
        # An answer that is being written takes a thread; the others are there for everything else.
        Server(env.host, env.port, env.web_threads + env.max_chats, env.web_workers).run()

    def _refuse_if_busy(self, host: str, port: int) -> None:
        """Say in one line what would otherwise be a traceback of a worker that is started again and again."""
        if not settings.ENV.vectors_shared and is_owned():
            raise CommandError(
                f"Another Footnote process is using {settings.ENV.data_dir}. Stop it, or set another DATA_DIR; several "
                "can share one where the vectors are in a server (CHROMA_URL)."
            )
        if why := why_taken(host, port):
            raise CommandError(
                f"{host}:{port} cannot be used ({why}). Set PORT (or HOST) to another, for instance: "
                f"PORT={port + 1} make run"
            )


def _remember_ctrl_c() -> threading.Event:
    """Set on Ctrl-C, which ends the command as ever. The exception alone is lost where it strikes a finaliser."""
    told = threading.Event()

    def interrupt(number: int, frame: Any) -> None:
        told.set()
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, interrupt)
    return told


def close_for_good() -> None:
    """The worker process is forked off: it must not share the connections of this one, and a pool that it inherits has
    lost its threads and never gets another connection.
    """
    database = connections["default"]
    database.close()
    if isinstance(database, DatabaseWrapper):
        database.close_pool()
