"""A query of the request path whose SQL the ORM writes once: to write it takes longer than to run it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import QuerySet

# What stands for the value of a parameter while the SQL is written; nothing else in a query is equal to it.
_MARKERS: dict[type, Callable[[int], Any]] = {
    str: "\x00{}".format,
    int: lambda place: 2**40 + place,
    UUID: lambda place: UUID(int=2**100 + place),
}


class Compiled:
    """`make`, called with as many values as there are types (str, int, UUID), gives a `values_list` queryset.

    Its SQL is kept for each kind of database; what differs from one call to the next must be a value.
    """

    def __init__(self, make: Callable[..., QuerySet[Any, Any]], *types: type) -> None:
        self.make = make
        self.types = types
        self._written: dict[str, tuple[str, list[Any], dict[int, list[Any]]]] = {}

    def rows(self, *values: Any) -> list[Sequence[Any]]:
        """The rows of the query with these values, as the ORM would give them."""
        vendor = connection.vendor
        if vendor not in self._written:
            self._written[vendor] = self._write()
        sql, parameters, converters = self._written[vendor]
        given = [value.hex if isinstance(value, UUID) and vendor == "sqlite" else value for value in values]
        with connection.cursor() as cursor:
            cursor.execute(sql, [given[one.place] if isinstance(one, _Value) else one for one in parameters])
            rows: list[Sequence[Any]] = cursor.fetchall()
        return [_converted(row, converters) for row in rows] if converters else rows

    def _write(self) -> tuple[str, list[Any], dict[int, list[Any]]]:
        markers = [_MARKERS[kind](place) for place, kind in enumerate(self.types)]
        places = {marker.hex if isinstance(marker, UUID) else marker: i for i, marker in enumerate(markers)}
        compiler = self.make(*markers).query.get_compiler("default")
        sql, parameters = compiler.as_sql()
        plain = [one.hex if isinstance(one, UUID) else one for one in parameters]
        slots = [_Value(places[one]) if one in places else one for one in plain]
        found = compiler.get_converters([column[0] for column in compiler.select])
        return sql, slots, {place: [(how, what) for how in many] for place, (many, what) in found.items()}


class _Value:
    def __init__(self, place: int) -> None:
        self.place = place


def _converted(row: Sequence[Any], converters: dict[int, list[Any]]) -> list[Any]:
    values = list(row)
    for place, steps in converters.items():
        for convert, expression in steps:
            values[place] = convert(values[place], expression, connection)
    return values
