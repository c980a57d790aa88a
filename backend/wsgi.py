"""The WSGI application that the server serves."""

from __future__ import annotations

import os
import re
from typing import Any

import django
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
from django.utils.http import parse_header_parameters

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "backend.settings")

# Parameters of a media type by RFC 2231 (`name*=charset'language'value`), which no client has a use for.
EXTENDED = {"CONTENT_TYPE": re.compile(r";[^;=]*\*\s*=[^;]*"), "HTTP_ACCEPT": re.compile(r";[^;=,]*\*\s*=[^;,]*")}


class Utf8Request(WSGIRequest):
    """What a client sends is UTF-8, whatever charset it names. Django would read query strings and parameters of
    headers by any of Python's codecs: some are none for text ("hex"), some make lone surrogates ("unicode_escape").
    """

    def __init__(self, environ: dict[str, Any]) -> None:
        for name, parameters in EXTENDED.items():
            if "*" in environ.get(name, ""):
                environ[name] = parameters.sub("", environ[name])
        super().__init__(environ)

    def _set_content_type_params(self, meta: dict[str, Any]) -> None:
        self.content_type, self.content_params = parse_header_parameters(meta.get("CONTENT_TYPE", ""))
        self.content_params.pop("charset", None)


class Application(WSGIHandler):
    request_class = Utf8Request


django.setup(set_prefix=False)
application = Application()
