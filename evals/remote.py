"""A running server, as a Client: everything over HTTP, as any user of it would.

Quotes are looked up in the passages that GET /sources/{id}/chunks shows: each knows its place in the source's text.
Earlier turns of a conversation are asked again, because a server writes its own answers; what it said then may differ
from the data set's history.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import httpx

from evals.samples import Turn

PASSWORD = "FOOTNOTE_PASSWORD"  # noqa: S105 (the name of a variable)
MOST_WAITS = 3  # on "too many requests"
LONGEST_WAIT = 60.0  # seconds


class ServerRefused(Exception):
    """The server cannot be used for this run; the message says why."""


class ServerError(Exception):
    """The server answered a question with an error."""


@contextmanager
def connected(url: str, username: str | None, prompt: str | None, timeout: float) -> Iterator[RemoteClient]:
    """A client of the server at `url`, signed in: as `username` with the password in FOOTNOTE_PASSWORD, or as a new
    account. Its conversations are erased at the end. ServerRefused says what is in the way.
    """
    with httpx.Client(base_url=url.rstrip("/"), timeout=timeout) as http:
        try:
            client = RemoteClient(http, _account(http, username), prompt)
        except httpx.HTTPError as error:
            raise ServerRefused(f"{url} cannot be reached: {error}.") from error
        except httpx.InvalidURL as error:
            raise ServerRefused(f"{url} is not an address: {error}.") from error
        try:
            yield client
        finally:
            client.erase()


class RemoteClient:
    """See evals.runner.Client. Threads may share it."""

    def __init__(self, http: httpx.Client, account: Mapping[str, str], prompt: str | None) -> None:
        self._http = http
        self._account = account
        self._prompt = prompt
        self._access = ""
        self._lock = threading.Lock()
        self._conversations: list[str] = []
        self._chunks: dict[str, list[dict[str, Any]]] = {}
        self._retrieved: dict[tuple[str, tuple[Turn, ...]], dict[str, Any]] = {}
        self._log_in()
        self.sources = {row["path"]: row for row in self._all("/sources?page_size=200") if row["version"]}

    def files(self) -> dict[str, str]:
        """The SHA-256 of every file that the server answers from, by path, sorted."""
        return {path: self.sources[path]["version"] for path in sorted(self.sources)}

    def ask(self, question: str, history: Sequence[Turn]) -> dict[str, Any]:
        # A follow-up was asked already, to learn what it finds.
        return self._retrieved.pop((question, tuple(history)), None) or self._ask(question, history)

    def search(self, question: str, k: int, history: Sequence[Turn] = ()) -> list[dict[str, Any]]:
        if not history:
            found: list[dict[str, Any]] = self._get("/search", params={"q": question, "k": k})["results"]
            return found
        # Only the server knows how it reads a follow-up: what it found stands beside its answer.
        reply = self._ask(question, history)
        self._retrieved[question, tuple(history)] = reply
        return [{**row, "text": self._text_of(row)} for row in reply["retrieved"][:k]]

    def source_text(self, source: str, start: int, end: int) -> str | None:
        text: list[str | None] = [None] * (end - start)
        for chunk in self._chunks_of(source):
            for place in range(max(start, chunk["start"]), min(end, chunk["end"])):
                text[place - start] = chunk["text"][place - chunk["start"]]
        return None if None in text else "".join(char for char in text if char is not None)

    def erase(self) -> None:
        """Only the conversations of this run."""
        for conversation in self._conversations:
            try:
                self._request("DELETE", f"/chat-history?conversation_id={conversation}")
            except (httpx.HTTPError, ServerError):
                return

    def _ask(self, question: str, history: Sequence[Turn]) -> dict[str, Any]:
        conversation: str | None = None
        for text in [turn.content for turn in history if turn.role == "user"] + [question]:
            body = {"message": text, "conversation_id": conversation, "prompt": self._prompt}
            reply = self._request("POST", "/chat", json={name: value for name, value in body.items() if value})
            if conversation is None:
                self._conversations.append(reply["conversation_id"])
            conversation = reply["conversation_id"]
        return reply

    def _text_of(self, row: Mapping[str, Any]) -> str:
        chunks = self._chunks_of(row["source"])
        found = next((chunk["text"] for chunk in chunks if chunk["chunk_id"] == row.get("chunk_id")), row["snippet"])
        return str(found)

    def _chunks_of(self, source: str) -> list[dict[str, Any]]:
        if source not in self._chunks:
            row = self.sources.get(source)
            self._chunks[source] = list(self._all(f"/sources/{row['id']}/chunks?page_size=200")) if row else []
        return self._chunks[source]

    def _all(self, path: str) -> Iterator[dict[str, Any]]:
        page: str | None = path
        while page:
            shown = self._get(page)
            yield from shown["results"]
            page = shown["next"]

    def _get(self, path: str, **options: Any) -> dict[str, Any]:
        return self._request("GET", path, **options)

    def _request(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        waits, renewed = 0, False
        while True:
            access = self._access
            response = self._http.request(method, path, headers={"Authorization": f"Bearer {access}"}, **options)
            if response.status_code == 401 and not renewed:
                renewed = True
                with self._lock:
                    if self._access == access:
                        self._log_in()
            elif response.status_code == 429 and waits < MOST_WAITS:
                waits += 1
                time.sleep(min(LONGEST_WAIT, _seconds(response.headers.get("Retry-After"))))
            elif response.is_error:
                raise ServerError(_told(response))
            else:
                return dict(response.json()) if response.content else {}

    def _log_in(self) -> None:
        response = self._http.post("/login", json=dict(self._account))
        if response.is_error:
            raise ServerRefused(
                f"{self._http.base_url} does not let {self._account['username']} in: {_told(response)}."
            )
        self._access = response.json()["access"]


def _account(http: httpx.Client, username: str | None) -> dict[str, str]:
    """Name and password: the given ones, or a new account's."""
    if username:
        if PASSWORD not in os.environ:
            raise ServerRefused(f"Set {PASSWORD} to the password of {username}.")
        return {"username": username, "password": os.environ[PASSWORD]}
    account = {"username": f"eval-{secrets.token_hex(4)}", "password": secrets.token_urlsafe(24)}
    response = http.post("/signup", json={**account, "email": f"{account['username']}@example.org"})
    if response.is_error:
        raise ServerRefused(
            f"{http.base_url} gives out no account ({_told(response)}): name one with --username, and its password in "
            f"{PASSWORD}."
        )
    return account


def _told(response: httpx.Response) -> str:
    try:
        error = response.json()["error"]
        return f"{response.status_code} {error['code']}: {error['message']}"
    except (ValueError, KeyError, TypeError):
        return f"status {response.status_code}"


def _seconds(text: str | None) -> float:
    try:
        return float(text or 1)
    except ValueError:
        return 1.0
