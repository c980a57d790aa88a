"""`manage.py outbox`: what waits to be sent and what was given up; have it tried again; try the mail server."""

from __future__ import annotations

import json
import signal
import time
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from backend.knowledge.index import hold_data_dir
from backend.outbox import services
from backend.outbox.delivery import deliver
from backend.outbox.files import path_of
from backend.outbox.models import Mail, MailState
from backend.outbox.selectors import count_by_state
from tasks.sender import MailSender

SHOWN = 20
STOP_SECONDS = 10.0


class Command(BaseCommand):
    help = "Tell how many mails are pending, sent and dead, and why; try them again; send mail, or a test."

    def add_arguments(self, parser: CommandParser) -> None:
        which = parser.add_mutually_exclusive_group()
        which.add_argument("--requeue", metavar="ID", nargs="+", type=UUID, help="try these mails again, at once")
        which.add_argument("--dead", action="store_true", help="try all mails again that were given up")
        which.add_argument("--test", metavar="ADDRESS", help="send a mail there now, and tell what the server says")
        which.add_argument("--send", action="store_true", help="send mail until stopped, beside or instead of a server")
        which.add_argument("--json", action="store_true", help="the counts as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["requeue"] or options["dead"]:
            self._requeue(options["requeue"])
            return
        if options["send"]:
            self._send()
            return
        if options["test"]:
            self._test(options["test"])
            return
        counts = count_by_state()
        if options["json"]:
            self.stdout.write(json.dumps(counts))
            return
        self.stdout.write(", ".join(f"{number} {state}" for state, number in counts.items()))
        waiting = Mail.objects.exclude(state=MailState.SENT).exclude(error="")
        for mail in waiting.order_by("state", "-pk")[:SHOWN]:
            self.stdout.write(
                f"{mail.pk}  {mail.state:7}  {mail.kind}  to {mail.to}, {mail.attempts} tries: {mail.error}"
            )
        if (more := waiting.count() - SHOWN) > 0:
            self.stdout.write(f"and {more} more; see /admin/outbox/mail/")

    def _requeue(self, ids: list[UUID] | None) -> None:
        number = services.requeue(ids)
        if ids is not None and number < len(set(ids)):
            missing = len(set(ids)) - number
            raise CommandError(
                f"{number} are tried again; {missing} of these are not there, were sent, or are being sent."
            )
        self.stdout.write(f"{number} mails are tried again.")

    def _send(self) -> None:
        hold_data_dir()
        sender = MailSender()
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        sender.start()
        try:
            while sender.is_alive:
                time.sleep(1)
        except KeyboardInterrupt:
            sender.stop(STOP_SECONDS)

    def _test(self, address: str) -> None:
        try:
            mail = services.enqueue("test", address, {})
        except ValidationError as error:
            raise CommandError(f"{address}: {error.messages[0]}") from None
        done = deliver()
        mail.refresh_from_db()
        if mail.state != MailState.SENT:
            raise CommandError(f"It was not sent: {mail.error or done.trouble or 'another process is sending it'}")
        server = settings.ENV.mail_server
        where = f"{server} has taken it" if server else f"EMAIL_URL is not set: it is in {path_of(mail.pk)}"
        self.stdout.write(f"{where}.")
