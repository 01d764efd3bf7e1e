"""Databases as values: ``OwnerDb`` and ``PracticeDb`` are different types over the same two engines.

A practice's database is passed as an argument and never ambient: code without a ``PracticeDb`` can reach no practice,
and a function that takes one cannot be given the owner's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, Protocol

from polytill.domain.errors import PracticeBehind, Stale
from polytill.domain.sealing import DataKey
from polytill.storage import anchors
from polytill.storage.anchors import Anchor, Mark
from polytill.storage.units import Step, Steps, Unit

# What a storage function that only writes needs: a ``Unit`` or a ``Tx``.
Writes = Steps


class Reads(ABC):
    """What can be queried: a database or an open transaction."""

    __slots__ = ()

    @abstractmethod
    async def fetch(self, sql: str, *args: Any) -> list[Any]:
        """The rows of a query."""

    async def one(self, sql: str, *args: Any) -> Any | None:
        """The first row of a query, or None."""
        rows = await self.fetch(sql, *args)
        return rows[0] if rows else None

    async def value(self, sql: str, *args: Any) -> Any:
        """The first column of the first row of a query. None if there is no row."""
        row = await self.one(sql, *args)
        return None if row is None else row[0]

    async def column(self, sql: str, *args: Any) -> list[Any]:
        """The first column of each row of a query."""
        return [row[0] for row in await self.fetch(sql, *args)]


class Tx(Steps, Reads):
    """An open transaction. Only flows open one; storage functions add statements to it and query it. A query runs after
    the queued statements."""

    __slots__ = ()

    @abstractmethod
    async def flush(self) -> None:
        """Run the queued statements."""


class Engine(Protocol):
    """SQLite or PostgreSQL."""

    dialect: str

    async def fetch(self, sql: str, *args: Any) -> list[Any]:
        """Rows of a query."""

    async def commit(self, steps: list[Step]) -> list[int]:
        """Run steps as one transaction."""

    def transaction(self) -> AbstractAsyncContextManager[Any]:
        """An interactive transaction."""

    async def verify(self, anchor: Anchor) -> None:
        """Compare the database with what is known of it (``Anchor.check``)."""

    async def place(self) -> str | None:
        """Where this database is, if the engine can tell."""

    @property
    def visit(self) -> str:
        """SQLite: the file that is open now, which changes if another one is put in its place. PostgreSQL: empty."""

    async def close(self) -> None:
        """Release connections and files."""


class Database(Reads):
    """What both kinds share: free reads, and writes by units and transactions."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    async def fetch(self, sql: str, *args: Any) -> list[Any]:
        """The rows of a query."""
        return await self.engine.fetch(sql, *args)

    async def commit(self, unit: Unit) -> list[int]:
        """Commit a unit: all of it or nothing. Returns the number of rows that each step affected."""
        counted, steps = unit.counted, unit.take()
        counts = await self.engine.commit(steps) if steps else []
        for one in counted:
            one.rows = counts[one.at]
        return counts

    def transaction(self) -> AbstractAsyncContextManager[Tx]:
        """An interactive transaction, for writes that depend on a read inside of it. Only flows open one."""
        return self.engine.transaction()


class OwnerDb(Database):
    """The platform's own database: directory, catalog, staff, API keys, audit."""

    async def server_time_s(self) -> float | None:
        """The time of its server in seconds since the epoch. None if it is a file."""
        if self.engine.dialect == "sqlite":
            return None
        shown: datetime = await self.value("SELECT clock_timestamp()")
        return shown.timestamp()


class PracticeDb(Database):
    """One practice's database, the data key that opens its secrets, and whether it is behind (``anchor``)."""

    def __init__(self, engine: Engine, practice_id: int, data_key: DataKey, anchor: Anchor | None = None) -> None:
        super().__init__(engine)
        self.practice_id = practice_id
        self.data_key = data_key
        self.anchor = anchor or Anchor(practice_id, "", Mark())

    async def commit(self, unit: Unit) -> list[int]:
        """As ``Database.commit``. A ``Stale`` unit that needs a current database may have met an older one, so that the
        database is compared again before money is moved."""
        needs_current = unit.needs_current
        try:
            return await super().commit(unit)
        except Stale:
            self.anchor.must_read = self.anchor.must_read or needs_current
            raise

    async def must_be_current(self, tx: Tx) -> None:
        """In an open transaction: ``PracticeBehind`` if this is not the database whose epoch and mark this process knows."""
        self.anchor.must_be_current()
        sql, args = anchors.held(self.anchor)
        if not await tx.fetch(sql, *args):
            self.anchor.must_read = True
            raise PracticeBehind

    async def is_closed(self) -> bool:
        """Whether this was current until it was closed, because another database takes its place."""
        return bool(await self.value("SELECT epoch FROM identity") == anchors.closed(self.anchor.epoch))

    def __repr__(self) -> str:
        return f"PracticeDb({self.practice_id})"
