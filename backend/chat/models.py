"""What was asked and what was answered. A citation keeps its quote, so it survives its source."""

from __future__ import annotations

from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Case, Exists, F, OuterRef, Value, When
from django.utils import timezone
from uuid_utils.compat import uuid7

from backend.knowledge.models import Source, SourceState


class Conversation(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="conversations")
    title = models.CharField(max_length=200)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField()
    # Whose turn it is: the id of the answer that is being written, as long as the time has not come. One at a time.
    answering = models.UUIDField(null=True, editable=False)
    answering_until = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering = ["-updated_at", "-id"]
        indexes = [models.Index(fields=["user", "-updated_at", "-id"], name="conversations_of_a_user")]

    def __str__(self) -> str:
        return f"conversation {self.pk}"  # its title is how the first question begins


class Role(models.TextChoices):
    USER = "user"
    ASSISTANT = "assistant"


class Outcome(models.TextChoices):
    GROUNDED = "grounded"  # every claim has a checked citation
    PARTIAL = "partial"  # some claims have one
    ABSTAINED = "abstained"  # the documents do not hold the answer
    UNGROUNDED = "ungrounded"  # general knowledge of the model, no citation


class Message(models.Model):
    """One turn. Ids are time-ordered, so ordering by id is the order in which messages were stored."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    conversation = models.ForeignKey(Conversation, on_delete=models.CASCADE, related_name="messages")
    role = models.CharField(max_length=10, choices=Role.choices)
    content = models.TextField()
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    replaced_at = models.DateTimeField(
        null=True,
        help_text="When the conversation was taken back to before it: by another answer, or another question.",
    )
    # of the user's messages only
    answer_id = models.UUIDField(
        null=True, unique=True, editable=False, help_text="The id that its answer has, or will have."
    )
    options: models.JSONField[dict[str, Any], dict[str, Any]] = models.JSONField(
        default=dict, help_text="With what it was asked: prompt and filter, for asking it again."
    )
    # of the assistant's messages only
    outcome = models.CharField(max_length=12, choices=Outcome.choices, blank=True)
    cut = models.BooleanField(
        default=False, help_text="The client hung up, or the server stopped, before the answer was complete."
    )
    confidence = models.FloatField(
        null=True, help_text="In [0, 1], that what was found holds the answer, before a word was written."
    )
    finish_reason = models.CharField(
        max_length=20, blank=True, help_text="Why the model ended: stop, length (of its answer), content_filter."
    )
    model = models.CharField(max_length=120, blank=True)
    prompt = models.CharField(max_length=120, blank=True)
    retrieved: models.JSONField[list[Any], list[Any]] = models.JSONField(default=list)
    grounding: models.JSONField[dict[str, int], dict[str, int]] = models.JSONField(default=dict)
    latency_ms: models.JSONField[dict[str, float], dict[str, float]] = models.JSONField(default=dict)
    usage: models.JSONField[dict[str, Any], dict[str, Any]] = models.JSONField(default=dict)

    class Meta:
        ordering = ["id"]
        indexes = [
            models.Index(fields=["conversation", "id"], name="messages_of_a_conversation"),
            # Counts and the latest are found in it alone; the rows are large.
            models.Index(fields=["conversation", "replaced_at", "id"], name="messages_shown"),
            models.Index(fields=["created_at"], name="messages_by_time"),
            models.Index(fields=["outcome", "id"], name="messages_by_outcome"),
        ]
        permissions = [("view_content", "Can read what users and assistant wrote")]

    def __str__(self) -> str:
        return f"{self.role} {self.id}"


class UnansweredManager(models.Manager[Message]):
    def get_queryset(self) -> models.QuerySet[Message]:
        return super().get_queryset().filter(outcome=Outcome.ABSTAINED)


class Unanswered(Message):
    """An answer that declined: what the documents lack."""

    objects: ClassVar[Any] = UnansweredManager()

    class Meta:
        proxy = True
        ordering = ["-id"]
        verbose_name = "unanswered question"


class CitedSource(models.TextChoices):
    """What became of the file that a citation quotes, as of the last sync."""

    CURRENT = "current"  # the cited version answers
    CHANGED = "changed"  # the file has other content, perhaps such as cannot be read
    REMOVED = "removed"  # the file is gone


class CitationQuerySet(models.QuerySet["Citation"]):
    def with_source_state(self) -> CitationQuerySet:
        """Each with `source_state`. A file that moved is the same one; where no version is kept, the path tells."""
        at_its_path = Source.objects.filter(path=OuterRef("source")).exclude(state=SourceState.REMOVED)
        answers_there = at_its_path.filter(current_version__digest=OuterRef("source_version"))
        return self.annotate(
            source_state=Case(
                When(version__source__current_version__digest=F("source_version"), then=Value(CitedSource.CURRENT)),
                When(version__source__state=SourceState.REMOVED, then=Value(CitedSource.REMOVED)),
                When(version__isnull=False, then=Value(CitedSource.CHANGED)),
                When(Exists(answers_there), then=Value(CitedSource.CURRENT)),
                When(Exists(at_its_path), then=Value(CitedSource.CHANGED)),
                default=Value(CitedSource.REMOVED),
            )
        )


class Citation(models.Model):
    """A verified quote with its place: `source_version`'s text at [start, end) is `quote`."""

    message = models.ForeignKey(Message, on_delete=models.CASCADE, related_name="citations")
    n = models.IntegerField(help_text="The number that stands in brackets in the answer.")
    version = models.ForeignKey(
        "knowledge.SourceVersion", null=True, on_delete=models.SET_NULL, related_name="citations"
    )
    source = models.CharField(max_length=1024, help_text="Path of the file when it was quoted.")
    source_version = models.CharField(max_length=64, help_text="sha256 of the file when it was quoted.")
    page = models.IntegerField(null=True)
    heading: models.JSONField[list[str], list[str]] = models.JSONField(default=list)
    start = models.IntegerField()
    end = models.IntegerField()
    quote = models.TextField()
    score = models.FloatField()

    objects: ClassVar[Any] = CitationQuerySet.as_manager()

    class Meta:
        ordering = ["message", "n"]
        constraints = [models.UniqueConstraint(fields=["message", "n"], name="one_citation_a_number")]

    def __str__(self) -> str:
        return f"[{self.n}] {self.source}"


