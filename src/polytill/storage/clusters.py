"""Clusters: where practice databases are created. A directory of SQLite files, or a PostgreSQL server."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
from pathlib import Path
from typing import Any

from polytill.domain.database_urls import is_postgres, place_of
from polytill.domain.errors import DatabaseRefused, OperatorError
from polytill.storage import files, migrating
from polytill.storage.anchors import Anchor
from polytill.storage.databases import Database, Engine
from polytill.storage.postgres import Budget, PostgresEngine
from polytill.storage.postgres_connect import ADMIN, connect, refusals, with_database
from polytill.storage.sqlite import Hop, SqliteEngine, file_fault, thread_hop

OLDEST_SERVER = 15  # of PostgreSQL

_ROOM = (
    "SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int"
    " - COALESCE(current_setting('reserved_connections', true)::int, 0)"
)


def new_sqlite_file(path: Path) -> None:
    """Create an empty database file that only this user can read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode=WAL").fetchall()
    finally:
        connection.close()
    path.chmod(0o600)


async def create_postgres_database(server_url: str, name: str) -> bool:
    """Create a database on a server. False if it exists already."""
    connection = await connect(with_database(server_url, ADMIN))
    try:
        return await _make_database(connection, name, None, place_of(server_url))
    finally:
        await connection.close()


async def _make_database(connection: Any, name: str, template: str | None, place: str) -> bool:
    if await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", name):
        return False
    clause = f' TEMPLATE "{template}"' if template else ""
    with refusals(f"make the database {name} on the server {place} (it needs CREATEDB)"):
        await connection.execute(f'CREATE DATABASE "{name}"{clause}')
    return True


async def drop_postgres_database(server_url: str, name: str) -> None:
    """Drop a database, even while others are connected to it."""
    connection = await connect(with_database(server_url, ADMIN))
    try:
        await _drop_database(connection, name)
    finally:
        await connection.close()


async def _drop_database(connection: Any, name: str) -> None:
    with refusals(f"remove the database {name}"):
        await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


async def check_server(url: str) -> None:
    """Raise ``NotNow`` or ``OperatorError`` with one sentence if practices cannot be created on a PostgreSQL server."""
    cluster = Cluster(url, 2, thread_hop)
    try:
        await cluster.check()
    finally:
        await cluster.close()


class Cluster:
    """Where practice databases are created: a directory of SQLite files, or a PostgreSQL server."""

    def __init__(self, location: str, connections: int, hop: Hop) -> None:
        self.location = location
        self._hop = hop
        self._budget = Budget(location, connections) if is_postgres(location) else None
        self._template_turn = asyncio.Lock()

    @property
    def budget(self) -> Budget | None:
        """The connection budget of this server. None for a directory."""
        return self._budget

    def engine(self, database_name: str, anchor: Anchor | None = None) -> Engine:
        """The engine of one of this cluster's databases. With ``anchor``, each connection is checked, and one that leads
        to the database of another practice is refused."""
        if self._budget is not None:
            if anchor is not None:
                self._budget.expect(database_name, anchor)
            return PostgresEngine(self._budget, database_name)
        return SqliteEngine(self.file(database_name), self._hop, anchor)

    def file(self, database_name: str) -> Path:
        """The file of a database, if this is a directory of them."""
        return Path(self.location) / f"{database_name}.db"

    async def create(self, database_name: str) -> None:
        """A new database at the current revision of the practice schema, copied from a template."""
        async with self._template_turn:
            template = await self._template()
        if self._budget is not None:
            async with self._budget.admin() as connection:
                made = await _make_database(connection, database_name, template, place_of(self.location))
            if not made:
                raise OperatorError(f"A database named {database_name} exists already; nothing was changed.")
            return
        await self._hop(lambda: _copy_new(self.file(template), self.file(database_name)))

    async def _template(self) -> str:
        # The template is named after its revision, so a new schema version creates a new template.
        name = f"polytill_template_{migrating.head('practice')}"
        if self._budget is None:
            if not self.file(name).exists():
                await self._make_template(name, self.file(f"{name}.making-{os.getpid()}").stem)
            return name
        async with self._budget.admin() as connection:
            exists = await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", name)
        if not exists:
            await self._make_template(name, f"{name}_making_{os.getpid()}")
        return name

    async def _make_template(self, name: str, making: str) -> None:
        if self._budget is None:
            path = self.file(making)
            path.unlink(missing_ok=True)
            new_sqlite_file(path)
            database = Database(SqliteEngine(path, self._hop))
            await migrating.migrate(database, "practice")
            await database.fetch("PRAGMA wal_checkpoint(TRUNCATE)")
            await database.engine.close()
            path.replace(self.file(name))
            return
        await create_postgres_database(self.location, making)
        await migrating.migrate(Database(self.engine(making)), "practice")
        await self._budget.forget(making)
        async with self._budget.admin() as connection:
            try:
                await connection.execute(f'ALTER DATABASE "{making}" RENAME TO "{name}"')
            except Exception:
                # Another node created it first: its template is as good.
                await connection.execute(f'DROP DATABASE IF EXISTS "{making}"')
                if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", name):
                    raise

    async def drop(self, database_name: str) -> None:
        """Drop a database that no practice uses."""
        if self._budget is not None:
            await self._budget.forget(database_name)
            async with self._budget.admin() as connection:
                await _drop_database(connection, database_name)
            return
        for suffix in ("", "-wal", "-shm"):
            self.file(database_name).with_name(self.file(database_name).name + suffix).unlink(missing_ok=True)

    async def check(self) -> None:
        """Check whether practices can be created here. Raises an error with one sentence if not."""
        if self._budget is None:
            nearest = files.nearest(self.location)
            if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
                raise DatabaseRefused(f"The directory {Path(self.location)} cannot be written.")
            return
        async with self._budget.admin() as connection:
            version = int(await connection.fetchval("SHOW server_version_num"))
            if version < OLDEST_SERVER * 10_000:
                raise DatabaseRefused(f"The server {place_of(self.location)} is older than PostgreSQL {OLDEST_SERVER}.")
            may = await connection.fetchval("SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user")
            if not may:
                raise DatabaseRefused(f"The user may not make databases on {place_of(self.location)} (CREATEDB).")

    async def room(self) -> int | None:
        """The server's connection limit for everybody. None for a directory."""
        if self._budget is None:
            return None
        async with self._budget.admin() as connection:
            return int(await connection.fetchval(_ROOM))

    async def close(self) -> None:
        """Close all idle connections."""
        if self._budget is not None:
            await self._budget.close()


def _copy_new(template: Path, path: Path) -> None:
    if path.exists():
        raise OperatorError(f"A database named {path.stem} exists already; nothing was changed.")
    partial = path.with_suffix(f".partial-{os.getpid()}")
    try:
        shutil.copyfile(template, partial)
        partial.chmod(0o600)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise file_fault(error) from error
    finally:
        partial.unlink(missing_ok=True)
