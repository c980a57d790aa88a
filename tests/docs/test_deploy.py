"""What deploy/ and docs/deployment.md name is there: settings, commands, files; and it asks for nothing that is unsafe.

No container is started. What a machine lacks (Compose, Caddy, systemd) is skipped and says so.
"""

from __future__ import annotations

import configparser
import ipaddress
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import get_commands
from dotenv import dotenv_values

from backend.environment import BASE_DIR, Environment, as_unset, read_environment

DEPLOY = BASE_DIR / "deploy"
UNITS = DEPLOY / "systemd"
PROGRAMS = Path(sys.executable).parent
SETTINGS = {str(field.alias) for field in Environment.model_fields.values()}
OTHERS = {
    "COMPOSE_PROFILES": "Compose",
    "OPENAI_API_KEY": "LangChain",
    "PATH": "the system",
    "PIP_DISABLE_PIP_VERSION_CHECK": "pip",
    "POSTGRESQL": "the Dockerfile",
    "POSTGRES_DB": "PostgreSQL's image",
    "POSTGRES_PASSWORD": "PostgreSQL's image",
    "POSTGRES_USER": "PostgreSQL's image",
    "PYTHONDONTWRITEBYTECODE": "Python",
    "PYTHONUNBUFFERED": "Python",
    "REQUIREMENTS": "the Dockerfile",
    "TESSERACT": "the Dockerfile",
    "UPSTREAM": "the Caddyfile",
}
SECRETS = {
    "SECRET_KEY": "n2Fv8sQ1pLx7Zr4Tb9Wc3Yd6Me5Kg0Hj-aQ3xV8mB2nC7kL1pR6tY",
    "POSTGRES_PASSWORD": "5b1f0a77c3d94e0b8a6c",
}
WITHOUT_A_CHECK = {"scheduler", "worker-ingestion", "worker-mail"}  # they serve nothing that could be asked for


def named_in(example: Path) -> set[str]:
    """Set, or to be uncommented."""
    return set(re.findall(r"(?m)^(?:# )?([A-Z][A-Z_]+)=", example.read_text()))


def given() -> dict[str, str]:
    """What `docker compose` fills in with the shipped example and two secrets."""
    example = dotenv_values(DEPLOY / "compose.env.example", interpolate=False)
    return {name: value or "" for name, value in example.items()} | SECRETS


def compose() -> Any:
    """The file with its variables filled in."""

    def value(found: re.Match[str]) -> str:
        name, kind, rest = found.groups()
        known = given().get(name, "")
        assert known or kind == ":-", f"{name} must be set, and the example does not"
        return known or str(rest)

    return yaml.safe_load(re.sub(r"\$\{(\w+)(:[-?])([^}]*)\}", value, (DEPLOY / "compose.yaml").read_text()))


def interpolated() -> set[str]:
    return set(re.findall(r"\$\{(\w+)", (DEPLOY / "compose.yaml").read_text()))


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose()["services"]
    return found


def units() -> dict[str, configparser.RawConfigParser]:
    """Each service as systemd reads it: with what is said for all of them."""
    shared = UNITS / "footnote-.service.d" / "hardening.conf"
    found = {}
    for path in UNITS.glob("*.service"):
        parser = configparser.RawConfigParser(strict=False, delimiters=("=",))
        parser.optionxform = str  # type: ignore[method-assign,assignment]
        parser.read([path, shared])
        found[path.name] = parser
    return found


def instructions() -> list[list[tuple[str, str]]]:
    """Of the Dockerfile, by stage: (instruction, the rest of the line)."""
    text = re.sub(r"(?m)^#.*\n", "", (DEPLOY / "Dockerfile").read_text()).replace("\\\n", " ")
    stages: list[list[tuple[str, str]]] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        name, _, rest = line.partition(" ")
        if name == "FROM":
            stages.append([])
        stages[-1].append((name, rest.strip()))
    return stages


def last(name: str) -> str:
    """The last such instruction of the stage that becomes the image."""
    return [rest for instruction, rest in instructions()[-1] if instruction == name][-1]


def kept_out(path: str) -> bool:
    """Whether .dockerignore keeps this path, or a folder that it is in, from the build; its last word counts."""
    parts = path.split("/")
    above = ["/".join(parts[: i + 1]) for i in range(len(parts))]
    out = False
    for line in (BASE_DIR / ".dockerignore").read_text().splitlines():
        pattern = line.lstrip("!")
        if pattern and not pattern.startswith("#"):
            wanted = re.escape(pattern).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*")
            if any(re.fullmatch(wanted, folder) for folder in above):
                out = not line.startswith("!")
    return out


