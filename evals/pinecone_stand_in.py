"""A stand-in for Pinecone on this machine, in a thread: as much of its HTTP API as its client needs for indexes of
dense vectors, written from its public documentation (docs.pinecone.io, API reference).

What is written is seen after `delay` seconds, as Pinecone's consistency is. Search is exact. Nothing is kept.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

PAGE = 100  # ids that are listed at once
MOST_BYTES, MOST_RECORDS, MOST_DELETED, MOST_MATCHES, MOST_IN = 2_000_000, 1_000, 1_000, 10_000, 10_000


class Refused(Exception):
    """An answer with another status than 200."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"code": code, "message": message}, "status": status}


class Index:
    """One index, and what of it may be seen already."""

    def __init__(self, described: dict[str, Any], dimension: int) -> None:
        self.described = described
        self.dimension = dimension
        self.namespaces: dict[str, dict[str, dict[str, Any]]] = {}
        self.waiting: list[tuple[float, str, str, dict[str, Any] | None]] = []

    def write(self, moment: float, namespace: str, record_id: str, record: dict[str, Any] | None) -> None:
        self.waiting.append((moment, namespace, record_id, record))

    def settle(self) -> None:
        now = time.monotonic()
        due = [one for one in self.waiting if one[0] <= now]
        self.waiting = [one for one in self.waiting if one[0] > now]
        for _, namespace, record_id, record in due:
            if record is not None:
                self.namespaces.setdefault(namespace, {})[record_id] = record
            else:
                self.namespaces.get(namespace, {}).pop(record_id, None)


