"""Reads a practice's database for an export: every table as it was at one moment, a few hundred rows at a time."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, Protocol

from polytill.domain.clock import wire_time
from polytill.domain.errors import DatabaseUnavailable
from polytill.storage.clusters import Cluster
from polytill.storage.export_columns import Column, Part
from polytill.storage.postgres_connect import connect, refusals, with_database
from polytill.storage.units import json_value, moment

AT_ONCE = 200

Record = dict[str, Any]


class Snapshot(Protocol):
    """One moment of a practice's database."""

    def rows(self, part: Part) -> AsyncIterator[list[Record]]:
        """The records of a part in order, some at a time, by the names of its columns: times as ISO 8601 text in UTC,
        JSON as values."""


@asynccontextmanager
async def snapshot(cluster: Cluster, database: str) -> AsyncIterator[Snapshot]:
    """A snapshot of a database, which goes on being used. ``NotNow`` if it cannot be reached."""
    if cluster.budget is None:
        if not cluster.file(database).exists():
            raise DatabaseUnavailable(f"The file of the database {database} is missing.")
        async with _sqlite(cluster.file(database)) as found:
            yield found
        return
    connection = await connect(with_database(cluster.location, database))
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            yield _Postgres(connection)
    finally:
        await connection.close()


def _query(part: Part) -> str:
    columns = ", ".join(f"{column.sql} AS {column.name}" for column in part.columns)
    return f"SELECT {columns} FROM {part.table} AS t ORDER BY {part.order}"  # noqa: S608


def _record(part: Part, row: Any) -> Record:
    return {column.name: _value(column, row[at]) for at, column in enumerate(part.columns)}


def _value(column: Column, value: Any) -> Any:
    if value is None:
        return None
    if column.kind == "moment":
        at = moment(value)
        return None if at is None else wire_time(at)
    if column.kind == "json":
        return json_value(value)
    return bool(value) if column.kind == "flag" else value


class _Postgres:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def rows(self, part: Part) -> AsyncIterator[list[Record]]:
        with refusals(f"export the {part.name}"):
            cursor = await self._connection.cursor(_query(part))
            while found := await cursor.fetch(AT_ONCE):
                yield [_record(part, row) for row in found]


@asynccontextmanager
async def _sqlite(path: Path) -> AsyncIterator[Snapshot]:
    def opened() -> sqlite3.Connection:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA busy_timeout = 10000")
        connection.execute("BEGIN")
        connection.execute("SELECT 1 FROM identity").fetchone()  # the snapshot begins with the first read
        return connection

    try:
        connection = await asyncio.to_thread(opened)
    except sqlite3.Error as error:
        raise _unreadable(path) from error
    with closing(connection):
        yield _Sqlite(connection, path)


def _unreadable(path: Path) -> DatabaseUnavailable:
    return DatabaseUnavailable(f"The database file {path} cannot be read.")


class _Sqlite:
    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path

    async def rows(self, part: Part) -> AsyncIterator[list[Record]]:
        try:
            cursor = await asyncio.to_thread(self._connection.execute, _query(part))
            while found := await asyncio.to_thread(cursor.fetchmany, AT_ONCE):
                yield [_record(part, row) for row in found]
        except sqlite3.Error as error:
            raise _unreadable(self._path) from error
