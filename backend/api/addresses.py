"""From where a request comes. What a client says of it is believed only when a proxy we know says it."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from functools import lru_cache

from django.conf import settings
from django.http import HttpRequest, HttpResponse

FORWARDED = ("HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO", "HTTP_X_FORWARDED_HOST", "HTTP_X_FORWARDED_PORT")
FORWARDED_ONCE = "footnote.forwarded"  # whether a proxy, or somebody who says he is one, sent the request on
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class ClientAddress:
    """Sets REMOTE_ADDR and the scheme to the client's. X-Forwarded-* of anybody but TRUSTED_PROXIES is dropped."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        meta = request.META
        proxies = networks(tuple(settings.ENV.trusted_proxies))
        peer = str(meta.get("REMOTE_ADDR", ""))
        if proxies and is_among(peer, proxies):
            meta["REMOTE_ADDR"] = client_of(peer, str(meta.get("HTTP_X_FORWARDED_FOR", "")), proxies)
            scheme = str(meta.get("HTTP_X_FORWARDED_PROTO", "")).strip().lower()
            if scheme in ("http", "https"):
                meta["wsgi.url_scheme"] = scheme
        meta[FORWARDED_ONCE] = any(name in meta for name in FORWARDED)
        for name in FORWARDED:
            meta.pop(name, None)
        return self.get_response(request)


def client_of(peer: str, forwarded: str, proxies: Sequence[Network]) -> str:
    """The last address in the chain that is not one of ours: what stands before it was written by the client itself.

    Where the chain holds something that is no address, the proxy that let it pass is taken.
    """
    client = peer
    for part in reversed(forwarded.split(",")):
        if not is_among(client, proxies):
            break
        address = _parsed(part.strip())
        if address is None:
            break
        client = str(address)
    return client


def is_among(address: str, networks: Sequence[Network]) -> bool:
    parsed = _parsed(address)
    return parsed is not None and any(parsed in network for network in networks)


def network_of(address: str) -> str:
    """What is counted as one client: the address, or of IPv6 its /64."""
    parsed = _parsed(address)
    if parsed is None:
        return ""
    return str(parsed) if parsed.version == 4 else str(ipaddress.ip_network((parsed, 64), strict=False))


@lru_cache(maxsize=8)
def networks(texts: tuple[str, ...]) -> tuple[Network, ...]:
    """Addresses and networks ("10.0.0.0/8"). ValueError."""
    return tuple(ipaddress.ip_network(text, strict=False) for text in texts)


def _parsed(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An address with what some proxies add: a port, brackets, a zone. IPv4 in IPv6's clothes is IPv4."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