def run(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, env={**os.environ, **environment}
    )


# --- names ---


def test_every_variable_is_a_setting_or_somebody_elses() -> None:
    named = interpolated() | named_in(DEPLOY / "compose.env.example") | named_in(UNITS / "footnote.env.example")
    for service in services().values():
        named |= set(service.get("environment", {})) | set(service.get("build", {}).get("args", {}))
    named |= set(re.findall(r"\{\$([A-Z_]+)", (DEPLOY / "Caddyfile").read_text()))
    for stage in instructions():
        for name, rest in stage:
            if name in ("ARG", "ENV"):
                named |= set(re.findall(r"(?:^|\s)([A-Z_]+)=", rest))
    for unit in units().values():
        named |= set(re.findall(r"([A-Z_]+)=", unit.get("Service", "Environment", fallback="")))
    assert len(named) > 30
    assert named - SETTINGS == set(OTHERS)


def test_what_the_example_sets_reaches_the_containers() -> None:
    """A value that compose.yaml sets by itself would win without a word."""
    fixed = set(services()["web"]["environment"]) - interpolated()
    assert not fixed & named_in(DEPLOY / "compose.env.example") - {"KNOWLEDGE_DIR"}
    assert "KNOWLEDGE_DIR" in interpolated(), "as the folder that is mounted"


def test_every_command_is_there() -> None:
    ours = [service for service in services().values() if "footnote" in service["image"]]
    started = [service["command"] for service in ours if "command" in service]
    started += [unit.get("Service", "ExecStart").split() for unit in units().values()]
    started += [json.loads(last("CMD"))]
    commands = set()
    for command in started:
        program, *arguments = command
        assert (PROGRAMS / Path(program).name).exists(), program
        if "manage.py" in arguments:
            commands.add(arguments[1])
        else:
            assert arguments[:2] == ["run", "--path"], "the Chroma server"
    assert commands == {"serve", "run_scheduler", "run_worker"} <= set(get_commands())


def test_every_file_that_the_guide_names_is_there() -> None:
    guide = (BASE_DIR / "docs/deployment.md").read_text()
    named = set(re.findall(r"\b(deploy/[\w./-]*\w)(?![\w*-])", guide)) - {"deploy/.env"}
    assert len(named) > 4
    assert not [path for path in named if not (BASE_DIR / path).exists()]


# --- settings that production takes ---


def assert_production(monkeypatch: pytest.MonkeyPatch, values: dict[str, str]) -> Environment:
    """Read these settings, and no others, as the program does."""
    for name, value in {**as_unset(), **values}.items():
        monkeypatch.setenv(name, value)
    env = read_environment()
    assert env.production
    assert env.require_key() == SECRETS["SECRET_KEY"]
    assert env.require_hosts() == ["chat.example.org"]
    assert env.site == "https://chat.example.org"
    assert env.vectors_shared
    assert not env.run_scheduler
    assert env.database_url.startswith("postgresql://")
    return env


@pytest.mark.parametrize("service", ["web", "scheduler", "worker-ingestion", "worker-mail"])
@pytest.mark.parametrize("tasks", ["inside", "celery"])
def test_the_settings_of_each_container_are_right(monkeypatch: pytest.MonkeyPatch, service: str, tasks: str) -> None:
    env = assert_production(monkeypatch, {**services()[service]["environment"], "TASKS": tasks})
    assert bool(env.require_broker()) == (tasks == "celery")


@pytest.mark.parametrize("tasks", ["inside", "celery"])
def test_the_settings_of_the_units_are_right(monkeypatch: pytest.MonkeyPatch, tasks: str) -> None:
    text = (UNITS / "footnote.env.example").read_text().replace("SECRET_KEY=", f"SECRET_KEY={SECRETS['SECRET_KEY']}")
    if tasks == "celery":
        text = re.sub(r"(?m)^# (TASKS|CELERY_BROKER_URL)=", r"\1=", text)
    values = dict(re.findall(r"(?m)^([A-Z_]+)=(.*)$", text))
    env = assert_production(monkeypatch, values)
    assert bool(env.require_broker()) == (tasks == "celery")
    for unit in units().values():
        if unit.has_option("Service", "EnvironmentFile"):
            assert f"/var/lib/{unit.get('Service', 'StateDirectory')}" == values["DATA_DIR"]
            assert unit.get("Service", "ReadWritePaths") == f"-{values['KNOWLEDGE_DIR']}"


