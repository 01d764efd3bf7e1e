"""Database files that are used by one history after the other, with their open connections.

To copy a file, open it and prepare the same statements again would cost more than the history itself. A connection
that a dying node leaves behind is rolled back, which is all that its closing would have done.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from polytill.storage.databases import Engine
from polytill.storage.sqlite import SqliteEngine, connect, inline_hop
from polytill.storage.units import Step

if TYPE_CHECKING:
    import sqlite3

    from simulation.nodes import Life


class LivingEngine(Engine, Protocol):
    """An engine that ends with its node."""

    def end(self) -> None:
        """Let go at once, and undo what is not committed."""


class KeptDatabase(Protocol):
    """A database that histories use one after the other, on either engine."""

    def engine(self, life: Life, prefix: str) -> LivingEngine:
        """One node's way to it."""

    def rows(self, sql: str) -> list[Any]:
        """What is committed, read past every node."""


# Written when a database is made, and never again.
CONSTANT = ("alembic_version", "currencies", "identity")


class Kept:
    """One file, what was in it when it was made, and the connections to it that nobody uses now."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.idle: list[sqlite3.Connection] = []
        self._reader = SqliteEngine(path, inline_hop)
        self._reader.adopt(self.take())
        found = self.rows("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
        self._tables = [row["name"] for row in found if row["name"] not in CONSTANT]
        self._made = [step for table in self._tables for step in self._steps(table)]

    def _steps(self, table: str) -> list[Step]:
        steps = [Step("DELETE FROM " + table, (), None)]  # noqa: S608
        for row in self.rows("SELECT * FROM " + table):  # noqa: S608
            places = ", ".join(f"${number}" for number in range(1, len(row) + 1))
            steps.append(Step(f"INSERT INTO {table} ({', '.join(row.keys())}) VALUES ({places})", tuple(row), 1))  # noqa: S608
        return steps

    def rows(self, sql: str) -> list[Any]:
        """What is committed, read past every node."""
        return self._reader._fetch_now(sql, ())

    def rewind(self) -> None:
        """As it was made."""
        self._reader._commit_now([Step("PRAGMA defer_foreign_keys = ON", (), None), *self._made])

    def take(self) -> sqlite3.Connection:
        """A connection for a node that starts."""
        if self.idle:
            return self.idle.pop()
        connection = connect(self.path)
        engine = SqliteEngine(self.path, inline_hop)
        engine.adopt(connection)
        for pragma in ("synchronous=OFF", "busy_timeout=0"):
            engine._fetch_now(f"PRAGMA {pragma}", ())
        return connection

    def close(self) -> None:
        """Close every connection that nobody uses."""
        for connection in self.idle:
            connection.close()
        if self._reader._connection is not None:
            self._reader._connection.close()

    def give_back(self, connection: sqlite3.Connection) -> None:
        """The node has ended; what it had not committed is undone."""
        if connection.in_transaction:
            connection.rollback()
        self.idle.append(connection)

    def engine(self, life: Life, prefix: str) -> LivingEngine:
        """One node's way to this file."""
        return KeptEngine(self, life, prefix)


class KeptEngine(SqliteEngine):
    """The product's engine over a kept file. Work runs in place, so no task of its own has to guard a thread's turn."""

    def __init__(self, kept: Kept, life: Life, prefix: str) -> None:
        super().__init__(kept.path, partial(life.hop, prefix))
        self._kept, self._life = kept, life

    def _opened(self) -> sqlite3.Connection:
        self._life.check()
        if self._connection is None:
            self._connection = self._kept.take()
            self._life.engines.append(self)
        return self._connection

    async def _alone(self, work: Callable[[], Any]) -> Any:
        async with self._turn:
            return await self._hop(work)

    def end(self) -> None:
        """Let go at once; an open transaction is rolled back."""
        if self._connection is not None:
            self._kept.give_back(self._connection)
            self._connection = None
