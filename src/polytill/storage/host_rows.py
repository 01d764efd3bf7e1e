"""All columns of a host application's table or query, page by page: the payments that its own code has taken.

Reading never writes, as in ``host_field.py``. Pages follow a column of unique values, so that no transaction stays open
while rows are taken over, and rows that are added meanwhile move no others.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import AsyncIterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

from polytill.domain.database_urls import is_postgres, wrong_with_owner
from polytill.domain.secret import Secret
from polytill.storage.host_columns import HostError, quoted
from polytill.storage.host_field import PostgresSource, SqliteSource, Table

# The column that pages follow, if none is named: the first of these in lower case and without separators.
KEYS = ("id", "uuid", "paymentid", "transactionid", "reference")
PAGE = 500

HostPage = list[dict[str, Any]]


def _key_of(there: Sequence[str], wanted: str | None) -> str:
    if wanted is not None:
        if wanted in there:
            return wanted
        raise HostError(f"There is no column {wanted!r}. There are: {', '.join(there)}.")
    by_form = {re.sub(r"[^a-z0-9]", "", name.casefold()): name for name in reversed(there)}
    found = next((by_form[name] for name in KEYS if name in by_form), None)
    if found is None:
        raise HostError(f"Name a column of unique values (source.key). There are: {', '.join(there)}.")
    return found


def _plain(value: Any) -> Any:
    """A value as a row has it. A number of a column of floats stays one, and is rejected where money is read."""
    if value is None or isinstance(value, str | int | float | Decimal | datetime):
        return value
    if isinstance(value, date):
        return value.isoformat()
    return None if isinstance(value, bytes | bytearray | memoryview) else str(value)


class _Pages:
    """The SQL of the pages of one table or query."""

    def __init__(self, source: str, key: str, there: Sequence[str]) -> None:
        self.there, self._key, self._source = there, quoted(key), source
        self.at = there.index(key)
        self.repeated = (
            f"SELECT {self._key} FROM {source} WHERE {self._key} IS NOT NULL GROUP BY {self._key}"  # noqa: S608
            " HAVING count(*) > 1 LIMIT 1"
        )
        self.without = f"SELECT * FROM {source} WHERE {self._key} IS NULL LIMIT {PAGE}"  # noqa: S608

    def after(self, mark: str | None) -> str:
        """The page after a key, whose parameter is ``mark``. None: the first page."""
        where = f"{self._key} > {mark}" if mark else f"{self._key} IS NOT NULL"
        return f"SELECT * FROM {self._source} WHERE {where} ORDER BY {self._key} LIMIT {PAGE}"  # noqa: S608

    def rows(self, found: Sequence[Sequence[Any]]) -> HostPage:
        """The rows of a page by their columns."""
        return [dict(zip(self.there, map(_plain, row), strict=True)) for row in found]


def _not_unique() -> HostError:
    return HostError("The column that pages follow has a value twice. Name another one (source.key).")


class SqliteRows(SqliteSource):
    """The rows of a SQLite file."""

    async def pages(self, key: str | None) -> AsyncIterator[HostPage]:
        """All rows in pages, those without a key last."""

        def look(connection: sqlite3.Connection) -> list[str]:
            cursor = connection.execute(f"SELECT * FROM {self._from} LIMIT 0")  # noqa: S608
            return [one[0] for one in cursor.description]

        there = await self._run(look)
        sql = _Pages(self._from, _key_of(there, key), there)
        if await self._run(partial(_fetched, sql.repeated)):
            raise _not_unique()
        found = await self._run(partial(_fetched, sql.after(None)))
        while found:
            yield sql.rows(found)
            found = await self._run(partial(_fetched, sql.after("?"), found[-1][sql.at]))
        if left := await self._run(partial(_fetched, sql.without)):
            yield sql.rows(left)


def _fetched(sql: str, *arguments: Any) -> Any:
    *values, connection = arguments
    return connection.execute(sql, tuple(values)).fetchall()


class PostgresRows(PostgresSource):
    """The rows of a PostgreSQL database."""

    async def pages(self, key: str | None) -> AsyncIterator[HostPage]:
        """All rows in pages, those without a key last."""
        async with self._connected() as connection:
            statement = await connection.prepare(f"SELECT * FROM {self._from} LIMIT 0")  # noqa: S608
            there = [one.name for one in statement.get_attributes()]
            sql = _Pages(self._from, _key_of(there, key), there)
            if await connection.fetch(sql.repeated):
                raise _not_unique()
            found = await connection.fetch(sql.after(None))
        while found:
            yield sql.rows([tuple(row) for row in found])
            async with self._connected() as connection:
                found = await connection.fetch(sql.after("$1"), found[-1][sql.at])
        async with self._connected() as connection:
            left = await connection.fetch(sql.without)
        if left:
            yield sql.rows([tuple(row) for row in left])


def database_rows(address: Secret, table: Table) -> SqliteRows | PostgresRows:
    """The rows at a database address: ``postgresql://…`` or ``sqlite:///…``."""
    url = address.reveal()
    if (wrong := wrong_with_owner(url)) is not None:
        raise HostError(wrong)
    if is_postgres(url):
        return PostgresRows(address, table)
    return SqliteRows(Path(url.removeprefix("sqlite:///")), table)
