"""The outbox: one row is one mail to one address."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils import timezone
from uuid_utils.compat import uuid7


class MailState(models.TextChoices):
    PENDING = "pending"  # to be sent when `not_before` has come
    SENT = "sent"  # a server has accepted it
    DEAD = "dead"  # given up; an operator may requeue it


class Mail(models.Model):
    """A mail. Its Message-ID is made from its id, so a receiver can drop the second copy of one that was sent twice.

    The bodies are emptied when it was sent: they hold links that open accounts.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    kind = models.CharField(max_length=40, help_text="The template: verify_email, reset_password, ...")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.CASCADE, related_name="+", help_text="Whom it is about."
    )
    to = models.EmailField(max_length=254)
    subject = models.CharField(max_length=200)
    text = models.TextField(blank=True)
    html = models.TextField(blank=True)
    state = models.CharField(max_length=7, choices=MailState.choices, default=MailState.PENDING)
    attempts = models.IntegerField(default=0, help_text="How often a server was asked to take it.")
    not_before = models.DateTimeField(default=timezone.now, help_text="When it may be tried, or tried again.")
    trouble_since = models.DateTimeField(
        null=True, help_text="Since when the server, whenever it was asked to take this mail, said that it takes none."
    )
    claimed_until = models.DateTimeField(null=True, help_text="Until then a process that took it may be sending it.")
    error = models.CharField(max_length=500, blank=True, help_text="Why it was not sent the last time.")
    once = models.CharField(
        max_length=100, blank=True, editable=False, help_text="Each address gets one mail at the most of this name."
    )
    created_at = models.DateTimeField(auto_now_add=True)
    sent_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "mails"
        indexes = [models.Index(fields=["state", "not_before"], name="mails_to_be_sent")]
        constraints = [
            models.UniqueConstraint(
                fields=["once", "to"], condition=~models.Q(once=""), name="one_mail_a_name_and_address"
            )
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.id}"
