from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.db.models.signals import pre_delete


class OutboxConfig(AppConfig):
    name = "backend.outbox"

    def ready(self) -> None:
        pre_delete.connect(_erase_mail, sender=settings.AUTH_USER_MODEL)


def _erase_mail(instance: Any, **about: Any) -> None:
    """The rows would go with their user by themselves, but not the files.

    A signal of the rows' own would do it too, and cost every deletion of a mail a look at it first.
    """
    from backend.outbox import services

    services.erase_for(instance)
