"""PostgreSQL at run time: asyncpg and plain SQL, over the connection budget of the server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from polytill.domain.errors import Stale
from polytill.storage.anchors import Anchor
from polytill.storage.connection_budget import Budget
from polytill.storage.databases import Tx
from polytill.storage.postgres_connect import FAILS, translated
from polytill.storage.units import Step, as_one_statement, mark_open


class PostgresEngine:
    """One database of a server, reached through the server's budget."""

    dialect = "postgresql"

    def __init__(self, budget: Budget, database: str) -> None:
        self._budget = self.budget = budget
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

    visit = ""

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
