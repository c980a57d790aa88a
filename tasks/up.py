"""python -m tasks.up (`make up`): the whole stack on this machine, without containers.

A Chroma server, several web workers, the scheduler, and with TASKS=celery its workers: each a process of its own under
supervisord, which starts again what ends. PostgreSQL, Redis and RabbitMQ are where DATABASE_URL, REDIS_URL and
CELERY_BROKER_URL say; without them it is SQLite, and the database counts.
"""

from __future__ import annotations

import os
import pwd
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

from backend.environment import BASE_DIR, Environment, child_environment, is_loopback, read_environment
from tasks.ports import why_taken

WEB_WORKERS = 2  # where WEB_WORKERS is not set
STOP_SECONDS = 15  # until supervisord kills: the server takes five at the most, a mail under way a little longer
START_SECONDS = 2  # what ends sooner is started again after a pause, each time a second longer
STARTS = 1000


@dataclass(frozen=True)
class Program:
    """A process of the stack. Those of a higher place are stopped earlier."""

    name: str
    command: list[str]
    place: int
    environment: dict[str, str] = field(default_factory=dict)
    own_log: bool = False  # in DATA_DIR/up, because it is long and tells little


def chroma_of(env: Environment) -> tuple[str, bool]:
    """The address of the Chroma server, empty where another store is used; and whether it is to be started here."""
    if env.vector_store != "chroma":
        return "", False
    if not env.chroma_url:
        return f"http://127.0.0.1:{env.port + 1}", True
    parts = urlsplit(env.chroma_url)
    here = is_loopback(parts.hostname or "") and parts.scheme == "http"
    return env.chroma_url, here and not why_taken(parts.hostname or "", parts.port or 8000)


def programs(env: Environment, chroma: str, start_chroma: bool) -> list[Program]:
    """What the stack consists of. `chroma` is its server's address."""
    manage = [sys.executable, "manage.py"]
    workers = env.web_workers if "web_workers" in env.model_fields_set else WEB_WORKERS
    found = [
        Program("web", [*manage, "serve"], 20, {"WEB_WORKERS": str(workers), "RUN_SCHEDULER": "off"}),
        Program("scheduler", [*manage, "run_scheduler"], 30),
    ]
    if start_chroma:
        parts = urlsplit(chroma)
        server = str(Path(sys.executable).with_name("chroma"))
        path = str(env.data_dir / "chroma-server")
        command = [server, "run", "--path", path, "--host", str(parts.hostname), "--port", str(parts.port or 8000)]
        found.insert(0, Program("chroma", command, 10, {"ANONYMIZED_TELEMETRY": "False"}, own_log=True))
    if env.tasks == "celery":
        found += [Program(f"worker-{name}", [*manage, "run_worker", name], 30) for name in ("ingestion", "mail")]
    return found


def configuration(stack: list[Program], folder: Path) -> str:
    """supervisord's file. In it a percent sign begins a placeholder."""
    lines = [
        "[supervisord]",
        "nodaemon=true",
        f"user={pwd.getpwuid(os.getuid()).pw_name}",
        f"logfile={_escaped(str(folder / 'supervisord.log'))}",
        f"pidfile={_escaped(str(folder / 'supervisord.pid'))}",
        f"childlogdir={_escaped(str(folder))}",
    ]
    for program in stack:
        command = [sys.executable, "-m", "tasks.bound", *program.command]
        settings = ",".join(f'{name}="{_escaped(value)}"' for name, value in program.environment.items())
        lines += [
            "",
            f"[program:{program.name}]",
            f"command={_escaped(shlex.join(command))}",
            f"directory={_escaped(str(BASE_DIR))}",
            f"environment={settings}",
            f"priority={program.place}",
            "autorestart=true",
            f"startsecs={START_SECONDS}",
            f"startretries={STARTS}",
            f"stopwaitsecs={STOP_SECONDS}",
            "stopsignal=TERM",
            "killasgroup=true",
            "redirect_stderr=true",
            *_log(program, folder),
        ]
    return "\n".join(lines) + "\n"


def _log(program: Program, folder: Path) -> list[str]:
    if program.own_log:
        file = _escaped(str(folder / f"{program.name}.log"))
        return [f"stdout_logfile={file}", "stdout_logfile_maxbytes=5MB", "stdout_logfile_backups=2"]
    return ["stdout_logfile=/dev/fd/1", "stdout_logfile_maxbytes=0"]


def main() -> int:
    """Returns only when it cannot be started: this process becomes supervisord."""
    try:
        env = read_environment()
        if env.vector_store == "faiss":
            raise ImproperlyConfigured(
                "VECTOR_STORE=faiss is embedded, for one process: `make run`. For several use chroma, pgvector or "
                "pinecone."
            )
        chroma, start_chroma = chroma_of(env)
        _refuse_taken(env.host, env.port, "PORT")
        if start_chroma:
            _refuse_taken(str(urlsplit(chroma).hostname), urlsplit(chroma).port or 8000, "CHROMA_URL or PORT")
    except ImproperlyConfigured as error:
        sys.stderr.write(f"{error}\n")
        return 1
    given = child_environment(CHROMA_URL=chroma, PYTHONUNBUFFERED="1")
    migrated = subprocess.run([sys.executable, "manage.py", "migrate", "--verbosity", "0"], cwd=BASE_DIR, env=given)
    if migrated.returncode:
        return migrated.returncode
    folder = env.data_dir / "up"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "supervisord.conf"
    stack = programs(env, chroma, start_chroma)
    file.write_text(configuration(stack, folder), "utf-8")
    sys.stdout.write(_told(env, chroma, start_chroma, stack))
    sys.stdout.flush()
    os.chdir(BASE_DIR)
    command = [sys.executable, "-m", "supervisor.supervisord", "--nodaemon", "--configuration", str(file)]
    return _become(command, given)


def _become(command: list[str], environment: dict[str, str]) -> NoReturn:
    os.execve(command[0], command, environment)  # noqa: S606  # nosec B606


def _told(env: Environment, chroma: str, start_chroma: bool, stack: list[Program]) -> str:
    database = "PostgreSQL" if env.database_url else "SQLite (DATABASE_URL names a PostgreSQL)"
    vectors = (
        f"Chroma at {chroma}, {'started here' if start_chroma else 'which is there'}" if chroma else env.vector_store
    )
    counts = "Redis" if env.redis_url else "the database (REDIS_URL names a Redis)"
    return (
        f"Processes: {', '.join(program.name for program in stack)}. Database: {database}. Vectors: {vectors}. "
        f"Throttles: {counts}.\nStop with Ctrl-C.\n"
    )


def _refuse_taken(host: str, port: int, setting: str) -> None:
    if why := why_taken(host, port):
        raise ImproperlyConfigured(f"{host}:{port} cannot be used ({why}). Set {setting} to another.")


def _escaped(text: str) -> str:
    return text.replace("%", "%%")


if __name__ == "__main__":
    sys.exit(main())
