"""`manage.py run_worker ingestion` or `mail`: a Celery worker, for TASKS=celery."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from backend.knowledge.index import hold_data_dir


class Command(BaseCommand):
    help = (
        "Take messages from one of Celery's queues: `ingestion` compares the folder and writes the index, `mail` sends."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("queue", choices=["ingestion", "mail"])

    def handle(self, *args: Any, **options: Any) -> None:
        if settings.ENV.tasks != "celery":
            raise CommandError(
                "Set TASKS=celery, CELERY_BROKER_URL and CHROMA_URL (or another shared VECTOR_STORE) first."
            )
        from tasks.worker import work

        hold_data_dir()
        work(options["queue"])
