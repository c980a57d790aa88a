"""Django's admin site with a dashboard."""

from __future__ import annotations

from typing import Any

from django.contrib.admin import AdminSite
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import path

from backend.console.dashboard import PERIODS, describe


class Console(AdminSite):
    site_header = "Footnote"
    site_title = "Footnote"
    index_title = "Everything"
    site_url = "/docs"  # where "View site" leads: there is nothing at /

    def get_urls(self) -> list[Any]:
        return [path("dashboard/", self.admin_view(self.dashboard), name="dashboard"), *super().get_urls()]

    def dashboard(self, request: HttpRequest) -> HttpResponse:
        """Figures that name nobody: any operator may see them."""
        given = request.GET.get("days", "")
        days = int(given) if given in map(str, PERIODS) else PERIODS[0]
        context = {**self.each_context(request), "title": "Dashboard", "periods": PERIODS, **describe(days)}
        return TemplateResponse(request, "console/dashboard.html", context)
