"""Forget Idempotency-Keys that are older than a day: nobody repeats a request for longer."""

from datetime import timedelta

from django.utils import timezone

from backend.chat.models import IdempotencyKey

KEPT = timedelta(days=1)


def run() -> None:
    IdempotencyKey.objects.filter(created_at__lt=timezone.now() - KEPT).delete()
