"""Moving a practice's database to another cluster of the same engine: one interface to both engines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from polytill.domain.errors import OperatorError
from polytill.storage import moving_postgres, moving_sqlite
from polytill.storage.clusters import Cluster
from polytill.storage.moving_sqlite import SqliteGuard
from polytill.storage.postgres_connect import with_database


@dataclass(frozen=True, slots=True)
class Home:
    """A database of a cluster."""

    cluster: Cluster
    database: str

    @property
    def url(self) -> str:
        """Its address on a server."""
        return with_database(self.cluster.location, self.database)


class Guard(Protocol):
    """The right to move one practice: no other process has it at the same time."""

    async def exists(self, database: str) -> bool:
        """Whether a database of this name is there."""

    async def close(self, database: str, name: str) -> None:
        """Rename a database that is in use, so that nobody reads or writes it from then on. ``NotNow`` if that does not
        succeed; then it has its name as before."""

    async def reopen(self, name: str, database: str) -> None:
        """Give it its name back."""


class _Sqlite:
    """A guard whose work blocks, in threads."""

    def __init__(self, guard: SqliteGuard) -> None:
        self._guard = guard

    async def exists(self, database: str) -> bool:
        return self._guard.exists(database)

    async def close(self, database: str, name: str) -> None:
        await asyncio.to_thread(self._guard.close, database, name)

    async def reopen(self, name: str, database: str) -> None:
        await asyncio.to_thread(self._guard.reopen, name, database)


class _Postgres:
    """A guard that closes and reopens by renaming."""

    def __init__(self, guard: moving_postgres.PostgresGuard) -> None:
        self._guard = guard

    async def exists(self, database: str) -> bool:
        return await self._guard.exists(database)

    async def close(self, database: str, name: str) -> None:
        await self._guard.rename(database, name)

    async def reopen(self, name: str, database: str) -> None:
        await self._guard.rename(name, database)


def why_not(old: Cluster, new: Cluster) -> str | None:
    """A sentence if practices of one cluster cannot be moved to the other; else None."""
    if (old.budget is None) != (new.budget is None):
        return "A practice moves from PostgreSQL to PostgreSQL, or between directories of SQLite files."
    if old.budget is not None and old.budget.is_pooled:
        return "The cluster's address is that of a pooler. Give it the server's own address to move practices from it."
    return None


@asynccontextmanager
async def guarded(cluster: Cluster, practice_id: int) -> AsyncIterator[Guard]:
    """Hold the right to move a practice from this cluster. ``NotNow`` if another process holds it; that of a killed
    process ends with it."""
    if cluster.budget is None:
        with moving_sqlite.guarded(cluster, practice_id) as of_files:
            yield _Sqlite(of_files)
    else:
        async with moving_postgres.guarded(cluster, practice_id) as of_server:
            yield _Postgres(of_server)


async def copy(old: Home, new: Home) -> int:
    """Copy a database while it is used, and compare rows and checksums of each table. Returns the number from which on
    ``finish`` looks for changes.

    ``OperatorError`` if the copy differs. Then, and if the caller is killed, it must be dropped (``drop``).
    """
    if old.cluster.budget is None:
        await asyncio.to_thread(moving_sqlite.copy, old.cluster.file(old.database), new.cluster.file(new.database))
        return 0
    return (await moving_postgres.copy(old.url, new.cluster, new.database))[1]


async def refresh(old: Home, new: Home, since: int) -> int:
    """Copy what has changed meanwhile, so that little is left for ``finish``, while the database is used. Returns the
    number from which on the rest is missing."""
    return since if old.cluster.budget is None else await moving_postgres.refresh(old.url, new.url, since)


async def finish(old: Home, new: Home, since: int, epochs: tuple[str, str]) -> None:
    """Copy the rest of a closed database, compare it, and replace the first epoch by the second in the copy. Repeated, it
    changes nothing.

    ``OperatorError`` if the copy differs, or if either has another epoch.
    """
    if old.cluster.budget is None:
        files = old.cluster.file(old.database), new.cluster.file(new.database)
        await asyncio.to_thread(moving_sqlite.finish, *files, epochs)
    else:
        await moving_postgres.finish(old.url, new.cluster, new.database, since, epochs)


async def drop(home: Home) -> None:
    """Drop an unfinished copy or an old database, if it is there."""
    if home.cluster.budget is None:
        moving_sqlite.drop_partial(home.cluster.file(home.database))
    await home.cluster.drop(home.database)


def must_be_one(has_database: bool, has_kept: bool) -> None:
    """``OperatorError`` unless the old database has exactly one of its two names."""
    if has_database == has_kept:
        where = "both its names" if has_kept else "neither of its names"
        raise OperatorError(f"The database to move is there under {where}. Nothing was changed.")
