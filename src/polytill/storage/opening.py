"""Making, opening and closing databases: the owner's, and a practice's by its id.

The directory row of a practice is cached for one second, and longer only while the owner database cannot be reached,
so that payments keep flowing then. The first opening checks that the database is the practice's own.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import Any

from polytill.domain.clock import World
from polytill.domain.currencies import CURRENCIES
from polytill.domain.errors import NotFound, NotNow, OperatorError, SealBroken, WrongPractice
from polytill.domain.localities import Locality
from polytill.domain.sealing import DataKey, KeyRing, Place
from polytill.domain.secret import Secret
from polytill.storage import migrating, practices, units
from polytill.storage.databases import Engine, OwnerDb, PracticeDb, _Database
from polytill.storage.postgres import ADMIN, Budget, PostgresEngine, connect, with_database
from polytill.storage.practices import PracticeEntry
from polytill.storage.sqlite import Hop, SqliteEngine, thread_hop
from polytill.storage.watch import OwnerWatch

OPEN_FILES = 200  # SQLite files kept open at once; least recently used ones are closed
# Of the owner database, one process's: it is asked short questions, most of which are remembered for a second.
OWNER_CONNECTIONS = 10

_ROOM = (
    "SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int"
    " - COALESCE(current_setting('reserved_connections', true)::int, 0)"
)

CLUSTER_KEY_OWNER = 0  # the "practice" whose data key seals addresses in the owner database


def is_postgres(url: str) -> bool:
    """Whether an address is one of a PostgreSQL server."""
    return url.startswith(("postgresql://", "postgres://"))


def sqlite_path(url: str) -> Path:
    """The file behind ``sqlite:///relative`` or ``sqlite:////absolute``."""
    if not url.startswith("sqlite:///"):
        raise OperatorError("A database address starts with sqlite:/// or postgresql://.")
    return Path(url.removeprefix("sqlite:///"))


