"""Mail without a mail server: each is a file in DATA_DIR/mail, named by its row's id."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

from django.conf import settings

from backend.outbox.models import Mail
from backend.outbox.smtp import ServerTrouble, one_line

logger = logging.getLogger(__name__)

LINK = re.compile(r"https?://[^\s<>\"]+")


class Folder:
    """Takes mail as a Session does; only the owner may read it, because of the links in it."""

    taken = 0

    def open(self) -> None:
        with _trouble():
            _folder().mkdir(mode=0o700, parents=True, exist_ok=True)

    def close(self) -> None:
        """Nothing is kept open."""

    def send(self, mail: Mail, message: bytes) -> None:
        """A file appears whole or not at all. Its link is logged, unless strangers may reach this server."""
        path = path_of(mail.pk)
        draft = path.with_name(f".{path.name}")
        with _trouble():
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(message)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        if settings.ENV.production:
            logger.warning("EMAIL_URL is missing: mail (%s) is only written to %s", mail.kind, path)
        else:
            link = LINK.search(mail.text)
            logger.info("mail (%s) is in %s%s", mail.kind, path, f", its link: {link.group()}" if link else "")


@contextmanager
def _trouble() -> Iterator[None]:
    """The disk is full, or the folder may not be written: no mail's fault."""
    try:
        yield
    except OSError as error:
        raise ServerTrouble(one_line(str(error))) from error


def path_of(mail_id: UUID) -> Path:
    return _folder() / f"{mail_id}.eml"


def remove(mail_id: UUID) -> None:
    """The mail's file, if there is one, and what a crash left of its draft."""
    path = path_of(mail_id)
    path.unlink(missing_ok=True)
    path.with_name(f".{path.name}").unlink(missing_ok=True)


def remove_orphans() -> int:
    """The files whose rows are gone, whoever deleted those. How many there were."""
    found = {_id_of(path): path for path in _folder().glob("*.eml")} if _folder().is_dir() else {}
    ids = [mail_id for mail_id in found if mail_id is not None]
    known: set[UUID] = set()
    for start in range(0, len(ids), 500):
        known |= set(Mail.objects.filter(pk__in=ids[start : start + 500]).values_list("pk", flat=True))
    orphans = [mail_id for mail_id in ids if mail_id not in known]
    for mail_id in orphans:
        remove(mail_id)
    return len(orphans)


def _id_of(path: Path) -> UUID | None:
    try:
        return UUID(path.stem.removeprefix("."))
    except ValueError:
        return None


def _folder() -> Path:
    folder: Path = settings.ENV.data_dir / "mail"
    return folder
