"""The Postman collection has every endpoint there is and no other, each described, with an example and tests.

That it runs is tested in tests/acceptance/test_postman.py.
"""

from __future__ import annotations

import re
from collections import Counter
from uuid import uuid4

from django.urls import resolve

from tests.docs.postman import read_collection, requests
from tests.security.endpoints import endpoints

NOWHERE = "/nowhere"  # asked for to show what a path gets that there is not


def route_of(path: str) -> str:
    """Of the URL conf; every variable in a path is an id."""
    return "/" + resolve(re.sub(r"{{\w+}}", str(uuid4()), path)).route


def test_every_endpoint_is_in_it_and_nothing_else() -> None:
    asked = {f"{each.method} {route_of(each.path)}" for each in requests() if each.path != NOWHERE}
    assert asked == {str(endpoint) for endpoint in endpoints()}


def test_every_request_says_what_it_is_for_and_what_must_come_back() -> None:
    for each in requests():
        assert len(each.description) > 5, each.name
        assert "pm.test('status" in each.tests, each.name
        assert each.examples, each.name
        assert all(example["code"] for example in each.examples), each.name
    names = Counter(each.name for each in requests())
    assert not [name for name, times in names.items() if times > 1], "a run goes on by name"


def test_every_variable_is_declared_and_holds_no_secret() -> None:
    collection = read_collection()
    declared = {each["key"]: each["value"] for each in collection["variable"]}
    text = str({**collection, "variable": []})
    assert set(re.findall(r"{{(\w+)}}", text)) <= set(declared)
    assert set(re.findall(r"collectionVariables\.[gs]et\('(\w+)'", text)) <= set(declared)
    assert {name for name, value in declared.items() if value} == {"base"}
    assert not re.search(r"eyJ[\w-]{20}|fn_[0-9a-zA-Z]{20}", text), "a token or a key"
