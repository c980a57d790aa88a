"""The Postman collection, run by newman against a fresh server."""

from __future__ import annotations

import email
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from email import policy
from pathlib import Path

import httpx
import pytest

from backend.environment import BASE_DIR
from tests.acceptance.server import PASSWORD, Server, serving
from tests.docs.postman import COLLECTION, requests

pytestmark = pytest.mark.acceptance

NEWMAN = BASE_DIR / "tests" / "postman" / "node_modules" / ".bin" / "newman"
STAFF = {"DJANGO_SUPERUSER_USERNAME": "operator", "DJANGO_SUPERUSER_PASSWORD": PASSWORD}


def test_the_collection_runs_from_top_to_bottom(make_server: Callable[..., Server], tmp_path: Path) -> None:
    if not shutil.which("node") or not NEWMAN.exists():
        pytest.skip("needs Node, and `npm ci` in tests/postman")
    knowledge = shutil.copytree(BASE_DIR / "knowledge", tmp_path / "knowledge")
    server = make_server(knowledge, **STAFF, DJANGO_SUPERUSER_EMAIL="operator@example.org")
    with serving(server):
        made = server.manage("createsuperuser", "--noinput")
        assert made.returncode == 0, made.stderr
        with httpx.Client(base_url=server.url, timeout=30) as nobody:
            given = {
                "base": server.url,
                "staff_username": "operator",
                "staff_password": PASSWORD,
                "verify_token": verify_token(server, nobody, "vera"),
                "reset_token": reset_token(server, nobody, "rita"),
            }
        report = tmp_path / "report.json"
        ran = subprocess.run(
            [
                *(str(NEWMAN), "run", str(COLLECTION), "--working-dir", str(COLLECTION.parent)),
                *("--reporters", "cli,json", "--reporter-json-export", str(report), "--color", "off"),
                *(part for name, value in given.items() for part in ("--env-var", f"{name}={value}")),
            ],
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
    assert ran.returncode == 0, ran.stdout[-6000:] + ran.stderr
    told = json.loads(report.read_text())["run"]
    assert told["failures"] == []
    asked = {execution["item"]["name"] for execution in told["executions"] if "response" in execution}
    assert asked == {each.name for each in requests()}, "nothing was left out"
    assert told["stats"]["assertions"]["pending"] == 0


def verify_token(server: Server, nobody: httpx.Client, name: str) -> str:
    """Of the mail that a signup causes."""
    account = {"username": name, "email": f"{name}@example.org", "password": PASSWORD}
    assert nobody.post("/signup", json=account).status_code == 201
    return token_of(server, f"{name}@example.org", "/verify-email")


def reset_token(server: Server, nobody: httpx.Client, name: str) -> str:
    """Of an account that forgot its password."""
    verify_token(server, nobody, name)
    assert nobody.post("/password/reset", json={"email": f"{name}@example.org"}).status_code == 202
    return token_of(server, f"{name}@example.org", "/password/reset/confirm")


def token_of(server: Server, address: str, path: str) -> str:
    """From the link to `path` in a mail to the address, which is a file while no mail server is set."""
    found: list[str] = []

    def has_come() -> bool:
        for file in (server.data / "mail").glob("[!.]*.eml"):
            mail = email.message_from_bytes(file.read_bytes(), policy=policy.default)
            body = mail.get_body(("plain",))
            if body is not None and address in str(mail["To"]):
                found.extend(re.findall(rf"{path}\?token=([^\s>]+)", body.get_content()))
        return bool(found)

    server.wait_until(has_come, f"a mail to {address} with a link to {path}")
    return found[0]
