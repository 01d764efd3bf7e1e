"""Database files that are used by one history after the other, with their open connections.

To copy a file, open it and prepare the same statements again would cost more than the history itself. A connection
that a dying node leaves behind is rolled back, which is all that its closing would have done.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from polytill.storage.sqlite import SqliteEngine, connect, inline_hop
from polytill.storage.units import Step

if TYPE_CHECKING:
    import sqlite3

# Written when a database is made, and never again.
_CONSTANT = ("alembic_version", "currencies", "identity")


class Kept:
    """One file, what was in it when it was made, and the connections to it that nobody uses now."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.idle: list[sqlite3.Connection] = []
        self._reader = SqliteEngine(path, inline_hop)
        self._reader._connection = self.take()
        found = self.rows("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
        self._tables = [row["name"] for row in found if row["name"] not in _CONSTANT]
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
        engine._connection = connection
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
