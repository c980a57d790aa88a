"""One session with the mail server, and what its refusals mean for a mail.

MailError
├── Refused         for good: the address, or what the mail says
├── Deferred        this mail, this time
└── ServerTrouble   no mail at all: the server is away, wants other credentials, refuses the sender
"""

from __future__ import annotations

import smtplib
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from django.core.mail.utils import DNS_NAME

from backend.outbox.messages import in_ascii, sender_address
from backend.outbox.models import Mail
from backend.outbox.server import MailServer


class MailError(Exception):
    """A mail was not accepted; the message says why."""


class Refused(MailError):
    pass


class Deferred(MailError):
    pass


class ServerTrouble(MailError):
    pass


class Session:
    """Opened when a mail is there, kept for the next ones. One thread at a time."""

    def __init__(self, server: MailServer) -> None:
        self.server = server
        self.taken = 0  # mails since the connection was made
        self._smtp: smtplib.SMTP | None = None
        self._fresh = False

    def open(self) -> None:
        """Connect, unless the last connection still lives. ServerTrouble when that does not work."""
        if self._smtp is not None and (self._fresh or self._is_alive(self._smtp)):
            return
        self.close()
        smtp = self._make()
        try:
            with _at_most(self.server.longest, smtp):
                code, reply = smtp.connect(self.server.host, self.server.port)
                if code != 220:
                    raise smtplib.SMTPConnectError(code, reply)
                if self.server.encryption == "starttls":
                    smtp.starttls(context=ssl.create_default_context())
                if self.server.username:
                    smtp.login(self.server.username, self.server.password)
        except (OSError, ValueError) as error:  # what smtplib raises is an OSError, but for a user it cannot encode
            smtp.close()
            raise ServerTrouble(f"{self.server}: {describe(error)}") from error
        self._smtp, self._fresh, self.taken = smtp, True, 0

    def send(self, mail: Mail, message: bytes) -> None:
        """Hand a mail in. Returns when the server has taken it on; MailError when it has not, or has not said so."""
        assert self._smtp is not None, "open() comes first"  # noqa: S101
        self._fresh = False
        try:
            to = in_ascii(mail.to)
            with _at_most(self.server.longest, self._smtp):
                self._smtp.sendmail(sender_address(), [to], message)
        except smtplib.SMTPRecipientsRefused as error:
            raise _meaning(*error.recipients[to]) from error
        except smtplib.SMTPDataError as error:
            raise _meaning(error.smtp_code, error.smtp_error) from error
        except (smtplib.SMTPSenderRefused, smtplib.SMTPHeloError) as error:
            raise ServerTrouble(f"{self.server}: {describe(error)}") from error
        except ValueError as error:
            raise Refused(f"the address cannot be written in SMTP: {describe(error)}") from error
        except OSError as error:
            raise Deferred(describe(error)) from error
        self.taken += 1

    def close(self) -> None:
        smtp, self._smtp = self._smtp, None
        if smtp is None:
            return
        with suppress(OSError), _at_most(self.server.timeout, smtp):
            smtp.quit()
        smtp.close()

    def _make(self) -> smtplib.SMTP:
        name, timeout = DNS_NAME.get_fqdn(), self.server.timeout
        if self.server.encryption == "tls":
            context = ssl.create_default_context()
            smtp: smtplib.SMTP = smtplib.SMTP_SSL(local_hostname=name, timeout=timeout, context=context)
        else:
            smtp = smtplib.SMTP(local_hostname=name, timeout=timeout)
        # The name that the certificate must have. smtplib takes it from its constructor alone, which would connect at
        # once, out of reach of `_at_most` (https://github.com/python/cpython/issues/80275).
        smtp._host = self.server.host  # type: ignore[attr-defined]
        return smtp

    def _is_alive(self, smtp: smtplib.SMTP) -> bool:
        """Servers end idle sessions, and busy ones after so many mails."""
        try:
            with _at_most(self.server.timeout, smtp):
                return smtp.noop()[0] == 250
        except OSError:
            return False


def describe(error: Exception) -> str:
    """In one line, without codes of the terminal: part of it was written by the server."""
    if isinstance(error, smtplib.SMTPSenderRefused):
        text = f"{error.smtp_code} {_text(error.smtp_error)} (sender {error.sender})"
    elif isinstance(error, smtplib.SMTPResponseException):
        text = f"{error.smtp_code} {_text(error.smtp_error)}"
    else:
        text = str(error) or type(error).__name__
    return one_line(text)


def one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _meaning(code: int, reply: bytes | str) -> MailError:
    text = one_line(f"{code} {_text(reply)}")
    if code == 421:
        return ServerTrouble(text)
    return Refused(text) if 500 <= code <= 599 else Deferred(text)


def _text(reply: bytes | str) -> str:
    return reply.decode("utf-8", "replace") if isinstance(reply, bytes) else reply


@contextmanager
def _at_most(seconds: float, smtp: smtplib.SMTP) -> Iterator[None]:
    """End the connection after so long: a server that sends a byte now and then passes every timeout of a socket."""

    def cut() -> None:
        if smtp.sock is not None:
            with suppress(OSError):
                socket.socket.shutdown(smtp.sock, socket.SHUT_RDWR)

    watch = threading.Timer(seconds, cut)
    watch.daemon = True
    watch.start()
    try:
        yield
    finally:
        watch.cancel()
