"""Erase messages older than HISTORY_RETENTION_DAYS and conversations left empty; in batches, so no lock is long."""

import logging
from datetime import timedelta

from django.conf import settings
from django.utils import timezone

from backend.chat.models import Conversation, Message

logger = logging.getLogger(__name__)

BATCH = 1000


def run() -> None:
    oldest = timezone.now() - timedelta(days=settings.ENV.history_retention_days)
    erased = 0
    while ids := list(Message.objects.filter(created_at__lt=oldest).values_list("pk", flat=True)[:BATCH]):
        Message.objects.filter(pk__in=ids).delete()
        erased += len(ids)
    Conversation.objects.filter(updated_at__lt=oldest, messages=None).delete()
    if erased:
        logger.info("%d messages were older than %s days and are erased", erased, settings.ENV.history_retention_days)
