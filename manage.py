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
    from django.db import OperationalError

    try:
        if sys.argv[1:2] == ["serve"]:
            from backend.api import counting

            counting.begin()
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(f"Footnote cannot start. {error}")
    except OperationalError as error:
        from psycopg_pool import PoolTimeout

        if not isinstance(error.__cause__, PoolTimeout):
            raise
        sys.exit(f"The PostgreSQL of DATABASE_URL does not answer: {error}.")


if __name__ == "__main__":
    main()
