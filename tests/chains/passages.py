"""Passages as the retriever gives them, over source texts that are kept in a dict."""

from __future__ import annotations

from langchain_core.documents import Document


class Shelf:
    """Source texts by version id, and passages cut from them."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    def passage(self, text: str, *, before: str = "", score: float = 0.8, **place: object) -> Document:
        version = f"v{len(self.texts) + 1}"
        self.texts[version] = before + text
        metadata: dict[str, object] = {
            "chunk_id": version,
            "source": f"{version}.md",
            "source_version": "sha",
            "version_id": version,
            "page": None,
            "heading": [],
            "start": len(before),
            "end": len(before) + len(text),
            "kind": "text",
            "answer_start": None,
            "score": score,
            "similarity": score,
            "lexical": score,
            "embed_text": text,
        }
        return Document(page_content=text, metadata={**metadata, **place})

    def read_span(self, version_id: str, start: int, end: int) -> str | None:
        text = self.texts.get(version_id)
        return None if text is None else text[start:end]
