"""The mail server that EMAIL_URL names."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import Annotated, Literal
from urllib.parse import unquote

from pydantic import TypeAdapter, UrlConstraints, ValidationError
from pydantic_core import Url

Encryption = Literal["none", "starttls", "tls"]
FORMS = (
    "write smtp://user:password@host:587 (STARTTLS), smtps://user:password@host:465 (TLS) or smtp://localhost:1025, "
    "and in user and password @ as %40, : as %3A, / as %2F, # as %23, % as %25"
)
PORTS: dict[Encryption, int] = {"none": 25, "starttls": 587, "tls": 465}

_url: TypeAdapter[Url] = TypeAdapter(
    Annotated[Url, UrlConstraints(allowed_schemes=["smtp", "smtps"], host_required=True)]
)


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where and how mail is handed in. timeout: seconds that it may be silent."""

    host: str
    port: int
    encryption: Encryption
    username: str = ""
    password: str = field(default="", repr=False)
    timeout: float = 30.0

    @property
    def longest(self) -> float:
        """Seconds that one mail may take, however the server spreads them."""
        return 4 * self.timeout

    def __str__(self) -> str:
        return f"{'smtps' if self.encryption == 'tls' else 'smtp'}://{self.host}:{self.port}"


def read_email_url(text: str) -> MailServer:
    """ValueError says what is wrong with it, without repeating it: it may hold a password.

    smtp is encrypted by STARTTLS unless the server is on this machine; `?tls=off` and `?tls=on` say otherwise.
    `?timeout=` is in seconds.
    """
    try:
        url = _url.validate_python(text)
    except ValidationError as error:
        raise ValueError(f"{error.errors()[0]['msg']}; {FORMS}") from None
    options = dict(url.query_params())
    if url.path not in (None, "", "/") or url.fragment is not None or not options.keys() <= {"tls", "timeout"}:
        raise ValueError(f"after the port only ?tls=on, ?tls=off and ?timeout=seconds are known; {FORMS}")
    if options.get("tls", "on") not in ("on", "off"):
        raise ValueError("tls is on or off")
    if (url.username is None) != (url.password is None):
        raise ValueError(f"a user and a password belong together; {FORMS}")
    host = unquote(url.host or "").strip("[]")
    encryption = _encryption(url.scheme, host, options.get("tls"))
    return MailServer(
        host=host,
        port=url.port or PORTS[encryption],
        encryption=encryption,
        username=unquote(url.username or ""),
        password=unquote(url.password or ""),
        timeout=_seconds(options.get("timeout", "30")),
    )


def _encryption(scheme: str, host: str, tls: str | None) -> Encryption:
    if scheme == "smtps":
        if tls == "off":
            raise ValueError("smtps is TLS; without it, it is smtp")
        return "tls"
    return "starttls" if tls == "on" or (tls is None and not _is_this_machine(host)) else "none"


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 600:
        raise ValueError("timeout is in seconds, more than 0 and at most 600")
    return seconds
