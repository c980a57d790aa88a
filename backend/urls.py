"""Every path of the product; no trailing slash (one is accepted, see backend.api.middleware)."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

from backend.api.docs import Redoc, Schema, Swagger
from backend.api.health import Healthz, Readyz
from backend.api.scrape import Metrics

urlpatterns: list[URLPattern | URLResolver] = [
    path("", include("backend.accounts.urls")),
    path("", include("backend.chat.urls")),
    path("", include("backend.knowledge.urls")),
    path("", include("backend.openai_api.urls")),
    path("", include("backend.jobs.urls")),
    path("healthz", Healthz.as_view()),
    path("readyz", Readyz.as_view()),
    path("metrics", Metrics.as_view()),
    path("schema", Schema.as_view(), name="schema"),
    path("docs", Swagger.as_view()),
    path("redoc", Redoc.as_view()),
    path("admin/", admin.site.urls),
]

handler400 = "backend.api.errors.bad_request"
handler403 = "backend.api.errors.forbidden"
handler404 = "backend.api.errors.not_found"
handler500 = "backend.api.errors.server_error"
