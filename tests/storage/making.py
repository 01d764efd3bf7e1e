"""Empty databases on either engine, for tests that need no installation."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from polytill.storage.clusters import create_postgres_database, drop_postgres_database, new_sqlite_file
from polytill.storage.connection_budget import Budget
from polytill.storage.databases import Database
from polytill.storage.postgres import PostgresEngine
from polytill.storage.sqlite import SqliteEngine


@asynccontextmanager
async def empty(engine_url: str | None, folder: Path) -> AsyncIterator[Database]:
    """A new database without tables."""
    name = f"empty_{secrets.token_hex(6)}"
    if engine_url is None:
        path = folder / f"{name}.db"
        new_sqlite_file(path)
        database = Database(SqliteEngine(path))
        try:
            yield database
        finally:
            await database.engine.close()
        return
    await create_postgres_database(engine_url, name)
    database = Database(PostgresEngine(Budget(engine_url, 5), name))
    try:
        yield database
    finally:
        await database.engine.close()
        await drop_postgres_database(engine_url, name)


async def run(database: Database, *statements: str) -> None:
    """Statements in one transaction."""
    async with database.transaction() as tx:
        for statement in statements:
            await tx.fetch(statement)


async def plain(database: Any, sql: str, *args: Any) -> list[tuple[Any, ...]]:
    """Rows as tuples, the same on both engines."""
    return [tuple(row) for row in await database.fetch(sql, *args)]


class Fails(Exception):
    """The exception that a test injects."""


class Injected:
    """Makes one method of an object or class fail, once or always, before or after it has done its work."""

    def __init__(
        self, patch: pytest.MonkeyPatch, owner: Any, name: str, *, after: bool = False, times: int = 1
    ) -> None:
        self.left = times
        real = getattr(owner, name)

        async def failing(*args: Any, **options: Any) -> Any:
            if self.left <= 0:
                return await real(*args, **options)
            self.left -= 1
            if after:
                await real(*args, **options)
            raise Fails

        patch.setattr(owner, name, failing)
