"""What the admin's lists have in common: a page costs a few small queries, however many rows the table has."""

from __future__ import annotations

from functools import cached_property
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest

FURTHEST = 10_000  # rows that a list goes back; filters and the search reach what is older


class QuickPaginator(Paginator):  # type: ignore[type-arg]  # takes no parameter at run time
    """Counts no further than FURTHEST."""

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        return int(rows.order_by()[:FURTHEST].count())


class QuickAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # takes no parameter at run time
    """Rows are looked for by what an index holds: ids and users exactly, never by a part of a text."""

    paginator = QuickPaginator
    show_full_result_count = False
    list_per_page = 50
    sortable_by = ()
    show_facets = admin.ShowFacets.NEVER

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """By the filters that the page shows, and no other field: an address is a question, too, and one may ask by it
        for what no column shows, letter by letter.
        """
        shown = [one[0] if isinstance(one, (tuple, list)) else one for one in self.list_filter]
        return lookup.partition("__")[0] in [name for name in shown if isinstance(name, str)]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Model], search_term: str
    ) -> tuple[QuerySet[Model], bool]:
        """Rows of which one of `search_fields` is the term: `...id` an id, `...user` a user by name, else a text."""
        term = search_term.strip().replace("\0", "")
        if not term:
            return queryset, False
        found = [part for name in self.get_search_fields(request) if (part := _is(str(name), term)) is not None]
        if not found:
            return queryset.none(), False
        condition = found[0]
        for part in found[1:]:
            condition |= part
        return queryset.filter(condition), False

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """Whether this user may do more with rows than look: the permission to change them."""
        return super().has_change_permission(request)


class ToBeRead(QuickAdmin):
    """Rows that the server writes, and takes out when they are old."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


def _is(name: str, term: str) -> Q | None:
    if name.endswith("user"):
        return Q(**{f"{name}__in": _users(term)})
    if not name.endswith("id"):
        return Q(**{f"{name}__iexact": term})
    try:
        return Q(**{name: UUID(term)})
    except ValueError:
        return None


def _users(name: str) -> list[int]:
    from django.contrib.auth import get_user_model  # the models are not loaded yet when this module is

    return list(get_user_model().objects.filter(username__iexact=name).values_list("pk", flat=True))
