"""The counters, where there is no Redis."""

from __future__ import annotations

from django.db import models


class Counter(models.Model):
    """How often something happened since it was first counted; from `expires_at` on it begins anew."""

    key = models.CharField(primary_key=True, max_length=64, help_text="A digest: it names nobody.")
    count = models.BigIntegerField()
    expires_at = models.FloatField(db_index=True, help_text="Seconds since 1970.")

    def __str__(self) -> str:
        return f"{self.key[:8]}: {self.count}"
