"""Clusters: where practice databases are created. A directory of SQLite files, or a PostgreSQL server."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg

from polytill.domain.database_urls import at_host, hosts_of, is_postgres, place_of
from polytill.domain.errors import DatabaseRefused, DiskFull, OperatorError, PolytillError
from polytill.storage import files, migrating
from polytill.storage.anchors import Anchor, Mark
from polytill.storage.connection_budget import Budget
from polytill.storage.databases import Database, Engine
from polytill.storage.postgres import PostgresEngine
from polytill.storage.postgres_connect import ADMIN, HOST_S, DatabaseRightMissing, connect, refusals, with_database
from polytill.storage.sqlite import Hop, SqliteEngine, file_fault, thread_hop

OLDEST_SERVER = 15  # of PostgreSQL
AT_ONCE = 4

_ABLE = (
    "SELECT current_setting('server_version_num')::int AS version, pg_is_in_recovery() AS standby,"
    " current_setting('transaction_read_only')::bool AS read_only,"
    " (SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user) AS may_create,"
    " (SELECT datistemplate OR pg_has_role(datdba, 'MEMBER') FROM pg_database WHERE datname = $1) AS may_copy"
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


@asynccontextmanager
async def at_address(address: str) -> AsyncIterator[Cluster]:
    """A cluster at an address that is not saved yet, with a few connections of its own, to try it out."""
    cluster = Cluster(address, 1 + AT_ONCE, thread_hop, is_made=True)
    try:
        yield cluster
    finally:
        await cluster.close()


class Cluster:
    """Where practice databases are created: a directory of SQLite files, or a PostgreSQL server."""

    def __init__(self, location: str, connections: int, hop: Hop, is_made: bool = False) -> None:
        """``is_made``: a directory must exist. If its disk is not mounted, files would be created elsewhere."""
        self.location = location
        self._is_made = is_made
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
        name = _template_name()
        if self._budget is None:
            if not self.file(name).exists():
                await self._make_template(name, self.file(f"{name}.making-{os.getpid()}").stem)
            return name
        if not await self.engine(ADMIN).fetch("SELECT 1 FROM pg_database WHERE datname = $1", name):
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
            await self._hop(lambda: _check_directory(Path(self.location), self._is_made))
            return
        [found] = await self.engine(ADMIN).fetch(_ABLE, _template_name())
        place = place_of(self.location)
        if found["version"] < OLDEST_SERVER * 10_000:
            raise DatabaseRefused(f"The server {place} is older than PostgreSQL {OLDEST_SERVER}.")
        if found["standby"]:
            raise DatabaseRefused(f"The server {place} is a standby, which cannot be written. Name the primary.")
        if found["read_only"]:
            raise DatabaseRefused(f"The server {place} lets this user only read (default_transaction_read_only).")
        if not found["may_create"]:
            raise DatabaseRefused(f"The user may not make databases on {place} (CREATEDB).")
        if found["may_copy"] is False:
            raise DatabaseRefused(
                f"On {place}, the user may not copy the database {_template_name()}, which another user made. Make it a"
                " member of that user's role."
            )

    async def try_out(self, name: str) -> None:
        """Check whether practices can be created here by creating a database of this new name and dropping it. Raises an
        error with one sentence if not."""
        await self.check()
        if self._budget is None:
            await self._hop(lambda: _write_and_delete(self.file(name)))
            return
        place = place_of(self.location)
        async with self._budget.admin() as connection:
            try:
                await _make_database(connection, name, None, place)
                await _drop_database(connection, name)
            except asyncpg.PostgresError as error:
                said = f"The server {place} cannot make and remove a database ({type(error).__name__})."
                raise DatabaseRefused(said) from error

    async def unavailable_hosts(self) -> dict[str, str]:
        """Of several hosts in the address: those that could not become the primary now, each with the reason."""
        hosts = hosts_of(self.location) if self._budget is not None else []
        if len(hosts) < 2:
            return {}
        found = dict(zip(hosts, await asyncio.gather(*(self._host(host) for host in hosts)), strict=True))
        reasons = {host: answer for host, answer in found.items() if isinstance(answer, str)}
        servers = {host: answer for host, answer in found.items() if isinstance(answer, int)}
        if len(set(servers.values())) > 1:
            reasons |= dict.fromkeys(servers, "It is another server than the other hosts.")
        return reasons

    async def _host(self, host: str) -> int | str | None:
        """Which server a host is, or the reason why nobody can sign in there. None if the user may not know. A standby
        has the same number as its primary."""
        try:
            connection = await connect(with_database(at_host(self.location, host), ADMIN), HOST_S)
            try:
                with refusals("read which server this is"):
                    return int(await connection.fetchval("SELECT system_identifier FROM pg_control_system()"))
            finally:
                await connection.close()
        except DatabaseRightMissing:
            return None
        except PolytillError as error:
            return error.detail

    async def missing(self, database_names: Iterable[str]) -> list[str]:
        """Which of these databases are not here."""
        wanted = list(database_names)
        if self._budget is None:
            return [name for name in wanted if not self.file(name).is_file()]
        async with self._budget.admin() as connection:
            rows = await connection.fetch("SELECT datname::text FROM pg_database WHERE datname = ANY($1)", wanted)
        here = {row["datname"] for row in rows}
        return [name for name in wanted if name not in here]

    async def check_identities(self, homes: Iterable[tuple[int, str]]) -> None:
        """Check that databases belong to their practices, given as ids and names. ``WrongPractice`` if one does not."""
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(practice_id: int, database_name: str) -> None:
            async with gate:
                engine = self.engine(database_name, Anchor(practice_id, "", Mark()))
                try:
                    await engine.fetch("SELECT practice_id FROM identity")  # whose engine compares it
                finally:
                    await engine.close()

        await asyncio.gather(*(one(practice_id, name) for practice_id, name in homes))

    async def room(self) -> int | None:
        """The server's connection limit for everybody. None for a directory."""
        return None if self._budget is None else await self._budget.room()

    async def close(self) -> None:
        """Close all idle connections, and every other one when it is returned."""
        if self._budget is not None:
            await self._budget.close()


def _template_name() -> str:
    return f"polytill_template_{migrating.head('practice')}"


def _check_directory(where: Path, is_made: bool) -> None:
    if is_made and not where.is_dir():
        raise DatabaseRefused(f"The directory {where} does not exist. Create it, or mount its disk.")
    nearest = files.nearest(str(where))
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise DatabaseRefused(f"The directory {where} cannot be written.")
    if files.is_full(str(where)):
        raise DiskFull(f"The disk of the directory {where} is full.")


def _write_and_delete(path: Path) -> None:
    try:
        new_sqlite_file(path)
        connection = sqlite3.connect(path, isolation_level=None)
        try:
            connection.execute("CREATE TABLE tried (id INTEGER)")
        finally:
            connection.close()
    except OSError as error:
        raise file_fault(error) from error
    except sqlite3.Error as error:
        said = f"The directory {path.parent} cannot hold SQLite files ({type(error).__name__})."
        raise DatabaseRefused(said) from error
    finally:
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)


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