def _new_sqlite_file(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode=WAL").fetchall()
    finally:
        connection.close()
    path.chmod(0o600)


async def create_postgres_database(server_url: str, name: str, template: str | None = None) -> bool:
    """Make a database on a server; False where it exists already."""
    connection = await connect(with_database(server_url, ADMIN))
    try:
        return await _make_database(connection, name, template)
    finally:
        await connection.close()


async def _make_database(connection: Any, name: str, template: str | None) -> bool:
    if await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", name):
        return False
    clause = f' TEMPLATE "{template}"' if template else ""
    await connection.execute(f'CREATE DATABASE "{name}"{clause}')
    return True


async def drop_postgres_database(server_url: str, name: str) -> None:
    """Remove a database, whoever is connected."""
    connection = await connect(with_database(server_url, ADMIN))
    try:
        await _drop_database(connection, name)
    finally:
        await connection.close()


async def _drop_database(connection: Any, name: str) -> None:
    await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


async def open_owner(url: str, connections: int, hop: Hop = thread_hop) -> OwnerDb:
    """The owner database, which must exist (``create_owner`` makes it)."""
    if is_postgres(url):
        database = url.split("?")[0].rpartition("/")[2]
        return OwnerDb(PostgresEngine(Budget(url, min(connections, OWNER_CONNECTIONS)), database))
    return OwnerDb(SqliteEngine(sqlite_path(url), hop))


async def create_owner(url: str) -> None:
    """Make the owner database where there is none yet. Its tables come from ``migrating.migrate``."""
    if is_postgres(url):
        with suppress(NotNow):  # no right to create databases: it has to exist then, and opening it will tell
            await create_postgres_database(url, url.split("?")[0].rpartition("/")[2])
    elif not sqlite_path(url).exists():
        _new_sqlite_file(sqlite_path(url))


class Cluster:
    """Where practice databases are made: a directory of SQLite files, or a PostgreSQL server."""

    def __init__(self, location: str, connections: int, hop: Hop) -> None:
        self.location = location
        self._hop = hop
        self._budget = Budget(location, connections) if is_postgres(location) else None
        self._template_turn = asyncio.Lock()

    @property
    def budget(self) -> Budget | None:
        """The connections to this server; None for a directory."""
        return self._budget

    def engine(self, database_name: str) -> Engine:
        """The engine of one of this cluster's databases."""
        if self._budget is not None:
            return PostgresEngine(self._budget, database_name)
        return SqliteEngine(self._file(database_name), self._hop)

    def _file(self, database_name: str) -> Path:
        return Path(self.location) / f"{database_name}.db"

    async def create(self, database_name: str) -> None:
        """A new database at the head of the practice tree, copied from a template."""
        async with self._template_turn:
            template = await self._template()
        if self._budget is not None:
            async with self._budget.admin() as connection:
                made = await _make_database(connection, database_name, template)
            if not made:
                raise OperatorError(f"A database named {database_name} exists already; nothing was changed.")
            return
        await self._hop(lambda: _copy_new(self._file(template), self._file(database_name)))

    async def _template(self) -> str:
        # Named after its revision: a new version of the schema makes a new template.
        name = f"polytill_template_{migrating.head('practice')}"
        if self._budget is None:
            if not self._file(name).exists():
                await self._make_template(name, self._file(f"{name}.making-{os.getpid()}").stem)
            return name
        async with self._budget.admin() as connection:
            exists = await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", name)
        if not exists:
            await self._make_template(name, f"{name}_making_{os.getpid()}")
        return name

    async def _make_template(self, name: str, making: str) -> None:
        if self._budget is None:
            path = self._file(making)
            path.unlink(missing_ok=True)
            _new_sqlite_file(path)
            database = _Database(SqliteEngine(path, self._hop))
            await migrating.migrate(database, "practice")
            await database.fetch("PRAGMA wal_checkpoint(TRUNCATE)")
            await database.engine.close()
            path.replace(self._file(name))
            return
        await create_postgres_database(self.location, making)
        await migrating.migrate(_Database(self.engine(making)), "practice")
        await self._budget.forget(making)
        async with self._budget.admin() as connection:
            try:
                await connection.execute(f'ALTER DATABASE "{making}" RENAME TO "{name}"')
            except Exception:
                # Another node was first: its template is as good.
                await connection.execute(f'DROP DATABASE IF EXISTS "{making}"')
                if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", name):
                    raise

    async def drop(self, database_name: str) -> None:
        """Remove a database that no practice uses."""
        if self._budget is not None:
            await self._budget.forget(database_name)
            async with self._budget.admin() as connection:
                await _drop_database(connection, database_name)
            return
        for suffix in ("", "-wal", "-shm"):
            self._file(database_name).with_name(self._file(database_name).name + suffix).unlink(missing_ok=True)

    async def room(self) -> int | None:
        """How many connections the server takes in all, from everybody; None for a directory."""
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
    finally:
        partial.unlink(missing_ok=True)


class Opening:
    """Lends practice databases by id."""

    def __init__(
        self, owner: OwnerDb, ring: KeyRing, location: str, connections: int, world: World, hop: Hop = thread_hop
    ) -> None:
        self._owner = owner
        self._ring = ring
        self._connections = connections
        self._world = world
        self._hop = hop
        self._clusters: dict[str, Cluster] = {"default": Cluster(location, connections, hop)}
        self.watch = OwnerWatch(owner, world)
        self._entries: dict[int, tuple[PracticeEntry, int]] = {}
        self._open: OrderedDict[int, tuple[str, PracticeDb]] = OrderedDict()
        self._forgotten = 0

    async def entry(self, practice_id: int) -> PracticeEntry:
        """The directory row, at most a second old; ``NotFound`` where there is no such practice."""
        generation, forgotten = await self.watch.generation(), self._forgotten
        cached = self._entries.get(practice_id)
        if cached and generation == cached[1]:
            return cached[0]
        try:
            entry = await practices.by_id(self._owner, practice_id)
        except NotNow:
            if cached:
                return cached[0]
            raise
        if entry is None or entry.state == "provisioning":
            self.forget(practice_id)
            raise NotFound("There is no such practice.")
        if forgotten == self._forgotten:  # else it was changed here while it was being read
            self._entries[practice_id] = (entry, generation)
        return entry

    async def practice(self, practice_id: int) -> PracticeDb:
        """The practice's database as a value. ``NotFound``, or ``WrongPractice`` where the address leads elsewhere."""
        entry = await self.entry(practice_id)
        address = f"{entry.cluster}/{entry.database_name}/{entry.wrapped_data_key}"
        held = self._open.get(practice_id)
        if held and held[0] == address:
            self._open.move_to_end(practice_id)
            return held[1]
        cluster = await self.cluster(entry.cluster)
        db = PracticeDb(
            cluster.engine(entry.database_name), entry.id, self._ring.unwrap(entry.id, entry.wrapped_data_key)
        )
        row = await db.one("SELECT practice_id FROM identity")
        if row is None or row["practice_id"] != entry.id:
            await db.engine.close()
            raise WrongPractice
        held = self._open.get(practice_id)
        if held and held[0] == address:  # another task opened it meanwhile
            await db.engine.close()
            return held[1]
        self._open[practice_id] = (address, db)
        await self._close_least_recent()
        return db

    async def _close_least_recent(self) -> None:
        while len(self._open) > OPEN_FILES:
            practice_id, (_, db) = next(iter(self._open.items()))
            if db.engine.dialect != "sqlite":
                return  # a PostgreSQL engine holds nothing; its server's budget closes connections
            del self._open[practice_id]
            await db.engine.close()

    def opened(self) -> list[int]:
        """The practices that this process has opened."""
        return list(self._open)

    def forget(self, practice_id: int) -> None:
        """Read the directory anew next time."""
        self._forgotten += 1
        self._entries.pop(practice_id, None)

    async def cluster(self, name: str) -> Cluster:
        """A place for practice databases by its name."""
        if name not in self._clusters:
            found = await practices.cluster_url(self._owner, name)
            if found is None:
                raise NotFound(f"There is no cluster named {name!r}.")
            url = self.open_owners(found[1], Place("clusters", name, "sealed_url")).reveal()
            self._clusters[name] = Cluster(url, self._connections, self._hop)
        return self._clusters[name]

    async def close_idle(self) -> None:
        """Close connections that have not been used for a while."""
        for cluster in self._clusters.values():
            if cluster.budget is not None:
                cluster.budget.close_idle()

    def seal_owners(self, secret: Secret, place: Place) -> str:
        """A secret of the owner database (a server's address, the key that signs events), sealed."""
        return self._owners_keys()[0].seal(secret, place, self._world)

    def open_owners(self, sealed: str, place: Place) -> Secret:
        """What ``seal_owners`` sealed, under whichever key of the ring it was; else ``SealBroken``."""
        for key in self._owners_keys():
            with suppress(SealBroken):
                return key.open(sealed, place)
        raise SealBroken

    def _owners_keys(self) -> list[DataKey]:
        return [DataKey(CLUSTER_KEY_OWNER, key) for key in self._ring.derived("owner database")]

    def new_data_key(self, practice_id: int) -> tuple[DataKey, str]:
        """A fresh data key for a practice, and its wrapped form."""
        return self._ring.new_data_key(practice_id, self._world)

    async def close(self) -> None:
        """Close everything that is open."""
        for _, db in self._open.values():
            await db.engine.close()
        self._open.clear()
        for cluster in self._clusters.values():
            await cluster.close()


def stamp_identity(unit: units.Unit, practice_id: int, name: str, currency: str, place: Locality, now: Any) -> None:
    """Write into a fresh practice database whose it is."""
    unit.add("INSERT INTO identity (id, practice_id, created_at) VALUES (1, $1, $2)", practice_id, now, expect=1)
    unit.add(
        "INSERT INTO practices (id, name, default_currency_id, created_at, updated_at, country, time_zone)"
        " VALUES ($1, $2, $3, $4, $4, $5, $6)",
        practice_id, name, CURRENCIES[currency].numeric, now, place.country, place.time_zone, expect=1,
    )  # fmt: skip
