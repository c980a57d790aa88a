"""What a client gives: a name that is none is refused, so that a slip of the pen never changes what is asked; and in
JSON a number is no text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from rest_framework import serializers

# What stands in JSON for a field. DRF's fields read query strings too, and take 1 for "1" and "yes" for true.
KINDS: tuple[tuple[tuple[type[serializers.Field[Any, Any, Any, Any]], ...], type, str], ...] = (
    ((serializers.BooleanField,), bool, "This must be true or false."),
    ((serializers.IntegerField,), int, "This must be a whole number."),
    (
        (serializers.CharField, serializers.UUIDField, serializers.DateTimeField, serializers.DateField),
        str,
        "This must be a text.",
    ),
)


class Given(serializers.Serializer[Any]):
    """Parameters of a URL, or the fields of a body."""

    described: ClassVar[Mapping[str, Any]] = {}  # what the schema cannot know of the fields: minProperties, anyOf
    others_are_passed_over: ClassVar[bool] = False

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, Mapping):
            unknown = [] if self.others_are_passed_over else sorted(set(map(str, data)) - self._names())
            if unknown:
                there_are = f"There is no such name here; there are {', '.join(sorted(self._names()))}."
                raise serializers.ValidationError({name[:100]: [there_are] for name in unknown[:10]})
            if problems := {
                name: [problem]
                for name, field in self.fields.items()
                if name in data and (problem := self.problem(field, data[name]))
            }:
                raise serializers.ValidationError(problems)
        return super().to_internal_value(data)

    def problem(self, field: serializers.Field[Any, Any, Any, Any], value: Any) -> str | None:
        """What is wrong with a value before its field looks at it, which leaves out blanks around a text first."""
        if isinstance(field, serializers.CharField) and field.max_length and isinstance(value, str):
            return None if len(value) <= field.max_length else f"This has more than {field.max_length:,} characters."
        return None

    def _names(self) -> set[str]:
        return {name for name, field in self.fields.items() if not field.read_only}


class Body(Given):
    """A body in JSON, or an object in one."""

    def problem(self, field: serializers.Field[Any, Any, Any, Any], value: Any) -> str | None:
        return _kind_problem(field, value) or super().problem(field, value)


class OpenBody(Body):
    """One that may hold more than is read of it."""

    others_are_passed_over = True


def _kind_problem(field: serializers.Field[Any, Any, Any, Any], value: Any) -> str | None:
    if value is None:  # whether that is right is for the field to say
        return None
    if isinstance(field, serializers.ChoiceField):
        kinds = {type(choice) for choice in field.choices}
        return None if type(value) in kinds else "This is not one of the choices."
    for fields, kind, message in KINDS:
        if isinstance(field, fields):
            return None if type(value) is kind else message
    return None
