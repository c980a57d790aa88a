"""Another embedding model: its vectors are made beside those that answer, then one switch.

Until the switch, questions and new passages are compared by the old model, whole and undisturbed. The old vectors are
kept: to set EMBEDDING_MODEL back is the way back, and costs only the passages that changed since.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from backend.knowledge.index import KnowledgeIndex, record_active, switch_index
from backend.knowledge.models import Chunk, Embedding, EmbeddingState
from backend.knowledge.sync import PIECE_CHUNKS, OnProgress, Progress, in_batches, write_vectors

if TYPE_CHECKING:
    from vectorstore.embeddings import Embedder

logger = logging.getLogger(__name__)


def build(
    index: KnowledgeIndex,
    embedder: Embedder,
    name: str,
    on_progress: OnProgress,
    stopping: Callable[[], bool],
) -> int:
    """Make the vectors that the new model lacks, while passages come and go; returns how many. What is made is kept, so
    an interrupted build goes on where it was. EmbeddingsUnavailable, IndexUnavailable.
    """
    if embedder.fingerprint == index.embedder.fingerprint:
        return 0
    Embedding.objects.get_or_create(fingerprint=embedder.fingerprint, defaults={"name": name})
    vectors = index.vectors.sibling(embedder.fingerprint, embedder.dimensions)
    missing = sorted(set(Chunk.objects.values_list("id", flat=True)) - vectors.ids())
    done = 0
    for rows in in_batches(missing, PIECE_CHUNKS):
        if stopping():
            return done
        write_vectors(vectors, embedder, rows)
        done = min(done + PIECE_CHUNKS, len(missing))
        on_progress(Progress("embedding", done, len(missing), done))
    return done


def switch(index: KnowledgeIndex, embedder: Embedder, name: str) -> int:
    """Make the new model's vectors exactly those of the passages, and answer by them from now on; returns how many were
    still made. Nothing else may write to the index meanwhile.
    """
    if embedder.fingerprint == index.embedder.fingerprint:
        return 0
    vectors = index.vectors.sibling(embedder.fingerprint, embedder.dimensions)
    ids, stored = set(Chunk.objects.values_list("id", flat=True)), vectors.ids()
    vectors.delete(sorted(stored - ids))
    missing = sorted(ids - stored)
    for rows in in_batches(missing, PIECE_CHUNKS):
        write_vectors(vectors, embedder, rows)
    vectors.warm_up()
    record_active(name, embedder.fingerprint)
    switch_index(embedder, vectors)
    logger.info("embedding model: %s answers from now on (%d passages)", name, len(ids))
    return len(missing)


def forget_kept(index: KnowledgeIndex) -> list[str]:
    """Delete the vectors of models that do not answer; returns their names. There is no quick way back to them then."""
    names = []
    for row in Embedding.objects.exclude(state=EmbeddingState.ACTIVE):
        index.vectors.drop(row.fingerprint)
        row.delete()
        names.append(row.name)
    return names
