"""`python deploy/healthcheck.py [PATH [PORT]]`: exit 0 when this machine's server answers a GET with 200.

Without arguments it asks Footnote for /healthz, by a name of ALLOWED_HOSTS: production answers to no other. It imports
nothing of the product, because it runs every few seconds.
"""

from __future__ import annotations

import http.client
import os
import sys

SECONDS = 4.0  # for the whole answer; a health check of the container gives it five


def main(path: str = "/healthz", port: str = "") -> int:
    """The exit code; what went wrong is printed."""
    host = os.environ.get("ALLOWED_HOSTS", "").split(",")[0].strip().removeprefix(".")
    headers = {"Host": host} if host and host != "*" else {}
    connection = http.client.HTTPConnection("127.0.0.1", int(port or os.environ.get("PORT") or 8000), timeout=SECONDS)
    try:
        connection.request("GET", path, headers=headers)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        sys.stderr.write(f"{path}: {error}\n")
        return 1
    finally:
        connection.close()
    if status != http.client.OK:
        sys.stderr.write(f"{path}: {status}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
