"""Backing up and restoring a practice's database as an operator does it by hand, on either engine."""

from __future__ import annotations

import secrets
import sqlite3
from contextlib import closing
from pathlib import Path

from polytill.flows.context import Context
from polytill.storage.opening import is_postgres
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
