"""A query of the request path whose SQL the ORM writes once: to write it takes longer than to run it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar
from uuid import UUID

import orjson
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import BooleanField, F, Func, JSONField, QuerySet, Value
from django.db.models.sql.compiler import SQLCompiler

Convert = Callable[[Sequence[Any]], Sequence[Any]]

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
        self._written: dict[str, tuple[str, list[Any], dict[int, Convert]]] = {}

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
        if not converters or not rows:
            return rows
        columns: list[Sequence[Any]] = list(zip(*rows, strict=True))
        for place, convert in converters.items():
            columns[place] = convert(columns[place])
        return list(zip(*columns, strict=True))

    def _write(self) -> tuple[str, list[Any], dict[int, Convert]]:
        markers = [_MARKERS[kind](place) for place, kind in enumerate(self.types)]
        places = {marker.hex if isinstance(marker, UUID) else marker: i for i, marker in enumerate(markers)}
        compiler = self.make(*markers).query.get_compiler("default")
        sql, parameters = compiler.as_sql()
        plain = [one.hex if isinstance(one, UUID) else one for one in parameters]
        slots = [_Value(places[one]) if one in places else one for one in plain]
        found = compiler.get_converters([column[0] for column in compiler.select])
        return sql, slots, {place: _converter(steps, column) for place, (steps, column) in found.items()}


class _Value:
    def __init__(self, place: int) -> None:
        self.place = place


def _converter(steps: list[Callable[..., Any]], column: Any) -> Convert:
    """From what the database gives to what the ORM gives, for a whole column; JSON by orjson, equal values once."""
    if isinstance(column.output_field, JSONField):
        return lambda values: [None if value is None else orjson.loads(value) for value in values]

    def convert(values: Sequence[Any]) -> Sequence[Any]:
        converted = {}
        for given in set(values):
            value = given
            for step in steps:
                value = step(value, column, connection)
            converted[given] = value
        return [converted[value] for value in values]

    return convert


class Among(Func):
    """Whether a column's UUID is one of those that `joined` made one text of: the SQL is the same for any number."""

    output_field: ClassVar[Any] = BooleanField()
    conditional = True

    def __init__(self, column: str, ids: str) -> None:
        super().__init__(F(column), Value(ids))

    def as_sqlite(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **_: Any) -> Any:
        return self.as_sql(
            compiler, connection, template="%(expressions)s))", arg_joiner=" IN (SELECT value FROM json_each("
        )

    def as_postgresql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **_: Any) -> Any:
        return self.as_sql(compiler, connection, template="%(expressions)s::uuid[])", arg_joiner=" = ANY(")


def joined(ids: Iterable[UUID]) -> str:
    """UUIDs as one text: a JSON array for SQLite, an array's own form for PostgreSQL."""
    if connection.vendor == "sqlite":
        return orjson.dumps([one.hex for one in ids]).decode()
    return f"{{{','.join(map(str, ids))}}}"
