"""PostgreSQL: copied by pg_dump, which sees one moment of it; restored by pg_restore in one transaction.

The tables that were there are moved into a schema of their own first, which costs nothing and is the way back. Only
Footnote's tables are touched: others may share the database.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import IO

import psycopg
from django.conf import settings
from django.db import Error, connection, transaction
from django.db.backends.postgresql.client import DatabaseClient

from backend.backups.archive import Manifest, open_private
from backend.backups.databases import (
    Database,
    Snapshot,
    applied_migrations,
    count_rows,
    own_tables,
    refuse_other_counts,
)
from backend.backups.erasures import Entries
from backend.backups.errors import BackupError, Damaged, NotMade, Refused
from backend.backups.finishing import finish
from backend.backups.journal import is_under_way
from backend.environment import child_environment

ASIDE = "footnote_before_restore"  # the schema
GOING_SECONDS = 3.0  # until a connection that was closed is gone on the server too


class PostgreSQL(Database):
    vendor = "postgresql"

    def __init__(self, erased: Entries) -> None:
        self.erased = erased

    @property
    def root(self) -> Path:
        return Path(settings.ENV.data_dir)

    @property
    def live(self) -> list[Path]:
        return []

    def snapshot(self, target: Path) -> Snapshot:
        try:
            _require("pg_dump", self._server(), NotMade)
            with transaction.atomic(durable=True), connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                cursor.execute("SELECT pg_export_snapshot(), current_schema()")
                moment, schema = cursor.fetchone()
                tables = own_tables()
                chosen = [f'--table="{schema}"."{table}"' for table in tables]
                # Not compressed: the archive is.
                options = ["--format=custom", "--compress=0", "--no-owner", "--no-privileges", f"--snapshot={moment}"]
                with open_private(target) as file:
                    _run("pg_dump", [*options, *chosen], NotMade, stdout=file)
                return Snapshot(applied_migrations(cursor), count_rows(cursor, tables), self._server(), schema)
        except Error as error:
            raise NotMade(f"The database cannot be copied: {_line(error)}.") from None

    def exists(self) -> bool:
        return True

    def check(self, manifest: Manifest) -> None:
        try:
            server = self._server()
            if manifest.server > server:
                raise Refused(
                    f"The backup is of PostgreSQL {manifest.server}, and the database is PostgreSQL {server}."
                )
            _require("pg_restore", server, Refused)
            with connection.cursor() as cursor:
                cursor.execute("SELECT current_schema(), has_database_privilege(current_database(), 'CREATE')")
                schema, may_create = cursor.fetchone()
                if schema != manifest.schema_name:
                    raise Refused(f"The backup's tables are in the schema {manifest.schema_name}, these in {schema}.")
                if not may_create:
                    raise Refused(
                        "To keep what is there aside, Footnote needs a schema of its own for a while: "
                        "GRANT CREATE ON DATABASE to its role."
                    )
            if _tables_of(ASIDE) and not is_under_way():
                raise Refused(
                    f"The schema {ASIDE} holds what another DATA_DIR's restore set aside. Finish that one, or drop it."
                )
            if others := _others():
                raise Refused(f"Others use the database; stop them first: {', '.join(others)}.")
        except (Error, psycopg.Error) as error:
            raise Refused(f"The database does not answer: {_line(error)}.") from None

    def prepare(self, staged: Path, manifest: Manifest) -> int:
        _run("pg_restore", ["--list", str(staged)], Damaged, connected=False)
        return 0

    def set_aside(self, manifest: Manifest) -> None:
        with transaction.atomic(durable=True), connection.cursor() as cursor:
            cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {ASIDE}")
            kept = _tables_of(ASIDE)
            for table in self._tables(manifest):
                if table in kept:
                    cursor.execute(f"DROP TABLE {connection.ops.quote_name(table)} CASCADE")
                else:
                    cursor.execute(f"ALTER TABLE {connection.ops.quote_name(table)} SET SCHEMA {ASIDE}")

    def place(self, staged: Path, manifest: Manifest) -> int:
        connection.close()
        options = ["--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges"]
        _run("pg_restore", [*options, str(staged)], BackupError)
        refuse_other_counts(manifest, BackupError)
        return finish(self.erased)

    def remove_new(self, manifest: Manifest | None) -> None:
        with transaction.atomic(durable=True), connection.cursor() as cursor:
            for table in self._tables(manifest):
                cursor.execute(f"DROP TABLE {connection.ops.quote_name(table)} CASCADE")

    def put_back(self) -> None:
        with transaction.atomic(durable=True), connection.cursor() as cursor:
            cursor.execute("SELECT current_schema()")
            [schema] = cursor.fetchone()
            present = set(connection.introspection.table_names(cursor))
            for table in sorted(_tables_of(ASIDE)):
                name = connection.ops.quote_name(table)
                if table in present:
                    cursor.execute(f"DROP TABLE {name} CASCADE")
                cursor.execute(f"ALTER TABLE {ASIDE}.{name} SET SCHEMA {connection.ops.quote_name(schema)}")
            cursor.execute(f"DROP SCHEMA IF EXISTS {ASIDE}")

    def forget_aside(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"DROP SCHEMA IF EXISTS {ASIDE} CASCADE")

    def _server(self) -> int:
        """Its major version."""
        connection.ensure_connection()
        return int(connection.pg_version) // 10_000  # type: ignore[attr-defined]

    def _tables(self, manifest: Manifest | None) -> list[str]:
        """Those of this release and of the backup that exist."""
        mentioned = set(manifest.counts) if manifest else set()
        return sorted(set(own_tables()) | (mentioned & set(connection.introspection.table_names())))


def _tables_of(schema: str) -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", [schema])
        return {name for (name,) in cursor.fetchall()}


def _others() -> list[str]:
    """The programs that are connected to this database, but for this one; the server needs a moment to see one go."""
    connection.close()
    connection.close_pool()  # type: ignore[attr-defined]
    until = time.monotonic() + GOING_SECONDS
    with psycopg.connect(**connection.get_connection_params(), autocommit=True) as own:
        while True:
            rows = own.execute(
                "SELECT DISTINCT coalesce(nullif(application_name, ''), 'a program without a name') "
                "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
                "AND backend_type = 'client backend' ORDER BY 1"
            ).fetchall()
            if not rows or time.monotonic() > until:
                return [name for (name,) in rows]
            time.sleep(0.1)


def _require(tool: str, server: int, refusal: type[BackupError]) -> None:
    """The tool must be installed, and know this server."""
    if shutil.which(tool) is None:
        raise refusal(f"{tool} is not installed. It comes with PostgreSQL's client programs (postgresql-client).")
    told = _run(tool, ["--version"], refusal, connected=False)
    found = re.search(r"\) (\d+)", told)
    if found is None or int(found[1]) < server:
        raise refusal(f"{told.strip()} is older than the server ({server}): install postgresql-client-{server}.")


def _run(
    tool: str,
    arguments: list[str],
    error: type[BackupError],
    *,
    connected: bool = True,
    stdout: IO[bytes] | None = None,
) -> str:
    """Run it, on the configured database where it is to be connected. Returns what it printed; `error` with its last
    word.
    """
    [_, *place], environment = DatabaseClient.settings_to_cmd_args_env(connection.settings_dict, [])
    if connected:
        where = place if tool == "pg_dump" else [*place[:-1], f"--dbname={place[-1]}"]
        arguments = [*arguments[:-1], *where, arguments[-1]] if tool == "pg_restore" else [*arguments, *where]
    done = subprocess.run(  # noqa: S603
        [shutil.which(tool) or tool, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=stdout or subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=child_environment(**(environment or {}), LC_ALL="C", PGAPPNAME="footnote backup"),
        check=False,
    )
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines() or [f"it ended with {done.returncode}"]
        raise error(f"{tool} failed: {said[-1] if tool == 'pg_dump' else said[0]}")
    return (done.stdout or b"").decode("utf-8", "replace")


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
