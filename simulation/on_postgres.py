"""The same histories on a PostgreSQL server: the inputs come from the seed, the schedule from the server.

Every write and every call is a crash point here, too, but the order of queries is real: a failing seed may need several
runs. Nodes have their own connections, which end with them.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import asyncpg

from polytill.domain.clock import World
from polytill.domain.sealing import KeyRing
from polytill.flows import installation
from polytill.flows.admin.practices import NewPractice, create_practice
from polytill.flows.context import Context
from polytill.providers.http import Http
from polytill.providers.registry import Registry
from polytill.storage import migrating, practices
from polytill.storage.clusters import drop_postgres_database
from polytill.storage.connection_budget import Budget
from polytill.storage.opening import Opening, create_owner, open_owner
from polytill.storage.postgres import PostgresEngine, PostgresTx
from polytill.storage.postgres_connect import with_database
from polytill.storage.sqlite import inline_hop
from polytill.storage.units import Step
from simulation.ground import EPOCH_S, PRACTICES, Ground, NoNetwork, Profile, fill_catalog, ground, set_up, settings_for
from simulation.keeping import CONSTANT, KeptDatabase
from simulation.loop import RealLoop, run
from simulation.nodes import label_of_steps

if TYPE_CHECKING:
    from simulation.nodes import Life

CONNECTIONS = 12  # of one node to one database
_OTHERS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()"


class _Beside:
    """A thread with its own loop, for readers that use no node and may not let time pass."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run the work and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def close(self) -> None:
        """Stop the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Reached:
    """One database of the server: its initial content, and a connection to it without a node."""

    def __init__(self, beside: _Beside, server_url: str, name: str) -> None:
        self._beside, self._server_url, self.name = beside, server_url, name
        self._connection: Any = beside.do(asyncpg.connect(with_database(server_url, name)))
        found = self.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename")
        self._tables = [row["tablename"] for row in found if row["tablename"] not in CONSTANT]

    def rows(self, sql: str) -> list[Any]:
        """The committed rows."""
        return list(self._beside.do(self._connection.fetch(sql)))

    def content(self) -> dict[str, list[Any]]:
        """The current content."""
        return {table: self.rows("SELECT * FROM " + table) for table in self._tables}  # noqa: S608

    def rewind(self, content: dict[str, list[Any]]) -> None:
        """Restore the initial content. Connections of earlier histories are ended first."""
        self._beside.do(self._rewind(content))

    async def _rewind(self, content: dict[str, list[Any]]) -> None:
        await self._connection.fetch(_OTHERS, self.name)
        async with self._connection.transaction():
            await self._connection.execute(
                "SET LOCAL session_replication_role = replica"
            )  # no foreign key checks in this transaction
            await self._connection.execute(";".join("DELETE FROM " + table for table in self._tables))  # noqa: S608
            for table, rows in content.items():
                for row in rows:
                    places = ", ".join(f"${number}" for number in range(1, len(row) + 1))
                    names = ", ".join(f'"{name}"' for name in row.keys())  # noqa: SIM118 — a record is not a mapping
                    await self._connection.execute(
                        f"INSERT INTO {table} ({names}) OVERRIDING SYSTEM VALUE VALUES ({places})",  # noqa: S608
                        *row.values(),
                    )

    def engine(self, life: Life, prefix: str) -> LifeEngine:
        """One node's engine for it."""
        made = LifeEngine(Budget(self._server_url, CONNECTIONS), self.name, life, prefix)
        life.engines.append(made)
        return made

    def close(self) -> None:
        """Close the connection."""
        self._beside.do(self._connection.close())


