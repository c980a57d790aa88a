"""The Postman collection as data."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from backend.environment import BASE_DIR

COLLECTION = BASE_DIR / "docs" / "postman" / "footnote.postman_collection.json"


@dataclass(frozen=True)
class Request:
    """tests: the lines of its test script. examples: answers that are kept with it."""

    name: str
    method: str
    path: str
    description: str
    tests: str
    examples: list[dict[str, Any]]


def read_collection() -> dict[str, Any]:
    collection: dict[str, Any] = json.loads(COLLECTION.read_text())
    return collection


def requests() -> list[Request]:
    """In the order in which they are run."""
    return list(_walk(read_collection()["item"]))


def _walk(items: list[dict[str, Any]]) -> Iterator[Request]:
    for item in items:
        if "item" in item:
            yield from _walk(item["item"])
            continue
        scripts = ("\n".join(each["script"]["exec"]) for each in item["event"] if each["listen"] == "test")
        request = item["request"]
        path = request["url"]["raw"].removeprefix("{{base}}").partition("?")[0]
        description = request.get("description", "")
        yield Request(item["name"], request["method"], path, description, "\n".join(scripts), item["response"])
