"""Responses are written as DRF writes them."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from django.utils.functional import SimpleLazyObject
from hypothesis import given
from hypothesis import strategies as st
from rest_framework.exceptions import ErrorDetail
from rest_framework.renderers import JSONRenderer
from rest_framework.serializers import Serializer
from rest_framework.utils.serializer_helpers import ReturnDict

from backend.api.renderers import QuickJSONRenderer

MOMENT = datetime(2026, 5, 1, 8, 30, 15, 123456, tzinfo=UTC)


@pytest.mark.parametrize(
    "value",
    [
        None,
        {"at": MOMENT},
        {"at": MOMENT.replace(microsecond=0)},
        {"at": MOMENT.replace(microsecond=120000)},
        {"at": MOMENT.astimezone(timezone(timedelta(hours=2)))},
        {"day": date(2026, 5, 1), "time": time(8, 30), "for": timedelta(hours=1, microseconds=5)},
        {"id": UUID("01a1fc42-ce2e-76d4-b049-e4592fde2004")},
        {"cost": Decimal("0.50")},
        {"big": 2**80, "at": MOMENT},
        {"text": "ä \u2028 \u2029 🙂 \x00 \x7f </script>"},
        {1: "a", None: "b", 1.5: "d"},
        {"error": ErrorDetail("no", "invalid")},
        ReturnDict({"a": [1, 2, (3, 4)], "b": {5}}, serializer=Serializer()),
        {"lazy": SimpleLazyObject(lambda: [1])},
        {"rows": (number for number in range(3))},
    ],
)
def test_values_are_written_as_before(value: Any) -> None:
    if isinstance(value, dict) and "rows" in value:
        assert QuickJSONRenderer().render(value) == b'{"rows":[0,1,2]}'
        return
    assert QuickJSONRenderer().render(value) == JSONRenderer().render(value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.datetimes(timezones=st.just(UTC)) | st.uuids(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON)
def test_any_rows_are_written_as_before(value: Any) -> None:
    assert json.loads(QuickJSONRenderer().render(value) or b"null") == json.loads(
        JSONRenderer().render(value) or b"null"
    )


def test_an_indent_that_is_asked_for_is_given() -> None:
    assert QuickJSONRenderer().render({"a": 1}, "application/json; indent=2") == b'{\n  "a": 1\n}'
