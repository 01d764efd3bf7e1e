"""The connection budget of a PostgreSQL server: how many connections this process has there, and who gets them.

A cold connection costs the server about 12 ms of CPU, a warm one 0.4 ms, so the budget should cover the active
practices: one connection per practice unless it is busy, a hard limit, least recently used idle connections closed
first, connections in use never. A query takes a millisecond or two, so whoever finds the practice's connection in use waits
for it a moment before another one is opened: otherwise two requests of one practice would close the connection of a
third, and a short backlog would become a long one. A returned connection goes first to a waiter for the same practice,
but not always: a busy practice overtakes another one only a few times.

The limit is one process's; the processes agree on their shares of a server (``flows/connection_shares.py``). The server's
own limit (``max_connections``) is shared with others as well. If the server has no slot left, this process closes idle
connections and tries again, and takes no more than it had for a while.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import asyncpg

from polytill.domain.database_urls import is_pooled, shown_place
from polytill.domain.errors import NotNow, PracticeMissing, WrongPractice
from polytill.storage import anchors
from polytill.storage.anchors import Anchor
from polytill.storage.postgres_connect import ADMIN, GONE, DatabaseMissing, ServerFull, connect, with_database

DEFAULT_CEILING = 100
WAIT_S = 5.0
FULL_S = 30.0  # for this long after the server was full, we open no more connections than we had then
IDLE_S, IDLE_WHEN_FULL_S = 300.0, 10.0  # a connection unused for this long is closed, for other processes
PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0  # before a full server is tried again
PATIENCE_S = 0.05  # how long a connection that is in use is waited for before another one is opened
FEWEST = 2  # a caller that holds a connection may need another to finish
SHORT_FOR = 6  # so many calls of ``wants`` later, a budget that was short of connections is short no longer
MOST_OVERTAKEN = 8  # how often callers for the same practice are served before the first in line

_ROOM = (
    "SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int"
    " - COALESCE(current_setting('reserved_connections', true)::int, 0)"
)


@dataclass(slots=True)
class Counts:
    """What a budget did since the process began, for the metrics.

    Args:
        opened: Connections that were opened.
        waits: Requests for a connection that had to wait, and ``waited_s``, how many seconds in all.
        refused: Those of them that got none in time.
        evicted: Idle connections that were closed to make room for another database.
        full: How often the server accepted no more connections.
    """

    opened: int = 0
    waits: int = 0
    waited_s: float = 0.0
    refused: int = 0
    evicted: int = 0
    full: int = 0


@dataclass(eq=False, slots=True)
class _Waiter:
    """Who waits for a connection. ``place`` gets one to the same database, or None: a free slot, if it ``takes_slots``."""

    database: str
    place: asyncio.Future[Any]
    takes_slots: bool
    overtaken: int = 0


class Budget:
    """This process's connections to one server: at most ``ceiling``, shared by all its databases.

    Attributes:
        share: What this process may have of the server's connections, as the processes agreed; None: they did not yet.
        total: Connections that are open or being opened.
        counts: What it did so far.
    """

    def __init__(self, server_url: str, ceiling: int = DEFAULT_CEILING, wait_s: float = WAIT_S) -> None:
        self._server_url = server_url
        self.ceiling = ceiling
        self.share: int | None = None
        self.counts = Counts()
        self._wait_s = wait_s
        self.total = 0
        self._idle: OrderedDict[str, list[Any]] = OrderedDict()  # database -> connections, least recently used first
        self._used_at_s: dict[str, float] = {}  # when a connection to a database was last returned
        self._lent: Counter[str] = Counter()  # connections in use or being opened, by database
        self._patient: Counter[str] = Counter()  # callers who wait for one of these, by database
        self._waiting: deque[_Waiter] = deque()
        self._short_before, self._short_for = 0, 0  # how often it was short of connections, as ``wants`` last saw it
        self._lowered, self._full_until_s = ceiling, -math.inf
        self._anchors: dict[str, Anchor] = {}  # what a database must be
        self._place = anchors.PLACE  # the query for where a database is
        self._is_closed = False

    @property
    def server(self) -> str:
        """The hosts of the server."""
        return shown_place(self._server_url)

    @property
    def waiting(self) -> int:
        """How many callers wait for a connection or a slot, because all are in use."""
        return sum(waiter.takes_slots for waiter in self._waiting)

    @property
    def is_pooled(self) -> bool:
        """Whether the address leads to a pooler."""
        return is_pooled(self._server_url)

    def resize(self, ceiling: int) -> None:
        """Change the limit. Idle connections beyond it are closed, and others when they are returned."""
        self.ceiling = ceiling
        self._fit()

    def take_share(self, share: int) -> None:
        """Use at most this many of the server's connections. What is too many is closed as with ``resize``."""
        self.share = share
        self._fit()

    def wants(self) -> int:
        """How many connections it could use: what is open and a quarter more, or all that it may have if it was short of
        connections lately, in the time of the last calls."""
        short = self.counts.evicted + self.counts.waits
        if short > self._short_before or self.waiting:
            self._short_for = SHORT_FOR
        else:
            self._short_for = max(0, self._short_for - 1)
        self._short_before = short
        wanted = self.ceiling if self._short_for else self.total + max(FEWEST, self.total // 4)
        return min(self.ceiling, max(FEWEST, wanted))

    async def room(self) -> int:
        """The server's connection limit for everybody."""
        async with self.admin() as connection:
            return int(await connection.fetchval(_ROOM))

    def _fit(self) -> None:
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
        """The current limit: the ceiling or the share, and lower for a while after the server was full."""
        most = self.ceiling if self.share is None else min(self.ceiling, self.share)
        return min(most, self._lowered) if self._was_full() else most

    def _was_full(self) -> bool:
        return asyncio.get_running_loop().time() < self._full_until_s

    async def fetchrow(self, database: str, sql: str, args: list[Any]) -> Any:
        """One statement on a connection to ``database``: the usual case of ``lend``, without its generator."""
        connection = self._idle_one(database) or await self._another_one(database)
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
        connection = self._idle_one(database) or await self._another_one(database)
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
                self._end_loan(ADMIN)
                self._free_slot()

    def _idle_one(self, database: str) -> Any | None:
        connections = self._idle.get(database)
        while connections:
            connection = connections.pop()
            if not connections:
                del self._idle[database]
            if not connection.is_closed():
                self._lent[database] += 1
                return connection
            self.total -= 1
        return None

    async def _another_one(self, database: str) -> Any:
        """A connection that is in use and comes back in a moment, or a new one. At most one caller waits for each."""
        connection = None
        if self._patient[database] < self._lent[database]:
            self._patient[database] += 1
            try:
                connection = await self._in_line(database, PATIENCE_S, takes_slots=False)
            finally:
                self._patient[database] -= 1
                if not self._patient[database]:
                    del self._patient[database]
        return connection or await self._new_one(database)

    async def _new_one(self, database: str) -> Any:
        if self.total >= self.limit:
            if not self._close_least_recent():
                return await self._wait(database)
            self.counts.evicted += 1
        self.total += 1
        return await self._open(database)

    async def _open(self, database: str) -> Any:
        self._lent[database] += 1
        try:
            connection = await self._connected(database)
        except BaseException:
            self._end_loan(database)
            self._free_slot()
            raise
        self.counts.opened += 1
        return connection

    def _end_loan(self, database: str) -> None:
        self._lent[database] -= 1
        if not self._lent[database]:
            del self._lent[database]

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
                    self._anchors[database].is_missing = True
                    raise PracticeMissing(error.detail) from error
                raise
            except ServerFull:
                self.counts.full += 1
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
        self._lowered = max(FEWEST, self.total)
        self._full_until_s = asyncio.get_running_loop().time() + FULL_S

    def close_idle(self) -> None:
        """Close connections that were unused for a while. The server's slots are not ours alone."""
        since_s = asyncio.get_running_loop().time() - (IDLE_WHEN_FULL_S if self._was_full() else IDLE_S)
        while self._idle and self._used_at_s[next(iter(self._idle))] <= since_s:
            self._close_least_recent()

    async def _wait(self, database: str) -> Any:
        loop = asyncio.get_running_loop()
        since_s = loop.time()
        self.counts.waits += 1
        try:
            connection = await self._in_line(database, self._wait_s, takes_slots=True)
        except TimeoutError as error:
            self.counts.refused += 1
            raise NotNow("All database connections are in use; try again in a moment.") from error
        finally:
            self.counts.waited_s += loop.time() - since_s
        # None is a free slot: this caller opens a new connection.
        return connection if connection is not None else await self._open(database)

    async def _in_line(self, database: str, wait_s: float, *, takes_slots: bool) -> Any:
        """Wait for a connection to this database, or for a slot: then None. After the time, ``TimeoutError``, or None for
        whoever takes no slots."""
        waiter = _Waiter(database, asyncio.get_running_loop().create_future(), takes_slots)
        self._waiting.append(waiter)
        try:
            return await asyncio.wait_for(waiter.place, wait_s)
        except (TimeoutError, asyncio.CancelledError) as error:
            if waiter.place.done() and not waiter.place.cancelled():
                self._return_unused(database, waiter.place.result())
            if takes_slots or not isinstance(error, TimeoutError):
                raise
            return None
        finally:
            if waiter in self._waiting:
                self._waiting.remove(waiter)

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
        waiter = None if broken else self._next_for(database)
        if waiter is not None:
            self._waiting.remove(waiter)
            waiter.place.set_result(connection)
            return
        self._end_loan(database)
        # If a caller waits for another practice, this one's connection makes room.
        makes_room = any(waiter.takes_slots and not waiter.place.done() for waiter in self._waiting)
        if broken or makes_room or self._is_closed or self.total > self.limit:
            self.counts.evicted += makes_room and not broken
            connection.terminate()
            self._free_slot()
            return
        self._idle.setdefault(database, []).append(connection)
        self._idle.move_to_end(database)
        self._used_at_s[database] = asyncio.get_running_loop().time()

    def _next_for(self, database: str) -> _Waiter | None:
        """Who gets a connection to this database as it is. None if nobody waits for it, or if the first in line, who waits
        for another one, was overtaken often enough."""
        first: _Waiter | None = None
        for waiter in self._waiting:
            if waiter.place.done():
                continue
            if waiter.database == database:
                if first is not None:
                    first.overtaken += 1
                return waiter
            if first is None and waiter.takes_slots:
                first = waiter
                if first.overtaken >= MOST_OVERTAKEN:
                    return None
        return None

    def _free_slot(self) -> None:
        self.total -= 1
        self._invite()

    def _invite(self) -> None:
        """Give free slots to whoever waits: each opens a connection."""
        for waiter in list(self._waiting):
            if self.total >= self.limit:
                return
            if waiter.takes_slots and not waiter.place.done():
                self._waiting.remove(waiter)
                self.total += 1
                waiter.place.set_result(None)

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
