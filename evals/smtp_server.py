"""A local mail server that speaks real SMTP and misbehaves as it is told to; for tests and long checks.

`server.behave` is a function of the recipient and of how often it was named before, and returns what happens:

    ""                   the mail is accepted
    "450 ...", "550 ..." this is the reply to the recipient (421 ends the session)
    "data 451 ..."       this is the reply to the text of the mail
    "drop"               the connection ends in the middle of the text
    "drop after"         the mail is accepted, and the connection ends before anybody is told
    "hang after"         the mail is accepted, and nobody is told
    "hang"               the recipient is not replied to
    "drip"               the reply to the recipient comes, but a byte now and then, and never ends

`server.stop()` and `server.start()` are an outage: the port refuses connections meanwhile, and stays the same.
"""

from __future__ import annotations

import asyncio
import email
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import default
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

Behaviour = Callable[[str, int], str]


@dataclass(frozen=True, slots=True)
class Accepted:
    """A mail that the server took on. at: seconds on the clock of time.monotonic."""

    to: str
    sender: str
    message: EmailMessage
    at: float
    told: bool  # whether the client was

    @property
    def message_id(self) -> str:
        return str(self.message["Message-ID"])

    def text(self, kind: str = "plain") -> str:
        """The body of this kind."""
        part = self.message.get_body((kind,))
        return "" if part is None else str(part.get_content()).replace("\r\n", "\n")


class MailCatcher:
    """credentials: what it asks for, if it does. context: with which it speaks TLS; implicit: from the first byte."""

    def __init__(
        self,
        *,
        credentials: tuple[str, str] | None = None,
        context: ssl.SSLContext | None = None,
        implicit: bool = False,
    ) -> None:
        self.behave: Behaviour = lambda to, times: ""
        self.accepted: list[Accepted] = []
        self.named: Counter[str] = Counter()  # recipients
        self.sessions = 0
        self.logins: list[tuple[str, str]] = []
        self.credentials = credentials
        self.context = context
        self.implicit = implicit
        self.port = _free_port()
        self._controller: Controller | None = None
        self._hanging = threading.Event()

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.port}"

    def start(self) -> None:
        self._hanging.clear()
        self._controller = _Controller(self, self.port)
        self._controller.start()

    def stop(self) -> None:
        self._hanging.set()
        if self._controller is not None:
            self._controller.stop()
            self._controller = None

    def doubled(self) -> int:
        """How many mails it took on more than once."""
        return sum(number - 1 for number in Counter(mail.message_id for mail in self.accepted).values())

    async def wait(self, seconds: float) -> None:
        """So long, or until the server stops."""
        deadline = time.monotonic() + seconds
        while not self._hanging.is_set() and time.monotonic() < deadline:
            await asyncio.sleep(0.05)


@contextmanager
def running_mail_catcher(**options: Any) -> Iterator[MailCatcher]:
    server = MailCatcher(**options)
    server.start()
    try:
        yield server
    finally:
        server.stop()


class _Controller(Controller):
    def __init__(self, catcher: MailCatcher, port: int) -> None:
        self.catcher = catcher
        context = catcher.context if catcher.implicit else None
        super().__init__(_Handler(catcher), hostname="127.0.0.1", port=port, ssl_context=context)

    def factory(self) -> SMTP:
        catcher = self.catcher
        security: dict[str, Any] = {}
        if catcher.context is not None and not catcher.implicit:
            security |= {"tls_context": catcher.context, "require_starttls": True}
        if catcher.credentials is not None:
            security |= {"authenticator": _authenticate(catcher), "auth_required": True}
            security["auth_require_tls"] = catcher.context is not None and not catcher.implicit
        return _Smtp(catcher, self.handler, enable_SMTPUTF8=True, **security)


def _authenticate(catcher: MailCatcher) -> Callable[..., AuthResult]:
    def check(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)  # noqa: S101
        given = (data.login.decode(), data.password.decode())
        catcher.logins.append(given)
        return AuthResult(success=given == catcher.credentials, handled=False)

    return check


class _Smtp(SMTP):
    def __init__(self, catcher: MailCatcher, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.catcher = catcher

    async def smtp_DATA(self, arg: str) -> None:  # noqa: N802 (the name is aiosmtpd's)
        if getattr(self.envelope, "fate", "") != "drop":
            await super().smtp_DATA(arg)
            return
        await self.push("354 Go on")
        with suppress(asyncio.IncompleteReadError):
            await self._reader.readuntil(b"\r\n")
        _hang_up(self)


class _Handler:
    def __init__(self, catcher: MailCatcher) -> None:
        self.catcher = catcher

    async def handle_EHLO(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        self.catcher.sessions += 1
        return responses

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        fate = self.catcher.behave(address, self.catcher.named[address])
        self.catcher.named[address] += 1
        if fate == "hang":
            await self.catcher.wait(600)
            return "451 It took too long"
        if fate == "drip":
            with suppress(ConnectionError):
                while server.transport is not None and not self.catcher._hanging.is_set():
                    server._writer.write(b"250-wait\r\n")
                    await server._writer.drain()
                    await asyncio.sleep(0.05)
            return "451 It took too long"
        if fate[:1].isdigit():
            if fate.startswith("421"):
                asyncio.get_running_loop().call_later(0.05, _hang_up, server)
            return fate
        envelope.fate = fate  # type: ignore[attr-defined]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        fate: str = envelope.fate  # type: ignore[attr-defined]
        if fate.startswith("data "):
            return fate.removeprefix("data ")
        content = envelope.original_content or b""
        message = email.message_from_bytes(content, policy=default)
        for to in envelope.rcpt_tos:
            told = not fate.endswith(" after")
            sender = envelope.mail_from or ""
            self.catcher.accepted.append(Accepted(to, sender, message, time.monotonic(), told))
        if fate == "drop after":
            _hang_up(server)
        elif fate == "hang after":
            await self.catcher.wait(600)
        return "250 OK"


def _hang_up(server: SMTP) -> None:
    """At once, what was not sent is lost."""
    if isinstance(server.transport, asyncio.Transport):
        server.transport.abort()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
