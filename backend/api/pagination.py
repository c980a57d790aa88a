"""Lists are `{count, next, previous, results}`, with `?page_size=` up to 200: pages by number, or by cursor where rows
are added while somebody reads.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar, Literal
from uuid import UUID

from django.db.models import Q
from django.utils import timezone
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.pagination import BasePagination, CursorPagination, PageNumberPagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param
from rest_framework.views import APIView


class Sized(BasePagination):
    """How many rows a page has: `?page_size=`, or `largest` where that is less."""

    usual: ClassVar[int] = 50
    largest: ClassVar[int] = 200
    page_size_query_param: str | None = "page_size"

    def get_page_size(self, request: Request) -> int:
        given = request.query_params.get("page_size")
        if given is None:
            return self.usual
        if not (wanted := _count(given)):
            raise ValidationError({"page_size": [f"Give a whole number from 1 to {self.largest}."]})
        return min(wanted, self.largest)

    def get_schema_operation_parameters(self, view: APIView) -> list[dict[str, Any]]:
        parameters: list[dict[str, Any]] = super().get_schema_operation_parameters(view)
        for parameter in parameters:
            if parameter["schema"] == {"type": "integer"}:
                parameter["schema"]["minimum"] = 1
        return parameters


class Pages(Sized, PageNumberPagination):
    last_page_strings = ()

    def get_page_number(self, request: Request, paginator: Any) -> int:
        number = _count(request.query_params.get(self.page_query_param, "1"))
        if not number:
            raise NotFound("There is no such page.")
        return number


def _count(text: str) -> int:
    """A whole number from 1; 0 for what is none. Of an endless one the beginning is large enough."""
    return int(text.lstrip("0")[:18] or 0) if text.isascii() and text.isdigit() else 0


def moment(text: str) -> datetime:
    """A point in time as a cursor holds it; ValueError or OverflowError when it is none."""
    return datetime.fromisoformat(text).astimezone(UTC)


Side = Literal["after", "from", "before", "until"]  # "from" and "until" take the row at the place as well
OTHER_SIDE: Mapping[Side, Side] = {"after": "until", "from": "before", "before": "from", "until": "after"}
COMPARISONS = {"after": ("gt", "gt"), "from": ("gt", "gte"), "before": ("lt", "lt"), "until": ("lt", "lte")}
REVERSED: Mapping[Side, Side] = {"after": "before", "from": "until", "before": "after", "until": "from"}


@dataclass(frozen=True, slots=True)
class Place:
    """Rows on one side of a place in the list; `as_of` is when the first of these pages was read."""

    side: Side
    key: tuple[Any, ...]
    as_of: datetime


class Cursor(Sized, CursorPagination):
    """A page starts where the one before it ended: rows that come or go in between show nothing twice and hide nothing.

    The parameters and their reading are DRF's. Its own place is one column and a number of rows that share it, of which
    it counts 1,000; here it is all `columns`, and no two rows share them. Rows are dicts (`QuerySet.values`).
    """

    columns: ClassVar[Mapping[str, Callable[[str], Any]]] = {"id": UUID}
    newest_first = True

    def paginate_queryset(self, queryset: Any, request: Request, view: APIView | None = None) -> list[Any]:
        place = self.read_place(request)
        size = self.get_page_size(request)
        self.url = request.build_absolute_uri()
        backwards = place is not None and place.side in ("before", "until")
        descending = self.newest_first != backwards
        self.count, found = self.read(queryset, place, size + 1, descending=descending)
        page, more = found[:size], len(found) > size
        if backwards:
            page.reverse()
        as_of = place.as_of if place else timezone.now()
        self.earlier, self.later = None, None
        if page:
            if more if backwards else place is not None:
                self.earlier = Place("before", self._key(page[0]), as_of)
            if place is not None if backwards else more:
                self.later = Place("after", self._key(page[-1]), as_of)
        elif place is not None:
            back = Place(OTHER_SIDE[place.side], place.key, as_of)
            self.earlier, self.later = (None, back) if backwards else (back, None)
        return page

    def read(
        self, queryset: Any, place: Place | None, number: int, *, descending: bool
    ) -> tuple[int, list[dict[str, Any]]]:
        """How many rows there are in all, and so many of those at the place."""
        wanted = queryset if place is None else queryset.filter(self._beyond(place))
        order = (f"-{name}" if descending else name for name in self.columns)
        return queryset.count(), list(wanted.order_by(*order)[:number])

    def get_paginated_response(self, data: Any) -> Response:
        return Response(
            {"count": self.count, "next": self.get_next_link(), "previous": self.get_previous_link(), "results": data}
        )

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        described: dict[str, Any] = super().get_paginated_response_schema(schema)
        described["properties"] = {"count": {"type": "integer", "example": 123}, **described["properties"]}
        described["required"] = ["count", *described["required"]]
        return described

    def get_next_link(self) -> str | None:
        return self._link(self.later)

    def get_previous_link(self) -> str | None:
        return self._link(self.earlier)

    def read_place(self, request: Request) -> Place | None:
        """Where the wanted page is; None for the first one. ValidationError when the cursor is none of ours."""
        if request.query_params.get("page", "1") != "1":  # or a client that counts pages would read the first for ever
            raise ValidationError({"page": ["This list has no numbered pages: follow `next` and `previous`."]})
        given = request.query_params.get(self.cursor_query_param)
        if not given:
            return None
        try:
            side, as_of, *key = json.loads(base64.urlsafe_b64decode(given.encode("ascii")))
            values = tuple(read(text) for read, text in zip(self.columns.values(), key, strict=True))
            if side not in OTHER_SIDE:
                raise ValueError(side)
            return Place(side, values, moment(as_of))
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
            raise ValidationError({"cursor": ["This is not a cursor of this list."]}) from None

    def _link(self, place: Place | None) -> str | None:
        if place is None:
            return None
        plain = [place.side, place.as_of, *place.key]
        text = json.dumps([value.isoformat() if isinstance(value, datetime) else str(value) for value in plain])
        cursor = base64.urlsafe_b64encode(text.encode()).decode("ascii")
        return replace_query_param(self.url, self.cursor_query_param, cursor)

    def _key(self, row: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(row[name] for name in self.columns)

    def _beyond(self, place: Place) -> Q:
        """The rows on that side: those of another first column, or of the same and another second one, and so on."""
        strict, last = COMPARISONS[REVERSED[place.side] if self.newest_first else place.side]
        names = list(self.columns)
        condition = Q(**{f"{names[-1]}__{last}": place.key[-1]})
        for name, value in reversed(list(zip(names[:-1], place.key[:-1], strict=True))):
            # The first part says nothing new, and lets an index on the columns be used.
            condition = Q(**{f"{name}__{strict}e": value}) & (Q(**{f"{name}__{strict}": value}) | condition)
        return condition
