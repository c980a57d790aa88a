from typing import Any

from django.db import migrations, models


def fill(apps: Any, schema_editor: Any) -> None:
    """What backend.knowledge.models.Source.answer_from writes from now on."""
    rows = apps.get_model("knowledge", "Source").objects.exclude(current_version=None).select_related("current_version")
    for source in rows.defer("current_version__text").iterator(chunk_size=500):
        version = source.current_version
        source.format = version.format
        source.folded_tags = "".join(f"\n{' '.join(tag.split()).casefold()}\n" for tag in version.tags)
        source.folded_language = version.language.casefold().replace("_", "-")
        source.save(update_fields=["format", "folded_tags", "folded_language"])


class Migration(migrations.Migration):
    dependencies = [
        ("knowledge", "0004_embedding_models"),
    ]

    operations = [
        migrations.AddField(
            model_name="source",
            name="folded_language",
            field=models.CharField(blank=True, max_length=120),
        ),
        migrations.AddField(
            model_name="source",
            name="folded_tags",
            field=models.TextField(blank=True, help_text="Each tag folded, between newlines."),
        ),
        migrations.AddField(
            model_name="source",
            name="format",
            field=models.CharField(blank=True, max_length=20),
        ),
        migrations.RunPython(fill, migrations.RunPython.noop, elidable=True),
    ]
