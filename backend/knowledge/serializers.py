"""What the knowledge endpoints take and give."""

from __future__ import annotations

from rest_framework import serializers

from backend.api.given import Body, Given
from backend.knowledge.models import Chunk, Source, SourceState, SyncRun, SyncState


class MomentField(serializers.DateTimeField):
    default_error_messages = {
        "invalid": "This is not an ISO date (2026-05-01) or date-time (2026-05-01T08:00:00Z; in a URL, + is %2B)."
    }


class SourceFilterSerializer(Given):
    """Which sources to look in. Every condition that is given must be met."""

    source = serializers.CharField(  # type: ignore[assignment]  # the contract's name, which DRF also uses
        max_length=1024, required=False, help_text="Path of a file, or of a folder, below the watched folder."
    )
    tag = serializers.CharField(max_length=100, required=False, help_text="One of the source's tags.")
    language = serializers.CharField(max_length=35, required=False, help_text='"de" takes "de-AT" too.')
    type = serializers.RegexField(
        r"^\.?[A-Za-z0-9]+\Z",
        max_length=20,
        required=False,
        help_text="The source's format (pdf, markdown, faq, ...), or the extension of its name (md, csv, ...).",
        error_messages={"invalid": "This is neither a format nor the extension of a file: letters and digits only."},
    )
    after = MomentField(
        required=False,
        help_text="Files modified at this moment or later. A date alone is its beginning; without a zone it is UTC.",
    )
    before = MomentField(required=False, help_text="Files modified earlier than this moment, which is left out itself.")


class SearchRequestSerializer(SourceFilterSerializer):
    q = serializers.CharField(max_length=8_000)
    k = serializers.IntegerField(min_value=1, max_value=50, default=10)


class SearchResultSerializer(serializers.Serializer[None]):
    source = serializers.CharField()  # type: ignore[assignment]
    page = serializers.IntegerField(allow_null=True)
    heading = serializers.ListField(child=serializers.CharField())
    text = serializers.CharField()
    score = serializers.FloatField(help_text="In [0, 1], comparable between questions.")
    chunk_id = serializers.CharField()


class SearchResponseSerializer(serializers.Serializer[None]):
    count = serializers.IntegerField()
    results = SearchResultSerializer(many=True)


class SourceSerializer(serializers.ModelSerializer[Source]):
    state = serializers.ChoiceField(choices=SourceState.choices)
    error = serializers.CharField(allow_blank=True)
    format = serializers.CharField(source="current_version.format", default=None, allow_null=True)
    title = serializers.CharField(source="current_version.title", default=None, allow_null=True)
    chunks = serializers.IntegerField(source="current_version.chunk_count", default=0)
    pages = serializers.IntegerField(source="current_version.pages", default=None, allow_null=True)
    version = serializers.CharField(
        source="current_version.digest",
        default=None,
        allow_null=True,
        help_text="sha256 of the content that answers now; null when nothing does.",
    )
    tags = serializers.ListField(source="current_version.tags", child=serializers.CharField(), default=list)
    language = serializers.CharField(source="current_version.language", default="", allow_blank=True)
    warnings = serializers.ListField(
        source="current_version.warnings", child=serializers.CharField(), default=list, help_text="What was left out."
    )

    class Meta:
        model = Source
        fields = [
            "id",
            "path",
            "state",
            "error",
            "format",
            "title",
            "chunks",
            "pages",
            "tags",
            "language",
            "version",
            "size",
            "warnings",
            "indexed_at",
        ]
        read_only_fields = fields


class UploadSerializer(serializers.Serializer[None]):
    files = serializers.ListField(child=serializers.FileField(allow_empty_file=True), min_length=1)
    folder = serializers.CharField(
        required=False, allow_blank=True, max_length=1024, default="", help_text="Below the watched folder: hr/2026"
    )


class UploadedSerializer(serializers.Serializer[None]):
    count = serializers.IntegerField()
    results = SourceSerializer(many=True)


class ChunkSerializer(serializers.ModelSerializer[Chunk]):
    chunk_id = serializers.CharField(source="id")
    heading = serializers.ListField(child=serializers.CharField())

    class Meta:
        model = Chunk
        fields = ["chunk_id", "position", "page", "heading", "kind", "start", "end", "text"]
        read_only_fields = fields


class SyncRequestSerializer(Body):
    full = serializers.BooleanField(required=False, default=False, help_text="Hash every file.")


class SyncRunSerializer(serializers.ModelSerializer[SyncRun]):
    state = serializers.ChoiceField(choices=SyncState.choices)
    progress = serializers.JSONField()
    report = serializers.JSONField()

    class Meta:
        model = SyncRun
        fields = [
            "id",
            "state",
            "trigger",
            "full",
            "requested_at",
            "started_at",
            "finished_at",
            "progress",
            "report",
            "error",
        ]
        read_only_fields = fields
