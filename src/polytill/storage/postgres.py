"""PostgreSQL at run time: asyncpg, plain SQL, and a connection budget per server.

A cold connection costs the server about 12 ms of CPU, a warm one 0.4 ms, so the budget should cover the active
practices: one connection per practice unless it is busy, a hard limit, least recently used idle connections closed
first, connections in use never, and a returned connection goes first to a waiter for the same practice.

The limit is one process's. The server's own limit (``max_connections``) is shared with others. If the server has no
slot left, this process closes idle connections and tries again, and takes no more than it had for a while.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg

from polytill.domain.errors import NotNow, PracticeUnavailable, Stale, WrongPractice
from polytill.storage import anchors
from polytill.storage.anchors import Anchor
from polytill.storage.databases import Tx
from polytill.storage.postgres_connect import (
    ADMIN,
    FAILS,
    GONE,
    DatabaseMissing,
    ServerFull,
    connect,
    translated,
    with_database,
)
from polytill.storage.units import Step, as_one_statement, mark_open

DEFAULT_CEILING = 100
WAIT_S = 5.0
FULL_S = 30.0  # for this long after the server was full, we open no more connections than we had then
IDLE_S, IDLE_WHEN_FULL_S = 300.0, 10.0  # a connection unused for this long is closed, for other processes
PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0  # before a full server is tried again


class Budget:
    """This process's connections to one server: at most ``ceiling``, shared by all its databases."""

    def __init__(self, server_url: str, ceiling: int = DEFAULT_CEILING, wait_s: float = WAIT_S) -> None:
        self._server_url = server_url
        self.ceiling = ceiling
        self._wait_s = wait_s
        self.total = 0
        self._idle: OrderedDict[str, list[Any]] = OrderedDict()  # database -> connections, least recently used first
        self._used_at_s: dict[str, float] = {}  # when a connection to a database was last returned
        self._waiting: deque[tuple[str, asyncio.Future[Any]]] = deque()
        self.opened_count = 0
        self._lowered, self._full_until_s = ceiling, -math.inf
        self._anchors: dict[str, Anchor] = {}  # what a database must be
        self._place = anchors.PLACE  # the query for where a database is
        self._is_closed = False

    def resize(self, ceiling: int) -> None:
        """Change the limit. Idle connections beyond it are closed, and others when they are returned."""
        self.ceiling = ceiling
        while self.total > self.limit and self._close_least_recent():
            pass
        self._invite()

    def expect(self, database: str, anchor: Anchor) -> None:
        """Check each new connection to ``database``, and refuse it unless it belongs to this practice: a database may be
        swapped for another under a running process, and no connection outlives that."""
        self._anchors[database] = anchor

    async def _checked(self, database: str, connection: Any) -> None:
        anchor = self._anchors.get(database)
        if anchor is None:
            return
        try:
            await self.check(connection, anchor)
        except BaseException:
            connection.terminate()
            raise

    async def check(self, connection: Any, anchor: Anchor) -> None:
        """Compare the database of a connection with what is known of it. ``WrongPractice`` if it is another practice's."""
        try:
            asked = anchor.mark
            row = await self._asked(connection, anchors.read_postgres, *asked)
        except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError):
            row = None
        if row is None:
            raise WrongPractice
        anchor.check(anchors.of_postgres(row), asked)

    async def _asked(self, connection: Any, text: Callable[[str], str], *args: Any) -> Any:
        try:
            return await connection.fetchrow(text(self._place), *args)
        except asyncpg.InsufficientPrivilegeError:
            if self._place == anchors.PLACE_WITHOUT_SYSTEM:
                raise
            self._place = anchors.PLACE_WITHOUT_SYSTEM
            return await connection.fetchrow(text(self._place), *args)

    async def place(self, connection: Any) -> str:
        """Where the database of a connection is."""
        row = await self._asked(connection, anchors.place_postgres)
        return str(row["place"])

    @property
    def limit(self) -> int:
        """The current limit: lower for a while after the server was full."""
        return min(self.ceiling, self._lowered) if self._was_full() else self.ceiling

    def _was_full(self) -> bool:
        return asyncio.get_running_loop().time() < self._full_until_s

    async def fetchrow(self, database: str, sql: str, args: list[Any]) -> Any:
        """One statement on a connection to ``database``: the usual case of ``lend``, without its generator."""
        connection = self._idle_one(database) or await self._new_one(database)
        broken = True  # a canceled query may still be running on it
        try:
            row = await connection.fetchrow(sql, *args)
            broken = False
            return row
        except Exception as error:
            broken = isinstance(error, GONE)
            raise
        finally:
            self._take_back(database, connection, broken or connection.is_closed())

    @asynccontextmanager
    async def lend(self, database: str) -> AsyncIterator[Any]:
        """A connection to ``database`` for a short time. ``NotNow`` if none is free in time."""
        connection = self._idle_one(database) or await self._new_one(database)
        broken = False
        try:
            yield connection
        except asyncio.CancelledError:
            broken = True  # a query may still be running on it
            raise
        except BaseException as error:
            broken = connection.is_closed() or isinstance(error, GONE)
            raise
        finally:
            self._take_back(database, connection, broken or connection.is_closed())

    @asynccontextmanager
    async def admin(self) -> AsyncIterator[Any]:
        """A connection for creating and dropping databases. It counts like the others and is closed in order, so that
        what is canceled half-way is over on the server, too."""
        connection = await self._new_one(ADMIN)
        try:
            yield connection
        finally:
            try:
                await connection.close()
            finally:
                self._free_slot()

    def _idle_one(self, database: str) -> Any | None:
        connections = self._idle.get(database)
        while connections:
            connection = connections.pop()
            if not connections:
                del self._idle[database]
            if not connection.is_closed():
                return connection
            self.total -= 1
        return None

    async def _new_one(self, database: str) -> Any:
        if self.total >= self.limit and not self._close_least_recent():
            return await self._wait(database)
        self.total += 1
        return await self._open(database)

    async def _open(self, database: str) -> Any:
        try:
            connection = await self._connected(database)
        except BaseException:
            self._free_slot()
            raise
        self.opened_count += 1
        return connection

    async def _connected(self, database: str) -> Any:
        """Open a new connection. If the server is full, close a few idle ones and try again after a short time."""
        loop = asyncio.get_running_loop()
        until_s, pause_s = loop.time() + self._wait_s, PAUSE_S
        while True:
            try:
                connection = await connect(with_database(self._server_url, database))
                await self._checked(database, connection)
                return connection
            except DatabaseMissing as error:
                if database in self._anchors:
                    raise PracticeUnavailable(error.detail) from error
                raise
            except ServerFull:
                # The server may not have finished the connections that we closed a moment ago.
                if pause_s > PAUSE_S or not self._was_full():
                    self._give_back()
                if loop.time() + pause_s > until_s:
                    raise
            with suppress(TimeoutError):  # nothing signals a free slot
                await asyncio.wait_for(loop.create_future(), pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _give_back(self) -> None:
        """Close a quarter of the idle connections; only one if that was done a moment ago."""
        idle = sum(len(connections) for connections in self._idle.values())
        for _ in range(1 if self._was_full() else max(1, idle // 4)):
            self._close_least_recent()
        self._lowered = max(2, self.total)  # a caller that holds one may need another to finish
        self._full_until_s = asyncio.get_running_loop().time() + FULL_S

    def close_idle(self) -> None:
        """Close connections that were unused for a while. The server's slots are not ours alone."""
        since_s = asyncio.get_running_loop().time() - (IDLE_WHEN_FULL_S if self._was_full() else IDLE_S)
        while self._idle and self._used_at_s[next(iter(self._idle))] <= since_s:
            self._close_least_recent()

    async def _wait(self, database: str) -> Any:
        place: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        entry = (database, place)
        self._waiting.append(entry)
        try:
            connection = await asyncio.wait_for(place, self._wait_s)
        except (TimeoutError, asyncio.CancelledError) as error:
            if place.done() and not place.cancelled():
                self._return_unused(database, place.result())
            if isinstance(error, TimeoutError):
                raise NotNow("All database connections are in use; try again in a moment.") from error
            raise
        finally:
            if entry in self._waiting:
                self._waiting.remove(entry)
        # None is a free slot: this caller opens a new connection.
        return connection if connection is not None else await self._open(database)

    def _return_unused(self, database: str, connection: Any | None) -> None:
        if connection is not None:
            self._take_back(database, connection, connection.is_closed())
        else:
            self._free_slot()

    def _close_least_recent(self) -> bool:
        if not self._idle:
            return False
        database, connections = next(iter(self._idle.items()))
        connection = connections.pop(0)
        if not connections:
            del self._idle[database]
        self.total -= 1
        connection.terminate()
        return True

    def _take_back(self, database: str, connection: Any, broken: bool) -> None:
        waiting = [entry for entry in self._waiting if not entry[1].done()]
        same = next((entry for entry in waiting if entry[0] == database), None)
        if same is not None and not broken:
            self._waiting.remove(same)
            same[1].set_result(connection)
            return
        # If a caller waits for another practice, this one's connection makes room.
        if broken or waiting or self._is_closed or self.total > self.limit:
            connection.terminate()
            self._free_slot()
            return
        self._idle.setdefault(database, []).append(connection)
        self._idle.move_to_end(database)
        self._used_at_s[database] = asyncio.get_running_loop().time()

    def _free_slot(self) -> None:
        self.total -= 1
        self._invite()

    def _invite(self) -> None:
        """Give free slots to whoever waits: each opens a connection."""
        while self._waiting and self.total < self.limit:
            _, place = self._waiting.popleft()
            if not place.done():
                self.total += 1
                place.set_result(None)

    async def forget(self, database: str) -> None:
        """Close the idle connections to one database (it is being dropped or renamed)."""
        self._used_at_s.pop(database, None)
        for connection in self._idle.pop(database, []):
            self.total -= 1
            await connection.close()

    async def close(self) -> None:
        """Close every idle connection, and every other one when it is returned: its address is no longer in use."""
        self._is_closed = True
        for database in list(self._idle):
            await self.forget(database)


class PostgresEngine:
    """One database of a server, reached through the server's budget."""

    dialect = "postgresql"

    def __init__(self, budget: Budget, database: str) -> None:
        self._budget = budget
        self.database = database

    async def fetch(self, sql: str, *args: Any) -> list[Any]:
        """The rows of a query."""
        try:
            async with self._budget.lend(self.database) as connection:
                return list(await connection.fetch(sql, *args))
        except FAILS as error:
            raise translated(error) from error

    async def commit(self, steps: list[Step]) -> list[int]:
        """Run steps as one statement. Returns the number of rows that each affected. ``Stale`` if an expectation fails."""
        shape = tuple((step.sql, len(step.args), step.expect) for step in steps)
        args = [arg for step in steps for arg in step.args]
        try:
            return list(await self._budget.fetchrow(self.database, as_one_statement(shape), args))
        except FAILS as error:
            raise translated(error) from error

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[PostgresTx]:
        """An interactive transaction, for the rare writes that depend on a read inside of it."""
        mark_open(+1)
        try:
            async with self._budget.lend(self.database) as connection, connection.transaction():
                tx = PostgresTx(connection)
                try:
                    yield tx
                    await tx.flush()
                except BaseException:
                    tx.take()
                    raise
        except FAILS as error:
            raise translated(error) from error
        finally:
            mark_open(-1)

    async def verify(self, anchor: Anchor) -> None:
        """Compare the database with what is known of it."""
        checks = anchor.checks
        try:
            async with self._budget.lend(self.database) as connection:
                if anchor.checks == checks:  # else it was checked as the connection was opened
                    await self._budget.check(connection, anchor)
        except FAILS as error:
            raise translated(error) from error

    async def place(self) -> str | None:
        """The server's system identifier and the database's number there."""
        try:
            async with self._budget.lend(self.database) as connection:
                return await self._budget.place(connection)
        except FAILS as error:
            raise translated(error) from error

    async def close(self) -> None:
        """Close this database's idle connections."""
        await self._budget.forget(self.database)


class PostgresTx(Tx):
    """An open transaction: ``add`` queues a statement; ``fetch`` and ``one`` run the queued statements and then the
    query."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Any) -> None:
        super().__init__()
        self._connection = connection

    async def flush(self) -> None:
        """Run the queued statements."""
        for step in self.take():
            statement = await self._prepared(step.sql)
            await statement.fetch(*step.args)
            if step.expect is not None and int(statement.get_statusmsg().rpartition(" ")[2]) != step.expect:
                raise Stale

    async def _prepared(self, sql: str) -> Any:
        # Not from the connection's cache: a plan made before a column changed its type fails, and nothing can be
        # retried inside a transaction. What is prepared here keeps the tables as they are to the end.
        return await self._connection.prepare(sql, name="")

    async def fetch(self, sql: str, *args: Any) -> list[Any]:
        """The rows of a statement inside this transaction."""
        await self.flush()
        statement = await self._prepared(sql)
        return list(await statement.fetch(*args))
