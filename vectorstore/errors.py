"""What can go wrong with the indexes and the embedding model.

VectorStoreError
├── IndexUnavailable    the vector index does not answer (a server that is down, a full disk)
├── IndexDamaged        the word index cannot be opened; wipe it and fill it again from the database
├── EmbeddingsUnavailable  the model's weights are missing or not the expected ones, or the provider cannot be loaded
└── RerankerUnavailable the configured reranker cannot be loaded
"""


class VectorStoreError(Exception):
    """An index or the embedding model cannot do its work."""


class IndexUnavailable(VectorStoreError):
    """The vector index does not answer."""


class IndexDamaged(VectorStoreError):
    """The word index cannot be opened; wipe it and fill it again from the database."""


class EmbeddingsUnavailable(VectorStoreError):
    """The embedding model cannot be loaded."""


class RerankerUnavailable(VectorStoreError):
    """The configured reranker cannot be loaded."""
