"""Queries for the rows that belong to some ids, compiled once.

For the few rows of a page Django takes longer to write the SQL than the database to run it. The SQL is Django's own, of
an ordinary query set; as the ids are one parameter, it is the same for any number of them.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar
from uuid import UUID

import orjson
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import BooleanField, F, Func, JSONField, QuerySet
from django.db.models.sql.compiler import SQLCompiler

Convert = Callable[[Sequence[Any]], Sequence[Any]]

IDS = object()  # where the ids go


class Among(Func):
    """Whether a column's UUID is one of those that the query is run with."""

    output_field: ClassVar[Any] = BooleanField()
    conditional = True

    def __init__(self, column: str) -> None:
        super().__init__(F(column))

    def as_sqlite(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **_: Any) -> Any:
        column, params = compiler.compile(self.source_expressions[0])
        return f"{column} IN (SELECT value FROM json_each(%s))", [*params, IDS]  # noqa: S608 (Django's own name)

    def as_postgresql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **_: Any) -> tuple[str, list[Any]]:
        column, params = compiler.compile(self.source_expressions[0])
        return f"{column} = ANY(%s)", [*params, IDS]


class Prepared:
    """`build` makes the query set (of `values_list`, with an `Among`), once for each thread."""

    def __init__(self, build: Callable[[], QuerySet[Any, Any]]) -> None:
        self._build = build
        self._compiled = threading.local()

    def rows(self, ids: Iterable[UUID]) -> list[tuple[Any, ...]]:
        sql, params, converters = self._compile()
        wanted: Any = [str(pk) for pk in ids]
        if connection.vendor == "sqlite":
            wanted = json.dumps([pk.replace("-", "") for pk in wanted])
        with connection.cursor() as cursor:
            cursor.execute(sql, [wanted if value is IDS else value for value in params])
            columns: list[Sequence[Any]] = list(zip(*cursor.fetchall(), strict=True))
        if not columns:
            return []
        for position, convert in converters.items():
            columns[position] = convert(columns[position])
        return list(zip(*columns, strict=True))

    def _compile(self) -> tuple[str, tuple[Any, ...], dict[int, Convert]]:
        if not hasattr(self._compiled, "query"):
            compiler = self._build().query.get_compiler(connection=connection)
            sql, params = compiler.as_sql()
            columns = [column for column, *_ in compiler.select]
            converters = {
                position: _converter(steps, column)
                for position, (steps, column) in compiler.get_converters(columns).items()
            }
            self._compiled.query = sql, tuple(params), converters
        query: tuple[str, tuple[Any, ...], dict[int, Convert]] = self._compiled.query
        return query


def _converter(steps: list[Callable[[Any, Any, Any], Any]], column: Any) -> Convert:
    """From what the database gives to what Django gives, for a whole column; JSON by orjson, equal values once."""
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
