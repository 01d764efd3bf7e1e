"""Connections as a program without our budget has them: a pool of the driver for each database, and the least recently
used pool is closed for room."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from polytill.storage.connection_budget import Budget
from polytill.storage.postgres_connect import with_database

OF_ONE = 4  # connections of one database at most


class PlainPools(Budget):
    """Has the interface of ``Budget``, and takes only connections for creating and dropping databases from it."""

    def __init__(self, server_url: str, ceiling: int) -> None:
        super().__init__(server_url, ceiling)
        self._url = server_url
        self._pools: OrderedDict[str, asyncpg.Pool] = OrderedDict()

    async def _pool(self, database: str) -> asyncpg.Pool:
        pool = self._pools.get(database)
        if pool is None:
            unused = [name for name, one in self._pools.items() if one.get_size() == one.get_idle_size()]
            while unused and sum(one.get_size() for one in self._pools.values()) >= self.ceiling:
                oldest = self._pools.pop(unused.pop(0), None)
                if oldest is not None:
                    await oldest.close()
            # Another request may have made it while the old one was closed.
            pool = self._pools.get(database)
        if pool is None:
            pool = asyncpg.create_pool(with_database(self._url, database), min_size=0, max_size=OF_ONE)
            self._pools[database] = pool
        self._pools.move_to_end(database)
        return await pool

    async def fetchrow(self, database: str, sql: str, args: list[Any]) -> Any:
        """One statement on a connection to ``database``."""
        async with self.lend(database) as connection:
            return await connection.fetchrow(sql, *args)

    @asynccontextmanager
    async def lend(self, database: str) -> AsyncIterator[Any]:
        """A connection to ``database`` for a short time."""
        async with (await self._pool(database)).acquire() as connection:
            yield connection

    async def close(self) -> None:
        """Close every pool."""
        for pool in self._pools.values():
            pool.terminate()
        await super().close()
