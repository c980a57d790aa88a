"""A question becomes an Answer. Knows nothing of Django."""
