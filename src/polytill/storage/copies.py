"""Copies of a practice's database within its cluster: dumped, loaded beside it, and put in its place."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

from polytill.domain.errors import DatabaseUnavailable, OperatorError
from polytill.storage import dumps, files
from polytill.storage.clusters import Cluster, create_postgres_database
from polytill.storage.dumps import Fingerprint
from polytill.storage.moving_sqlite import SqliteGuard, delete_log
from polytill.storage.postgres_connect import ADMIN, connect, with_database

ENDS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()"
AGAIN_S = 0.1
LONGEST_S = 60.0


@asynccontextmanager
async def dumped(cluster: Cluster, database: str) -> AsyncIterator[tuple[Fingerprint, AsyncIterator[bytes]]]:
    """The fingerprint and the dump of one moment of a database, while it is used."""
    if cluster.budget is not None:
        async with dumps.dumped_postgres(with_database(cluster.location, database)) as found:
            yield found
        return
    if not cluster.file(database).exists():
        raise DatabaseUnavailable(f"The file of the database {database} is missing.")
    # In the same directory: there is room for the practices' files, and others cannot read them.
    with files.working_folder(Path(cluster.location), ".polytill-copy-") as folder:
        copy = folder / "copy.db"
        fingerprint = await asyncio.to_thread(dumps.copy_sqlite, cluster.file(database), copy)
        yield fingerprint, _in_threads(lambda: dumps.file_pieces(copy))


async def _in_threads(pieces: Callable[[], Iterator[bytes]]) -> AsyncIterator[bytes]:
    iterator = pieces()
    while piece := await asyncio.to_thread(next, iterator, b""):
        yield piece


async def load(cluster: Cluster, database: str, pieces: Iterator[bytes]) -> Fingerprint:
    """Load a dump into a new database. If that fails, nothing of it is left."""
    try:
        if cluster.budget is None:
            return await asyncio.to_thread(dumps.load_sqlite, cluster.file(database), pieces)
        if not await create_postgres_database(cluster.location, database):
            raise OperatorError(f"A database named {database} exists already; nothing was changed.")
        return await dumps.load_postgres(with_database(cluster.location, database), pieces)
    except BaseException:
        await cluster.drop(database)
        raise


async def put_in_place(cluster: Cluster, new: str, database: str, kept: str) -> None:
    """Keep a database under another name, and put a new one in its place. Connections to both end.

    Killed in between, no database has the practice's name, so that the practice answers 503. ``put_in_place`` may then
    be called again.
    """
    if cluster.budget is None:
        await asyncio.to_thread(_put_file, cluster, new, database, kept)
        return
    for name in (new, database):
        await cluster.budget.forget(name)
    if await _exists(cluster, database):
        await _rename(cluster, database, kept)
    await _rename(cluster, new, database)


async def _exists(cluster: Cluster, database: str) -> bool:
    connection = await connect(with_database(cluster.location, ADMIN))
    try:
        return bool(await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", database))
    finally:
        await connection.close()


async def _rename(cluster: Cluster, database: str, name: str) -> None:
    """Rename a database that others use. While the server waits for them to leave, it lets no new ones in."""
    renaming = await connect(with_database(cluster.location, ADMIN))
    ending = await connect(with_database(cluster.location, ADMIN))
    try:
        work = asyncio.create_task(renaming.execute(f'ALTER DATABASE "{database}" RENAME TO "{name}"'))
        async with asyncio.timeout(LONGEST_S):
            while not work.done():
                await ending.execute(ENDS, database)
                await asyncio.wait([work], timeout=AGAIN_S)
            await work
    except TimeoutError:
        raise DatabaseUnavailable(f"The database {database} could not be renamed: others use it.") from None
    finally:
        await ending.close()
        await renaming.close()


def _put_file(cluster: Cluster, new: str, database: str, kept: str) -> None:
    _without_log(cluster.file(new))
    guard = SqliteGuard(cluster)
    if guard.exists(database):
        guard.close(database, kept)
    # Those that have the file of before open go on with its log; the new file gets one of its own.
    delete_log(cluster.file(database))
    guard.reopen(new, database)


def _without_log(file: Path) -> None:
    """Write the log of a file that nobody else uses into the file, so that the file alone is the database."""
    with closing(sqlite3.connect(file, timeout=10, isolation_level=None)) as connection:
        [(mode,)] = connection.execute("PRAGMA journal_mode = DELETE").fetchall()
    if mode != "delete":
        raise DatabaseUnavailable(f"The database file {file} is in use.")
