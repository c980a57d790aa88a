"""Every path of the product; no trailing slash (one is accepted, see backend.api.middleware)."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path
from drf_spectacular.views import SpectacularRedocView, SpectacularSwaggerView

from backend.api.docs import Schema
from backend.api.health import Healthz, Readyz

urlpatterns: list[URLPattern | URLResolver] = [
    path("", include("backend.accounts.urls")),
    path("", include("backend.chat.urls")),
    path("", include("backend.knowledge.urls")),
    path("", include("backend.openai_api.urls")),
    path("healthz", Healthz.as_view()),
    path("readyz", Readyz.as_view()),
    path("schema", Schema.as_view(), name="schema"),
    path("docs", SpectacularSwaggerView.as_view(url_name="schema")),
    path("redoc", SpectacularRedocView.as_view(url_name="schema", template_name="redoc.html")),
    path("admin/", admin.site.urls),
]

handler400 = "backend.api.errors.bad_request"
handler403 = "backend.api.errors.forbidden"
handler404 = "backend.api.errors.not_found"
handler500 = "backend.api.errors.server_error"
