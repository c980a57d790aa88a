"""A row of the outbox as a mail (RFC 5322)."""

from __future__ import annotations

from email.utils import format_datetime, parseaddr
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.core.mail.message import sanitize_address

from backend.outbox.models import Mail


def write_message(mail: Mail) -> bytes:
    """The whole mail; the same row gives the same Message-ID and Date however often it is sent.

    ValueError when a header cannot be written, for instance because a line break is in it.
    """
    message = EmailMultiAlternatives(
        subject=mail.subject,
        body=mail.text,
        from_email=settings.ENV.email_from,
        to=[mail.to],
        headers={
            "Message-ID": message_id(mail),
            "Date": format_datetime(mail.created_at),
            "Auto-Submitted": "auto-generated",  # RFC 3834: nobody's absence is answered to us
            "X-Auto-Response-Suppress": "All",  # the same, as Exchange knows it
        },
    )
    if mail.html:
        message.attach_alternative(mail.html, "text/html")
    written: Any = message.message()
    in_bytes: bytes = written.as_bytes(linesep="\r\n")
    return in_bytes


def message_id(mail: Mail) -> str:
    return f"<{mail.pk}@{_host()}>"


def sender_address() -> str:
    """Of EMAIL_FROM, without the name."""
    return in_ascii(parseaddr(settings.ENV.email_from)[1])


def in_ascii(address: str) -> str:
    """As every mail server takes it: a name of another alphabet in punycode."""
    written: str = sanitize_address(address, "utf-8")
    return written


def _host() -> str:
    """PUBLIC_URL's; the sender's where that is not set."""
    host = urlsplit(settings.ENV.public_url).hostname or sender_address().rpartition("@")[2]
    return f"[IPv6:{host}]" if ":" in host else host
