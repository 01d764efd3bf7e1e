"""Database files that histories use one after another, with their open connections.

Copying a file, opening it and preparing the same statements again would cost more than the history itself. A connection
of a crashed node is rolled back, which has the same effect as closing it.
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
        """End immediately and roll back uncommitted changes."""


class KeptDatabase(Protocol):
    """A database that histories use one after another, on either engine."""

    def engine(self, life: Life, prefix: str) -> LivingEngine:
        """One node's engine for it."""

    def rows(self, sql: str) -> list[Any]:
        """The committed rows, read without a node."""


# Written when a database is created, and never again.
CONSTANT = ("alembic_version", "currencies", "identity")


class Kept:
    """One file, its initial content, and the idle connections to it."""

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
        """The committed rows, read without a node."""
        return self._reader._fetch_now(sql, ())

    def rewind(self) -> None:
        """Restore the initial content."""
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
        """Close every idle connection."""
        for connection in self.idle:
            connection.close()
        if self._reader._connection is not None:
            self._reader._connection.close()

    def give_back(self, connection: sqlite3.Connection) -> None:
        """Return the connection of an ended node; uncommitted changes are rolled back."""
        if connection.in_transaction:
            connection.rollback()
        self.idle.append(connection)

    def engine(self, life: Life, prefix: str) -> LivingEngine:
        """One node's engine for this file."""
        return KeptEngine(self, life, prefix)


class KeptEngine(SqliteEngine):
    """The product's engine over a reused file. Work runs in place, so no separate task has to guard a thread's turn."""

    def __init__(self, kept: Kept, life: Life, prefix: str) -> None:
        super().__init__(kept.path, partial(life.hop, prefix))
        self._kept, self._life = kept, life

    def _opened(self) -> sqlite3.Connection:
        self._life.check()
        if self._connection is not None:
            return self._connection
        taken = self._kept.take()
        self.adopt(taken)
        self._life.engines.append(self)
        return taken

    async def _alone(self, work: Callable[[], Any]) -> Any:
        async with self._turn:
            return await self._hop(work)

    def end(self) -> None:
        """End immediately; an open transaction is rolled back."""
        if self._connection is not None:
            self._kept.give_back(self._connection)
            self._connection = None
