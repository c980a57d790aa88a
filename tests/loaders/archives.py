"""Zip archives as tests make them."""

from __future__ import annotations

import io
import zipfile


def zip_of(**entries: str) -> bytes:
    """With these files, by name."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return buffer.getvalue()
