"""python -m evals.plain_app FOLDER HOME PORT: what evals/baseline.py does, served the way such a script is, by FastAPI.

ChatOpenAI's `stream` and `invoke`, plain functions in FastAPI's threads, messages in SQLite with the passages they were
made from. No accounts, no checks of what the model says. In one thing it is better than most: it may use as many
threads as there are streams, where FastAPI's default is 40.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio.to_thread
import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

from evals.baseline import NEAREST, Baseline, sentence_transformers
from vectorstore.embeddings import load_embeddings

THREADS = 600
TABLE = """CREATE TABLE IF NOT EXISTS message (
    id INTEGER PRIMARY KEY, conversation TEXT, role TEXT, content TEXT, sources TEXT,
    created_at TEXT DEFAULT CURRENT_TIMESTAMP
)"""
INDEX = "CREATE INDEX IF NOT EXISTS message_conversation ON message (conversation, id)"


class Question(BaseModel):
    message: str
    conversation_id: str | None = None
    stream: bool = False


class Wanted(BaseModel):
    q: str
    k: int = NEAREST


def make_app(folder: Path, home: Path) -> FastAPI:
    """Reads the folder, unless it did before."""
    baseline = Baseline(load_embeddings("minilm", home), home / "chroma", sentence_transformers())
    if not baseline.collection.count():
        baseline.ingest(folder)
    messages = _Messages(home / "messages.sqlite3")
    model = ChatOpenAI(model="bench", stream_usage=True)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
        yield

    app = FastAPI(lifespan=lifespan)

    @app.get("/readyz")
    def ready() -> dict[str, bool]:
        return {"ready": True}

    @app.post("/search")
    def search(wanted: Wanted) -> dict[str, Any]:
        return {"results": [{"text": text} for text in baseline.search(wanted.q, wanted.k)]}

    @app.get("/history")
    def history(conversation_id: str) -> dict[str, Any]:
        return {"messages": messages.of(conversation_id)}

    @app.post("/chat", response_model=None)
    def chat(question: Question) -> dict[str, Any] | StreamingResponse:
        conversation = question.conversation_id or str(uuid.uuid4())
        messages.add(conversation, "user", question.message, [])
        passages = baseline.search(question.message)
        prompt = baseline.prompt(question.message, passages)

        def done(text: str) -> dict[str, Any]:
            messages.add(conversation, "assistant", text, passages)
            return {"conversation_id": conversation, "answer": text, "sources": passages}

        def events() -> Iterator[str]:
            text = ""
            for chunk in model.stream(prompt):
                if chunk.text:
                    text += chunk.text
                    yield f"event: token\ndata: {json.dumps({'text': chunk.text})}\n\n"
            yield f"event: done\ndata: {json.dumps(done(text))}\n\n"

        if question.stream:
            return StreamingResponse(events(), media_type="text/event-stream")
        return done(model.invoke(prompt).text)

    return app


class _Messages:
    def __init__(self, path: Path) -> None:
        self.path = path
        with self._connected() as database:
            database.execute(TABLE)
            database.execute(INDEX)

    def add(self, conversation: str, role: str, content: str, sources: list[str]) -> None:
        with self._connected() as database:
            database.execute(
                "INSERT INTO message (conversation, role, content, sources) VALUES (?, ?, ?, ?)",
                (conversation, role, content, json.dumps(sources)),
            )

    def of(self, conversation: str) -> list[dict[str, Any]]:
        with self._connected() as database:
            rows = database.execute(
                "SELECT id, role, content, sources, created_at FROM message WHERE conversation = ? ORDER BY id",
                (conversation,),
            ).fetchall()
        names = ("id", "role", "content", "sources", "created_at")
        return [{**dict(zip(names, row, strict=True)), "sources": json.loads(row[3])} for row in rows]

    @contextlib.contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        with contextlib.closing(sqlite3.connect(self.path, timeout=20)) as database, database:
            yield database


def main() -> int:
    folder, home, port = sys.argv[1:]
    uvicorn.run(make_app(Path(folder), Path(home)), port=int(port), log_level="warning")
    return 0


if __name__ == "__main__":
    sys.exit(main())
