"""The truth about what is indexed. The vector and word indexes are derived from these rows and hold ids only.

A chunk may be answered from exactly when its version is its source's current one (`Chunk.objects.current()`); that one
condition is what makes deletion and replacement exact at the moment of the commit, whatever the indexes still hold.
"""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import models
from django.db.models import F
from uuid_utils.compat import uuid7


def fold(text: str) -> str:
    """As filters compare: case and the width of blanks do not matter."""
    return " ".join(text.split()).casefold()


def fold_language(language: str) -> str:
    """As filters compare: "de_AT" is "de-at"."""
    return fold(language).replace("_", "-")


class SourceState(models.TextChoices):
    PENDING = "pending"  # seen on disk, not indexed yet; an earlier version may still answer
    INDEXED = "indexed"
    FAILED = "failed"  # this content cannot be read, so nothing answers; what only lacks permission keeps answering
    REMOVED = "removed"  # gone from the folder; nothing answers from it


class Source(models.Model):
    """A file in the watched folder, by its relative path."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    path = models.CharField(max_length=1024, unique=True)
    state = models.CharField(max_length=10, choices=SourceState.choices, default=SourceState.PENDING, db_index=True)
    error = models.TextField(blank=True, help_text="Why the present content is not indexed, for the file's owner.")
    size = models.BigIntegerField(default=0, help_text="Bytes, as last seen.")
    mtime_ns = models.BigIntegerField(default=0, help_text="Modification time in nanoseconds, as last seen.")
    inode = models.BigIntegerField(default=0, help_text="Its lower 63 bits, as last seen.")
    digest = models.CharField(max_length=64, blank=True, db_index=True, help_text="sha256 of the content last read.")
    recipe = models.CharField(max_length=80, blank=True, help_text="Parser version and embedding it was read with.")
    dirty = models.BooleanField(
        default=False, help_text="A write to the indexes was begun for it and not confirmed to be complete."
    )
    current_version = models.ForeignKey(
        "SourceVersion", null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    # What filters look at of the version that answers: a version's own row would be read past its whole text.
    format = models.CharField(max_length=20, blank=True)
    folded_tags = models.TextField(blank=True, help_text="Each tag folded, between newlines.")
    folded_language = models.CharField(max_length=120, blank=True)
    seen_at = models.DateTimeField(auto_now_add=True)
    indexed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["path"]

    def __str__(self) -> str:
        return self.path

    def answer_from(self, version: SourceVersion) -> None:
        """Make this the current version; the row is not saved yet."""
        self.current_version = version
        self.format = version.format
        self.folded_tags = "".join(f"\n{fold(tag)}\n" for tag in version.tags)
        self.folded_language = fold_language(version.language)


class SourceVersion(models.Model):
    """The content of a source at one hash: the text that offsets of chunks and citations point into."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    source = models.ForeignKey(Source, on_delete=models.CASCADE, related_name="versions")
    digest = models.CharField(max_length=64, help_text="sha256 of the file.")
    recipe = models.CharField(max_length=80)
    format = models.CharField(max_length=20)
    title = models.CharField(max_length=300)
    text = models.TextField()
    pages = models.IntegerField(null=True, blank=True)
    warnings: models.JSONField[list[str], list[str]] = models.JSONField(default=list)
    tags: models.JSONField[list[str], list[str]] = models.JSONField(default=list)
    language = models.CharField(max_length=35, blank=True)
    chunk_count = models.IntegerField(default=0)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-created_at", "-id"]

    def __str__(self) -> str:
        return f"{self.source_id}@{self.digest[:12]}"


class ChunkQuerySet(models.QuerySet["Chunk"]):
    def current(self) -> ChunkQuerySet:
        """Only chunks that may be answered from."""
        return self.filter(version_id=F("source__current_version_id"))


class Chunk(models.Model):
    """A passage: `version.text[start:end]`. Its id is derived from its source and text, so unchanged text keeps it."""

    id = models.CharField(primary_key=True, max_length=32)
    source = models.ForeignKey(Source, on_delete=models.CASCADE, related_name="chunks")
    version = models.ForeignKey(SourceVersion, on_delete=models.CASCADE, related_name="chunks")
    position = models.IntegerField(help_text="Order within the source, from 0.")
    text = models.TextField()
    embed_text = models.TextField()
    embed_key = models.CharField(
        max_length=32, db_index=True, help_text="Hash of embed_text: equal keys share vectors."
    )
    start = models.IntegerField()
    end = models.IntegerField()
    page = models.IntegerField(null=True, blank=True)
    heading: models.JSONField[list[str], list[str]] = models.JSONField(default=list)
    kind = models.CharField(max_length=10)
    answer_start = models.IntegerField(null=True, blank=True)

    objects: ClassVar[Any] = ChunkQuerySet.as_manager()

    class Meta:
        ordering = ["source_id", "position"]

    def __str__(self) -> str:
        return self.id


class SyncState(models.TextChoices):
    REQUESTED = "requested"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class EmbeddingState(models.TextChoices):
    BUILDING = "building"  # its vectors are being made beside those that answer
    ACTIVE = "active"  # questions and passages are compared by it
    KEPT = "kept"  # was active before; going back to it costs only what changed since


class Embedding(models.Model):
    """An embedding model whose vectors are kept, each in a collection of its own: vectors of two are never mixed."""

    fingerprint = models.CharField(max_length=60, unique=True)
    name = models.CharField(max_length=200, help_text="EMBEDDING_MODEL that it was.")
    state = models.CharField(max_length=10, choices=EmbeddingState.choices, default=EmbeddingState.BUILDING)
    created_at = models.DateTimeField(auto_now_add=True)
    active_since = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["state"], condition=models.Q(state="active"), name="one_active_embedding_model"
            )
        ]

    def __str__(self) -> str:
        return f"{self.name}, {self.state}"


class Task(models.TextChoices):
    SYNC = "sync"
    REINDEX = "reindex"  # make the vectors of the configured embedding model, then switch to them
    RECONCILE = "reconcile"  # only compares
    REPAIR = "repair"  # and mends what differs


class SyncRun(models.Model):
    """One comparison of the folder with the catalogue: who asked, how far it is, what it did."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    state = models.CharField(max_length=10, choices=SyncState.choices, default=SyncState.REQUESTED, db_index=True)
    task = models.CharField(max_length=10, choices=Task.choices, default=Task.SYNC)
    trigger = models.CharField(max_length=20)
    full = models.BooleanField(default=False, help_text="Every file is hashed, also where size and time are unchanged.")
    requested_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)
    compared_at = models.DateTimeField(
        null=True, blank=True, help_text="From then on answers could be given from what was indexed."
    )
    finished_at = models.DateTimeField(null=True, blank=True)
    progress: models.JSONField[dict[str, Any], dict[str, Any]] = models.JSONField(default=dict)
    report: models.JSONField[dict[str, Any], dict[str, Any]] = models.JSONField(default=dict)
    error = models.TextField(blank=True)
    folder = models.CharField(max_length=64, blank=True, help_text="Device and inode of the folder it compared.")

    class Meta:
        ordering = ["-requested_at", "-id"]

    def __str__(self) -> str:
        return f"{self.trigger} sync, {self.state}"


class IndexOwner(models.Model):
    """The one row tells which process follows the folder and writes an index that several read, as it said itself. What
    makes it the only one is its lock.
    """

    id = models.SmallIntegerField(primary_key=True, default=1)
    name = models.CharField(max_length=120)
    since = models.DateTimeField()
    seen_at = models.DateTimeField()

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="one_index_owner")]

    def __str__(self) -> str:
        return self.name
