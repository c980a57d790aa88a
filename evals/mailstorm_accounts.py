"""python -m evals.mailstorm_accounts: the part of `evals.mailstorm` that is inside the product, as its own process.

`make N`: N accounts, each with a mail in its transaction, without HTTP. `count`: what the database holds, as JSON.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence

import django


def main(arguments: Sequence[str]) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "backend.settings")
    django.setup()
    if arguments[0] == "make":
        _make(int(arguments[1]))
    else:
        _count()


def _make(number: int) -> None:
    from django.db import transaction

    from backend.accounts.models import User
    from backend.outbox.services import enqueue

    for i in range(number):
        with transaction.atomic():
            user = User.objects.create(username=f"user{i}", email=f"user{i}@example.org")
            enqueue("test", user.email, {}, user=user)
        print(i, flush=True)


def _count() -> None:
    from backend.accounts.models import User
    from backend.outbox.models import Mail

    mails = [
        {"id": str(pk), "to": to, "state": state, "attempts": attempts, "error": error}
        for pk, to, state, attempts, error in Mail.objects.values_list("pk", "to", "state", "attempts", "error")
    ]
    print(json.dumps({"accounts": list(User.objects.values_list("email", flat=True)), "mails": mails}))


if __name__ == "__main__":
    main(sys.argv[1:])
