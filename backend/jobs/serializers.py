"""What the endpoints of jobs give."""

from __future__ import annotations

from rest_framework import serializers

from backend.jobs.models import JobRun, RunState, Trigger


class JobRunSerializer(serializers.ModelSerializer[JobRun]):
    state = serializers.ChoiceField(choices=RunState.choices)
    trigger = serializers.ChoiceField(choices=Trigger.choices)
    requested_by = serializers.CharField(
        source="requested_by.username", default=None, allow_null=True, help_text="The name of whoever asked for it."
    )
    counts = serializers.DictField(help_text="What it did, by the job's own words; `slots` of a missed one.")

    class Meta:
        model = JobRun
        fields = [
            "id",
            "job",
            "state",
            "trigger",
            "slot",
            "requested_by",
            "requested_at",
            "not_before",
            "started_at",
            "ended_at",
            "attempt",
            "counts",
            "error",
            "runner",
        ]
        read_only_fields = fields


class JobSerializer(serializers.Serializer[None]):
    name = serializers.CharField()
    does = serializers.CharField()
    enabled = serializers.BooleanField(help_text="False when its schedule is set to nothing.")
    schedule = serializers.CharField(help_text="A cron expression in TIME_ZONE, or `every 30 s`.")
    next_run = serializers.DateTimeField(allow_null=True)
    timeout = serializers.FloatField(help_text="Seconds after which a run is given up.")
    failing_since = serializers.DateTimeField(allow_null=True)
    last_success_at = serializers.DateTimeField(allow_null=True)
    last_runs = JobRunSerializer(many=True)