def test_the_proxy_is_believed_and_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    env = assert_production(monkeypatch, services()["web"]["environment"])
    address = services()["proxy"]["networks"]["proxy"]["ipv4_address"]
    assert env.trusted_proxies == [address]
    [network] = compose()["networks"]["proxy"]["ipam"]["config"]
    assert ipaddress.ip_address(address) in ipaddress.ip_network(network["subnet"])
    assert ipaddress.ip_address(address) not in ipaddress.ip_network(network["ip_range"]), "given to another container"


# --- containers ---


def test_the_proxy_alone_is_reached_from_outside() -> None:
    assert [name for name, service in services().items() if "ports" in service] == ["proxy"]
    networks = {name: set(service["networks"]) for name, service in services().items()}
    assert compose()["networks"]["backend"]["internal"] is True
    assert networks["proxy"] == {"proxy"}
    assert networks["postgres"] == networks["redis"] == networks["chroma"] == {"backend"}


def test_every_container_may_do_little_and_comes_back() -> None:
    for name, service in services().items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["restart"] == "unless-stopped", name
        assert set(service.get("cap_add", [])) <= {"NET_BIND_SERVICE"}, name
        assert "privileged" not in service, name


def test_every_container_is_waited_for_and_asked_how_it_is() -> None:
    for name, service in services().items():
        for waited_for, how in service.get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"}, name
            assert waited_for not in WITHOUT_A_CHECK
        if name == "web":
            assert "healthcheck" not in service, "the image has one"
        elif name in WITHOUT_A_CHECK:
            assert service["healthcheck"] == {"disable": True}
        else:
            assert service["healthcheck"]["test"][0] == "CMD", name


def test_volumes_lie_where_the_image_has_folders_for_its_user() -> None:
    mounted = {
        volume.split(":")[1]
        for service in services().values()
        if "footnote" in service["image"]
        for volume in service["volumes"]
    }
    assert mounted == set(json.loads(last("VOLUME")))
    assert {services()["web"]["environment"][name] for name in ("DATA_DIR", "KNOWLEDGE_DIR")} < mounted
    named = {volume.split(":")[0] for service in services().values() for volume in service.get("volumes", [])}
    assert {name for name in named if "/" not in name} == set(compose()["volumes"])


def test_versions_are_pinned() -> None:
    images = [service["image"] for service in services().values()]
    images += [rest.split()[0] for stage in instructions() for name, rest in stage if name == "FROM"]
    for image in images:
        name, _, tag = image.partition(":")
        assert tag == "local" if name == "footnote" else re.match(r"\d", tag), image
    [pg_dump] = [rest for name, rest in instructions()[-1] if name == "ARG" and rest.startswith("POSTGRESQL=")]
    assert services()["postgres"]["image"].startswith(f"postgres:{pg_dump.partition('=')[2]}-"), "or backups fail"


# --- the image ---


def test_the_image_runs_as_nobody_in_particular() -> None:
    uid, _, gid = last("USER").partition(":")
    assert int(uid) > 1000
    assert int(gid) > 1000
    after = [name for name, _ in instructions()[-1]]
    assert "RUN" not in after[after.index("USER") :]
    assert f"user {uid}" in (BASE_DIR / "docs/deployment.md").read_text()
    assert f"--owner {uid} --group {gid}" in (BASE_DIR / "docs/deployment.md").read_text()


def test_the_image_starts_and_is_asked_without_a_shell() -> None:
    assert json.loads(last("CMD"))[:2] == ["python", "manage.py"]
    check = json.loads(last("HEALTHCHECK").partition("CMD ")[2])
    assert check[0] == "python"
    assert (BASE_DIR / check[1]).exists()
    assert last("STOPSIGNAL") == "SIGTERM"


def test_the_image_has_no_compiler() -> None:
    built, final = (" ".join(rest for name, rest in stage if name == "RUN") for stage in instructions())
    assert "gcc" in built.split()
    assert not set(final.split()) & {"gcc", "g++", "make", "build-essential", "libc6-dev"}


def test_the_image_has_the_program_and_none_of_what_is_kept_out() -> None:
    copied = {
        source
        for stage in instructions()
        for name, rest in stage
        if name == "COPY" and "--from" not in rest
        for source in rest.split()[:-1]
    }
    assert not [path for path in copied if not (BASE_DIR / path).exists() or kept_out(path)]
    packages = tomllib.loads((BASE_DIR / "pyproject.toml").read_text())["tool"]["importlinter"]["root_packages"]
    assert set(packages) <= copied
    assert {path.name for path in BASE_DIR.glob("requirements*.txt")} - {"requirements-dev.txt"} <= copied
    for path in (".env", "deploy/.env", "deploy/any.env", "data/footnote.sqlite3", ".git/config", ".venv/bin/python"):
        assert kept_out(path), path
    assert kept_out("backend/chat/__pycache__/models.cpython-311.pyc")
    assert not kept_out("backend/chat/models.py")


