"""What `make bench` compares with: the script that one writes in an afternoon from LangChain's own parts.

Files by extension through langchain-community's loaders, RecursiveCharacterTextSplitter(1000, 200), vectors in batches
as they come, Chroma, the four nearest chunks into the prompt, the model asked without a look at the result. The
embedding model and its runtime are Footnote's own, so that ratios tell of what is around them; sentence-transformers
embeds where it is installed, as in such a script. evals/plain_app.py serves it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_core.documents import Document
    from langchain_core.messages import BaseMessage

    from vectorstore.embeddings import Embedder

Embed = Callable[[list[str]], Any]

NEAREST = 4
BATCH = 32
PROMPT = "Use the following pieces of context to answer the question.\n\n{context}\n\nQuestion: {question}"


class Baseline:
    """Ingests a folder, finds, answers."""

    def __init__(self, embedder: Embedder, data_dir: Path, embed: Embed | None = None) -> None:
        import chromadb

        self.embedder = embedder
        self.embed = embed or embedder.embed_documents
        self.collection: Any = chromadb.PersistentClient(str(data_dir)).get_or_create_collection("baseline")

    def ingest(self, folder: Path) -> int:
        """Every file below `folder` that its loaders know; returns the number of chunks."""
        from langchain_text_splitters import RecursiveCharacterTextSplitter

        documents = [document for path in sorted(folder.rglob("*")) for document in _load(path)]
        chunks = RecursiveCharacterTextSplitter(chunk_size=1000, chunk_overlap=200).split_documents(documents)
        for start in range(0, len(chunks), BATCH):
            texts = [chunk.page_content for chunk in chunks[start : start + BATCH]]
            self.collection.add(
                ids=[str(start + i) for i in range(len(texts))],
                embeddings=self.embed(texts),
                documents=texts,
            )
        return len(chunks)

    def search(self, question: str, k: int = NEAREST) -> list[str]:
        """The texts of the nearest chunks."""
        found = self.collection.query(query_embeddings=self.embed([question]), n_results=k)
        texts: list[str] = found["documents"][0]
        return texts

    def prompt(self, question: str, passages: list[str]) -> list[BaseMessage]:
        """The messages that ask a model."""
        from langchain_core.messages import HumanMessage

        return [HumanMessage(PROMPT.format(context="\n\n".join(passages), question=question))]


def sentence_transformers() -> Embed | None:
    """The bundled weights run by sentence-transformers; None where that is not installed."""
    if importlib.util.find_spec("sentence_transformers") is None:
        return None
    from sentence_transformers import SentenceTransformer

    from vectorstore.embeddings import tokenizer_path

    model = SentenceTransformer(str(tokenizer_path().parent), device="cpu")
    return lambda texts: model.encode(texts).tolist()


def _load(path: Path) -> Iterator[Document]:
    from langchain_community.document_loaders import CSVLoader, PyPDFLoader, TextLoader

    match path.suffix.lower():
        case ".pdf":
            yield from PyPDFLoader(str(path)).lazy_load()
        case ".md" | ".txt":
            yield from TextLoader(str(path), encoding="utf-8").lazy_load()
        case ".csv":
            yield from CSVLoader(str(path), encoding="utf-8").lazy_load()
