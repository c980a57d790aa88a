"""A file becomes Documents, Documents become Chunks. Knows nothing of Django."""