class Named(BaseHTTPRequestHandler):
    """Answers as production does: by one name alone, and only /healthz is there."""

    def do_GET(self) -> None:
        known = self.headers["Host"] == "chat.example.org"
        self.send_response(400 if not known else 200 if self.path == "/healthz" else 404)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the library's name)
        """Nothing is printed."""


@pytest.fixture
def port() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Named) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield int(server.server_address[1])
        server.shutdown()


@pytest.mark.parametrize(
    ("hosts", "path", "code"),
    [
        ("chat.example.org", "/healthz", 0),
        (" chat.example.org , other.example.org", "/healthz", 0),
        ("chat.example.org", "/nowhere", 1),
        ("other.example.org", "/healthz", 1),
        ("", "/healthz", 1),
    ],
)
def test_the_health_check_asks_by_a_name_that_is_answered(port: int, hosts: str, path: str, code: int) -> None:
    command = [sys.executable, str(DEPLOY / "healthcheck.py")]
    assert run([*command, path, str(port)], ALLOWED_HOSTS=hosts).returncode == code
    if path == "/healthz":
        assert run(command, ALLOWED_HOSTS=hosts, PORT=str(port)).returncode == code


def test_the_health_check_says_that_nobody_answers() -> None:
    done = run([sys.executable, str(DEPLOY / "healthcheck.py"), "/healthz", "1"])
    assert (done.returncode, done.stderr[:9]) == (1, "/healthz:")


# --- by the programs themselves ---


def composer() -> list[str]:
    """`docker compose`, or the program alone; skips where neither is there."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]):
            version = re.search(r"(\d+)\.\d+", run([*command, "version"]).stdout)
            if version and int(version[1]) >= 2:
                return command
    pytest.skip("Compose is not installed here")


@pytest.mark.parametrize("profile", [[], ["--profile", "celery"]])
def test_compose_takes_the_file(profile: list[str]) -> None:
    command = [*composer(), "--file", str(DEPLOY / "compose.yaml"), *profile]
    done = run([*command, "config", "--format", "json"], **given())
    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout)["services"]
    assert {name for name in services() if bool(profile) or "profiles" not in services()[name]} == set(read)
    for name, service in read.items():
        assert service.get("environment", {}).items() >= services()[name].get("environment", {}).items(), name


def test_compose_asks_for_what_is_missing() -> None:
    command = [*composer(), "--file", str(DEPLOY / "compose.yaml"), "config", "--quiet"]
    done = run(command, **{**given(), "SECRET_KEY": ""})
    assert done.returncode != 0
    assert "SECRET_KEY" in done.stderr


def test_caddy_takes_the_file(tmp_path: Path) -> None:
    if not shutil.which("caddy"):
        pytest.skip("Caddy is not installed here")
    command = ["caddy", "validate", "--adapter", "caddyfile", "--config", str(DEPLOY / "Caddyfile")]
    done = run(
        command, PUBLIC_URL="https://chat.example.org", XDG_DATA_HOME=str(tmp_path), XDG_CONFIG_HOME=str(tmp_path)
    )
    assert done.returncode == 0, done.stderr


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    """With the paths of this machine, since it looks for the programs. It tells of unknown words on stderr alone."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed here")
    folder = shutil.copytree(UNITS, tmp_path / "units")
    for path in folder.rglob("footnote*"):
        if path.is_file():
            text = path.read_text().replace("/opt/footnote/.venv/bin", str(PROGRAMS))
            path.write_text(text.replace("/opt/footnote", str(BASE_DIR)))
    names = ["footnote.target", *(name.replace("@", "@mail") for name in units())]
    command = ["systemd-analyze", "verify", "--man=no", *(str(folder / name) for name in names)]
    done = run(command, SYSTEMD_UNIT_PATH=f"{folder}:")
    assert (done.returncode, done.stderr) == (0, "")


def test_the_units_are_those_of_the_target() -> None:
    assert set(units()) == {f"footnote-{name}.service" for name in ("chroma", "scheduler", "web", "worker@")}
    for name, unit in units().items():
        service = dict(unit["Service"])
        assert unit.get("Install", "WantedBy") == unit.get("Unit", "PartOf") == "footnote.target"
        assert service["ProtectSystem"] == "strict", name
        assert service["NoNewPrivileges"] == "yes", name
        assert service["CapabilityBoundingSet"] == "", name
        assert service["User"] == "footnote", name