class PineconeStandIn:
    """A running one. api_key: the only one it takes. delay: seconds until a write is seen. failing: it answers 503."""

    api_key = "pc-stand-in"

    def __init__(self) -> None:
        self.delay = 0.0
        self.failing = False
        self.url = ""
        self.indexes: dict[str, Index] = {}
        self._lock = threading.RLock()

    def answer(self, method: str, target: str, key: str | None, body: bytes) -> tuple[int, Any]:
        """Status and JSON."""
        parts = urlsplit(target)
        query = parse_qs(parts.query)
        try:
            if self.failing:
                raise Refused(503, "UNAVAILABLE", "The stand-in was told to fail.")
            if key != self.api_key:
                raise Refused(401, "UNAUTHENTICATED", "Invalid API key")
            if len(body) > MOST_BYTES:
                raise Refused(413, "PAYLOAD_TOO_LARGE", "The request is larger than 2 MB")
            given = json.loads(body) if body else {}
            steps = [unquote(step) for step in parts.path.strip("/").split("/")]
            with self._lock:
                if steps[0] == "indexes":
                    return self._control(method, steps[1:], given)
                if steps[0] != "data" or len(steps) < 3:  # each index has a path here, where Pinecone gives it a host
                    raise Refused(404, "NOT_FOUND", f"No such path: {parts.path}")
                index = self._index(steps[1])
                index.settle()
                return 200, self._data(index, f"{method} {'/'.join(steps[2:])}", given, query)
        except Refused as refused:
            return refused.status, refused.body

    def _index(self, name: str) -> Index:
        if name not in self.indexes:
            raise Refused(404, "NOT_FOUND", f"Resource {name} not found")
        return self.indexes[name]

    def _control(self, method: str, rest: list[str], given: dict[str, Any]) -> tuple[int, Any]:
        if method == "POST" and not rest:
            name = given["name"]
            if name in self.indexes:
                raise Refused(409, "ALREADY_EXISTS", "Resource already exists")
            vector = next(iter(given["schema"]["fields"].values()))
            described = {
                **given,
                "host": f"{self.url}/data/{name}",
                "status": {"ready": True, "state": "Ready"},
                "deletion_protection": "disabled",
            }
            self.indexes[name] = Index(described, vector["dimension"])
            return 201, described
        if method == "GET" and not rest:
            return 200, {"indexes": [index.described for index in self.indexes.values()]}
        index = self._index(rest[0])
        if method == "DELETE":
            del self.indexes[rest[0]]
            return 202, {}
        return 200, index.described

    def _data(self, index: Index, what: str, given: dict[str, Any], query: dict[str, list[str]]) -> Any:
        if what == "POST describe_index_stats":
            counts = {name: {"vectorCount": len(records)} for name, records in index.namespaces.items()}
            total = sum(count["vectorCount"] for count in counts.values())
            return {
                "namespaces": counts,
                "dimension": index.dimension,
                "indexFullness": 0,
                "totalVectorCount": total,
                "metric": "cosine",
                "vectorType": "dense",
            }
        namespace = given.get("namespace") or query.get("namespace", [""])[0]
        seen_from = time.monotonic() + self.delay
        if what == "POST vectors/upsert":
            records = given["vectors"]
            if len(records) > MOST_RECORDS:
                raise Refused(400, "INVALID_ARGUMENT", "More than 1000 records")
            for record in records:
                if len(record["values"]) != index.dimension:
                    raise Refused(
                        400,
                        "INVALID_ARGUMENT",
                        f"Vector dimension {len(record['values'])} does not match the dimension of the index "
                        f"{index.dimension}",
                    )
                index.write(seen_from, namespace, record["id"], record)
            return {"upsertedCount": len(records)}
        if namespace not in index.namespaces:
            raise Refused(404, "NOT_FOUND", "Namespace not found")
        held = index.namespaces[namespace]
        if what == "POST vectors/delete":
            if len(given["ids"]) > MOST_DELETED:
                raise Refused(400, "INVALID_ARGUMENT", "More than 1000 ids")
            for record_id in given["ids"]:
                index.write(seen_from, namespace, record_id, None)
            return {}
        if what == "GET vectors/fetch":
            found = {record_id: held[record_id] for record_id in query["ids"] if record_id in held}
            return {"vectors": found, "namespace": namespace, "usage": {"readUnits": 1}}
        if what == "GET vectors/list":
            start = int(query.get("paginationToken", ["0"])[0])
            ids = sorted(held)
            page = {"vectors": [{"id": one} for one in ids[start : start + PAGE]], "namespace": namespace}
            return page | ({"pagination": {"next": str(start + PAGE)}} if start + PAGE < len(ids) else {})
        if what == "POST query":
            return {"matches": _nearest(held, given), "namespace": namespace, "usage": {"readUnits": 1}}
        raise Refused(404, "NOT_FOUND", f"No such path: {what}")


def _nearest(held: dict[str, dict[str, Any]], given: dict[str, Any]) -> list[dict[str, Any]]:
    if not 1 <= given["topK"] <= MOST_MATCHES:
        raise Refused(400, "INVALID_ARGUMENT", "topK is out of range")
    among = list(held.values())
    for name, condition in (given.get("filter") or {}).items():
        if len(condition["$in"]) > MOST_IN:
            raise Refused(400, "INVALID_ARGUMENT", "More than 10000 values in $in")
        wanted = set(condition["$in"])
        among = [record for record in among if record.get("metadata", {}).get(name) in wanted]
    if not among:
        return []
    stored = np.array([record["values"] for record in among], np.float32)
    asked = np.array(given["vector"], np.float32)
    scores = stored @ asked / np.maximum(np.linalg.norm(stored, axis=1) * np.linalg.norm(asked), 1e-12)
    best = np.argsort(-scores, kind="stable")[: given["topK"]]
    return [{"id": among[i]["id"], "score": float(scores[i])} for i in best]


@contextmanager
def running_pinecone() -> Iterator[PineconeStandIn]:
    """One on a port of its own; ends with the block."""
    stand_in = PineconeStandIn()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, said = stand_in.answer(self.command, self.path, self.headers.get("Api-Key"), body)
            data = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = _serve  # noqa: N815 (http.server's names)

        def log_message(self, *_: Any) -> None:
            """Not to the terminal."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    stand_in.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, name="pinecone", daemon=True)
    thread.start()
    try:
        yield stand_in
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
