"""Forget refresh tokens that have expired, and with them their place on the blacklist."""

from django.core.management import call_command


def run() -> None:
    call_command("flushexpiredtokens")