class LifeEngine(PostgresEngine):
    """The product's engine, with a crash point before and after a write, and an end with its node."""

    def __init__(self, budget: Budget, database: str, life: Life, prefix: str) -> None:
        super().__init__(budget, database)
        self._life, self._prefix = life, prefix

    async def _alive(self, label: str | None, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        life = self._life
        life.check()
        if label is not None:
            life.point("before_write", self._prefix + label)
        assert isinstance(life.loop, RealLoop)
        try:
            with life.loop.waiting():
                result = await work()
        finally:
            if not life.alive:
                self.end()
        life.check()
        if label is not None:
            life.point("after_write", self._prefix + label)
        return result

    async def fetch(self, sql: str, *args: Any) -> list[Any]:
        """See ``PostgresEngine.fetch``."""
        fetch = super().fetch
        return list(await self._alive(None, lambda: fetch(sql, *args)))

    async def commit(self, steps: list[Step]) -> list[int]:
        """See ``PostgresEngine.commit``."""
        commit = super().commit
        return list(await self._alive(label_of_steps(steps), lambda: commit(steps)))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[PostgresTx]:
        """See ``PostgresEngine.transaction``. It is one piece of work, with its crash points around its end."""
        life = self._life
        life.check()
        assert isinstance(life.loop, RealLoop)
        try:
            with life.loop.waiting():
                async with super().transaction() as tx:
                    yield tx
                    life.check()
                    life.point("before_write", self._prefix + "end of a transaction")
        finally:
            if not life.alive:
                self.end()
        life.point("after_write", self._prefix + "end of a transaction")

    def end(self) -> None:
        """End immediately; the server rolls back uncommitted changes."""
        while self._budget._close_least_recent():
            pass


class PostgresGround(Ground):
    """An installation on a server, created once; each history gets its databases in their initial state."""

    def __init__(self, folder: Path, server_url: str) -> None:
        self.folder = folder
        self.names: dict[int, str] = {}
        self.tokens: dict[tuple[int, Profile], dict[str, str]] = {}
        self._server_url = server_url
        chance = random.Random()  # several grounds can share a server, each with its own names
        self._owner = f"polytill_world_{chance.randbytes(6).hex()}"
        self.settings = settings_for(folder, with_database(server_url, self._owner), server_url)
        world = World(lambda: EPOCH_S - 86_400, chance.randbytes)
        KeyRing.create(self.settings.keyring, world)
        self.ring = KeyRing.read(self.settings.keyring)
        self.loop = self._real = RealLoop()
        self._beside = _Beside()
        self._run(self._make(world))
        self._databases = {n: Reached(self._beside, server_url, n) for n in (self._owner, *self.names.values())}
        self._pristine = {name: database.content() for name, database in self._databases.items()}
        self._set_up: dict[tuple[int, Profile], dict[str, list[Any]]] = {}

    def _run(self, work: Coroutine[Any, Any, Any]) -> None:
        with self._real.waiting():
            run(self.loop, work)

    async def _open(self, world: World) -> Context:
        owner = await open_owner(self.settings.owner_database_url.get_secret_value(), CONNECTIONS)
        opening = Opening(owner, self.ring, self._server_url, CONNECTIONS, world, inline_hop)
        return Context(self.settings, world, self.ring, owner, opening, Registry(), Http(NoNetwork()))

    async def _make(self, world: World) -> None:
        await create_owner(self.settings.owner_database_url.get_secret_value())
        context = await self._open(world)
        await migrating.migrate(context.owner, "owner")
        await installation.record_first(context.owner, world, "")  # others have practices on this server, too
        await fill_catalog(context)
        for number in range(1, PRACTICES + 1):
            entry, _ = await create_practice(context, NewPractice(f"Practice {number}", "NGN"), "world")
            assert entry.id == number
            found = await practices.by_id(context.owner, number)
            assert found is not None
            self.names[number] = found.database_name
        await self._close(context)

    async def _close(self, context: Context) -> None:
        await context.opening.close()
        await context.owner.engine.close()

    async def _prepare(self, number: int, profile: Profile) -> None:
        context = await self._open(World(lambda: EPOCH_S - 3600, random.Random(f"{number} {profile.name}").randbytes))
        self.tokens[number, profile] = await set_up(context, number, profile)
        await self._close(context)

    def lay(self, profiles: dict[int, Profile]) -> Mapping[str, KeptDatabase]:
        """The databases of one history in their initial state."""
        for name, database in self._databases.items():
            database.rewind(self._pristine[name])
        for number, profile in profiles.items():
            database = self._databases[self.names[number]]
            content = self._set_up.get((number, profile))
            if content is None:
                self._run(self._prepare(number, profile))
                self._set_up[number, profile] = database.content()
                self._databases[self._owner].rewind(self._pristine[self._owner])
            else:
                database.rewind(content)
        self.loop.now = 0.0
        return {"owner": self._databases[self._owner], **{n: d for n, d in self._databases.items() if n != self._owner}}

    def close(self) -> None:
        """Drop the databases and close the connections."""
        for name, database in self._databases.items():
            database.close()
            self._beside.do(drop_postgres_database(self._server_url, name))
        self._beside.close()
        self._run(asyncio.sleep(0.01))  # connections of the last nodes end in one turn of the loop
        self.loop.close()


def ground_on(server_url: str | None) -> AbstractContextManager[Ground]:
    """The ground on files, or on a server if an address is given."""
    return ground(lambda folder: PostgresGround(folder, server_url)) if server_url else ground()
