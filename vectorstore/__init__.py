"""Chunks become searchable: embeddings, the vector index, the word index, the retriever. Knows nothing of Django."""
