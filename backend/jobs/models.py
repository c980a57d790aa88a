"""What ran, what is to run, and who sees to it."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models
from django.utils import timezone
from uuid_utils.compat import uuid7


class RunState(models.TextChoices):
    REQUESTED = "requested"  # to be run when `not_before` has come
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    MISSED = "missed"  # its slot went by; a later one stands for it


class Trigger(models.TextChoices):
    CLOCK = "clock"
    API = "api"
    COMMAND = "command"


class JobRun(models.Model):
    """One run of a job. A slot has one row, whoever makes it; a run that failed and is tried again keeps its row."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    job = models.CharField(max_length=40)
    slot = models.DateTimeField(null=True, help_text="When the clock wanted it; null when somebody asked for it.")
    trigger = models.CharField(max_length=7, choices=Trigger.choices, default=Trigger.CLOCK)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+", help_text="Who asked for it."
    )
    state = models.CharField(max_length=9, choices=RunState.choices, default=RunState.REQUESTED)
    attempt = models.IntegerField(default=0, help_text="How often it was begun.")
    not_before = models.DateTimeField(default=timezone.now, help_text="When it may be begun, or begun again.")
    requested_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    runner = models.CharField(max_length=120, blank=True, help_text="Machine and process that ran it.")
    counts: models.JSONField[dict[str, Any], dict[str, Any]] = models.JSONField(default=dict)
    error = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["job", "-id"], name="runs_of_a_job"),
            models.Index(fields=["state", "not_before"], name="runs_to_be_begun"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["job", "slot"], name="one_run_a_slot"),
            models.UniqueConstraint(
                fields=["job"], condition=models.Q(state="running"), name="one_run_of_a_job_at_a_time"
            ),
            models.UniqueConstraint(
                fields=["job"], condition=models.Q(state="requested", slot=None), name="one_request_of_a_job_at_a_time"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.job}, {self.state}"


class JobRecord(models.Model):
    """Sums over the runs of a job, which outlive their rows, and whether it is failing."""

    job = models.CharField(primary_key=True, max_length=40)
    done = models.BigIntegerField(default=0)
    failed = models.BigIntegerField(default=0)
    timed_out = models.BigIntegerField(default=0)
    missed = models.BigIntegerField(default=0, help_text="Slots that went by.")
    seconds = models.FloatField(default=0, help_text="Of all runs that ended.")
    last_seconds = models.FloatField(null=True)
    last_success_at = models.DateTimeField(null=True)
    failing_since = models.DateTimeField(null=True)
    admins_told = models.BooleanField(default=False, help_text="That it fails: once, until it works again.")

    def __str__(self) -> str:
        return self.job


class Leader(models.Model):
    """The one row tells which process runs the jobs, as it said itself. What makes it the only one is its lock."""

    id = models.SmallIntegerField(primary_key=True, default=1)
    name = models.CharField(max_length=120)
    since = models.DateTimeField()
    seen_at = models.DateTimeField()

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="one_leader")]

    def __str__(self) -> str:
        return self.name
