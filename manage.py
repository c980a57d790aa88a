#!/usr/bin/env python
"""The command line: serve, sync, and Django's own commands."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "backend.settings")
    try:
        _run()
    except KeyboardInterrupt:
        sys.exit(130)  # as shells say it: 128 and the signal's number


def _run() -> None:
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(f"Footnote cannot start. {error}")


if __name__ == "__main__":
    main()
