"""GET /schema: OpenAPI, as JSON unless YAML is asked for. GET /docs, GET /redoc: pages that show it."""

from typing import Any

from csp.constants import SELF, UNSAFE_INLINE
from csp.decorators import csp_update
from django.utils.decorators import method_decorator
from drf_spectacular.renderers import OpenApiJsonRenderer, OpenApiYamlRenderer
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView, SpectacularRedocView, SpectacularSwaggerView
from rest_framework.request import Request
from rest_framework.response import Response


class Schema(SpectacularAPIView):
    renderer_classes = [OpenApiJsonRenderer, OpenApiYamlRenderer]


# The pages are a script in the page itself; what they show comes from the schema, not from users.
may_run_scripts = method_decorator(
    csp_update({"script-src": [SELF, UNSAFE_INLINE], "worker-src": ["blob:"]}), "dispatch"
)


@may_run_scripts
class Swagger(SpectacularSwaggerView):
    url_name = "schema"

    @extend_schema(exclude=True)
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        response: Response = super().get(request, *args, **kwargs)  # type: ignore[no-untyped-call]
        response.data["csrf_token"] = ""  # its script would have one, and with it a cookie that nothing needs
        return response


@may_run_scripts
class Redoc(SpectacularRedocView):
    url_name = "schema"
    template_name = "redoc.html"
