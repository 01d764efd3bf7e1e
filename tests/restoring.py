"""Backing up and restoring databases as an operator does it by hand, on either engine."""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
from contextlib import closing
from pathlib import Path

from polytill.flows.context import Context
from polytill.settings import Settings
from polytill.storage.dumps import client_program
from polytill.storage.opening import is_postgres, sqlite_path
from polytill.storage.postgres_connect import ADMIN, connect, with_database


async def _on_server(server: str, *statements: str) -> None:
    connection = await connect(with_database(server, ADMIN))
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


class Copy:
    """A copy of one practice's database, as it was when it was made."""

    def __init__(self, context: Context, database: str) -> None:
        self._location = context.settings.practice_databases.get_secret_value()
        self._database = database
        self._copy = f"{database}_{secrets.token_hex(3)}"

    @staticmethod
    async def of(context: Context, practice_id: int) -> Copy:
        """Make a copy now. Connections to a PostgreSQL database end."""
        made = Copy(context, (await context.opening.entry(practice_id)).database_name)
        if is_postgres(made._location):
            ends = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = "
            await _on_server(
                made._location,
                f"{ends}'{made._database}'",
                f'CREATE DATABASE "{made._copy}" TEMPLATE "{made._database}"',
            )
        else:
            with closing(sqlite3.connect(made._file(made._database))) as own, closing(made._new()) as new:
                own.backup(new)
        return made

    def _file(self, name: str) -> Path:
        return Path(self._location) / f"{name}.db"

    def _new(self) -> sqlite3.Connection:
        return sqlite3.connect(self._file(self._copy))

    async def restore(self) -> None:
        """Put the copy in place of the database, for good."""
        if is_postgres(self._location):
            await _on_server(
                self._location,
                f'DROP DATABASE "{self._database}" WITH (FORCE)',
                f'ALTER DATABASE "{self._copy}" RENAME TO "{self._database}"',
            )
            return
        self._replace()

    def _replace(self) -> None:
        for suffix in ("-wal", "-shm"):
            Path(f"{self._file(self._database)}{suffix}").unlink(missing_ok=True)
        self._file(self._copy).replace(self._file(self._database))


class OwnerBackup:
    """A backup of the owner database, made and restored with the tools of its engine."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._content = b""

    @staticmethod
    async def of(settings: Settings) -> OwnerBackup:
        """Make a backup now: a copy of the file, or a dump in PostgreSQL's custom format."""
        made = OwnerBackup(settings.owner_database_url.get_secret_value())
        if is_postgres(made._url):
            made._content = await _client("pg_dump", "--format=custom", f"--dbname={made._url}")
        else:
            with closing(sqlite3.connect(sqlite_path(made._url))) as own:
                made._content = own.serialize()
        return made

    async def restore(self, is_elsewhere: bool = False) -> None:
        """Put the backup in place of the database. ``is_elsewhere``: on PostgreSQL into a new database of its name."""
        if not is_postgres(self._url):
            self._replace_file(sqlite_path(self._url))
            return
        server, _, name = self._url.rpartition("/")
        clean = ["--clean", "--if-exists"]
        if is_elsewhere:
            await _on_server(server, f'DROP DATABASE "{name}" WITH (FORCE)', f'CREATE DATABASE "{name}"')
            clean = []
        await _client("pg_restore", *clean, "--single-transaction", f"--dbname={self._url}", given=self._content)

    def _replace_file(self, path: Path) -> None:
        for suffix in ("-wal", "-shm"):
            Path(f"{path}{suffix}").unlink(missing_ok=True)
        copy = path.with_name(f"{path.name}.restored")
        copy.write_bytes(self._content)
        copy.replace(path)


async def _client(program: str, *words: str, given: bytes = b"") -> bytes:
    pipe = asyncio.subprocess.PIPE
    started = await asyncio.create_subprocess_exec(
        client_program(program), *words, stdin=pipe, stdout=pipe, stderr=pipe
    )
    content, problem = await started.communicate(given)
    assert started.returncode == 0, problem.decode()
    return content