class Feedback(models.Model):
    """What its reader thought of an answer; given again, it replaces what was given before."""

    message = models.OneToOneField(Message, on_delete=models.CASCADE, related_name="feedback")
    rating = models.SmallIntegerField(choices=[(1, "good"), (-1, "bad")])
    comment = models.TextField(blank=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        verbose_name_plural = "feedback"
        constraints = [models.CheckConstraint(condition=models.Q(rating__in=(1, -1)), name="rating_is_good_or_bad")]

    def __str__(self) -> str:
        return f"{self.rating:+d} for {self.message_id}"


class IdempotencyKey(models.Model):
    """A request that its client may repeat: the second time it is given the answer to the first."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64, help_text="sha256 of what was asked.")
    question = models.ForeignKey(Message, on_delete=models.CASCADE, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "key"], name="one_request_a_key")]

    def __str__(self) -> str:
        return self.key


class DailyUsage(models.Model):
    """What one user asked of one model on one day (UTC). It outlives the messages, and without its name the user."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    day = models.DateField()
    model = models.CharField(max_length=120)
    questions = models.IntegerField(default=0)
    grounded = models.IntegerField(default=0)
    partial = models.IntegerField(default=0)
    abstained = models.IntegerField(default=0)
    ungrounded = models.IntegerField(default=0)
    failed = models.IntegerField(default=0, help_text="Questions whose model did not answer.")
    input_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)
    cost = models.DecimalField(max_digits=14, decimal_places=8, default=0, help_text="In the price table's currency.")
    unpriced = models.IntegerField(default=0, help_text="Answers of models whose price is not known.")

    class Meta:
        verbose_name_plural = "daily usage"
        indexes = [models.Index(fields=["day"], name="usage_by_day")]
        constraints = [models.UniqueConstraint(fields=["user", "day", "model"], name="one_usage_a_user_day_and_model")]

    def __str__(self) -> str:
        return f"{self.day} {self.model}"
