"""What the three stores hold, in a form that two instances can be compared by: no ids, no times."""

from __future__ import annotations

from collections import Counter

from backend.knowledge.index import KnowledgeIndex
from backend.knowledge.models import Chunk, Source

State = tuple[Counter[tuple[str, str, int]], dict[str, str]]


def state(index: KnowledgeIndex) -> State:
    """(source, text, start) of each current chunk, each source's state; checks that both indexes hold just those, and
    that filters look at what answers.
    """
    rows = list(Chunk.objects.select_related("source"))
    current = set(Chunk.objects.current().values_list("id", flat=True))
    ids = {row.id for row in rows}
    assert ids == current, "rows of old versions are left"
    assert index.vectors.ids() == ids, "the vector index holds other ids than the database"
    assert index.lexical.ids() == ids, "the word index holds other ids than the database"
    assert not Source.objects.filter(dirty=True).exists()
    for source in Source.objects.exclude(current_version=None).select_related("current_version"):
        filtered_by = (source.format, source.folded_tags, source.folded_language)
        assert source.current_version is not None
        source.answer_from(source.current_version)
        assert filtered_by == (source.format, source.folded_tags, source.folded_language)
    chunks = Counter((row.source.path, row.text, row.start) for row in rows)
    return chunks, dict(Source.objects.exclude(state="removed").values_list("path", "state"))
