"""Moving a practice's database from one PostgreSQL server to another.

The copy is of one snapshot, while the database is used. Later changes are found without anything in the database that
would record them: each version of a row names the transaction that wrote it (``xmin``), so a scan finds what is newer than
the snapshot. Deleted rows are found because both sides count. So the database is closed only for a scan, and for the
copying of what has changed since the scan before.

Closing is renaming. The server ends all connections to a database that it renames, and nobody finds it by its name any
more, also a process that knows nothing of the move.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from polytill.domain.errors import NotNow, OperatorError
from polytill.storage import dumps
from polytill.storage.clusters import Cluster, create_postgres_database
from polytill.storage.copies import ENDS
from polytill.storage.dumps import Fingerprint
from polytill.storage.postgres_connect import ADMIN, FAILS, connect, translated, with_database

LONGEST_S = 3600.0  # for one statement over a large table
RENAMED_S = 20.0
ENDED_AGAIN_S = 0.02
ROUNDS = 3  # before the database is closed, as long as much has changed
FEW_ROWS = 500
_LOCKED = "SELECT pg_try_advisory_lock(7041778, $1)"  # any first number works that nobody else uses
_KEYS = (
    "SELECT c.relname::text AS name, array_agg(a.attname::text ORDER BY k.n) AS keys"
    " FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k(at, n)"
    " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.at"
    " WHERE i.indisprimary AND c.relnamespace = 'public'::regnamespace GROUP BY c.relname ORDER BY c.relname"
)
_COLUMNS = (
    "SELECT table_name::text AS name, array_agg(column_name::text ORDER BY ordinal_position) AS columns"
    " FROM information_schema.columns WHERE table_schema = 'public' GROUP BY table_name"
)
_REFERENCES = (
    "SELECT DISTINCT conrelid::regclass::text AS child, confrelid::regclass::text AS parent FROM pg_constraint"
    " WHERE contype = 'f' AND conrelid <> confrelid"
)
_SEQUENCES = (
    "SELECT quote_ident(sequencename) AS name, last_value FROM pg_sequences"
    " WHERE schemaname = 'public' AND last_value IS NOT NULL"
)
_IS_NEWER = "age(t.xmin) <= age($1::text::xid)"
_HASH = "('x' || left(md5(t::text), 15))::bit(60)::bigint"
_SUM = f"COALESCE(sum({_HASH}), 0)::text"
_CHANGED = (
    f"count(*) AS rows, count(*) FILTER (WHERE {_IS_NEWER}) AS changed,"
    f" COALESCE(sum({_HASH}) FILTER (WHERE {_IS_NEWER}), 0)::text AS total"
)


@dataclass(frozen=True, slots=True)
class _Table:
    name: str
    keys: tuple[str, ...]
    columns: tuple[str, ...]

    @property
    def copy(self) -> str:
        """The temporary table with its changed rows."""
        return f"moved_{self.name}"

    def matches(self, alias: str) -> str:
        """SQL: a row of ``t`` has the key of a row of this alias."""
        return " AND ".join(f't."{key}" = {alias}."{key}"' for key in self.keys)


@dataclass(frozen=True, slots=True)
class _Changes:
    """What a table has that its copy lacks: the number and the checksum of the changed rows, and of all rows."""

    table: _Table
    rows: int
    changed: int
    total: str


async def copy(old: str, target: Cluster, new: str) -> tuple[Fingerprint, int]:
    """Copy the database at an address to a new one while it is used, and compare rows and checksums of each table.

    Returns what was copied, and the number of the oldest transaction that it may lack. ``OperatorError`` if it differs.
    """
    address = with_database(target.location, new)
    source = await connect(old)
    try:
        async with source.transaction(isolation="repeatable_read", readonly=True):
            since = await _oldest_missing(source)
            snapshot = await source.fetchval("SELECT pg_export_snapshot()")
            if not await create_postgres_database(target.location, new):
                raise OperatorError(f"A database named {new} exists already; nothing was changed.")
            await dumps.piped_postgres(old, snapshot, address)
            expected = await dumps.fingerprint_postgres(source)
        found = await _fingerprint(address)
    except FAILS as error:
        raise translated(error) from error
    finally:
        await source.close()
    if different := dumps.differences(expected, found):
        raise OperatorError(f"The copy is not what was copied: {' '.join(different)}")
    return expected, since


async def _fingerprint(address: str) -> Fingerprint:
    copied = await connect(address)
    try:
        return await dumps.fingerprint_postgres(copied)
    finally:
        await copied.close()


async def _oldest_missing(source: Any) -> int:
    found = await source.fetchval("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
    return int(found) % 2**32


# ── Closing ──


class PostgresGuard:
    """The right to move one practice's database, held by a connection to its server, which closes and reopens it."""

    def __init__(self, cluster: Cluster, connection: Any) -> None:
        self._cluster, self._connection = cluster, connection

    async def exists(self, database: str) -> bool:
        """Whether a database of this name is there."""
        return bool(await self._connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", database))

    async def rename(self, database: str, name: str) -> None:
        """Rename a database, and end all connections to it. ``NotNow`` if that does not succeed in time; then it has its
        name as before."""
        if self._cluster.budget is not None:
            await self._cluster.budget.forget(database)
        ending = await connect(with_database(self._cluster.location, ADMIN))
        # On the connection with the lock: if that is lost, nothing is renamed.
        work = asyncio.ensure_future(
            self._connection.execute(f'ALTER DATABASE "{database}" RENAME TO "{name}"', timeout=RENAMED_S)
        )
        try:
            async with asyncio.timeout(RENAMED_S):
                while not work.done():
                    await ending.execute(ENDS, database)
                    await asyncio.wait([work], timeout=ENDED_AGAIN_S)
            await work
        except FAILS as error:
            raise NotNow(f"The database {database} could not be renamed ({type(error).__name__}).") from error
        finally:
            if not work.done():
                work.cancel()
                await asyncio.gather(work, return_exceptions=True)
            await ending.close()


@asynccontextmanager
async def guarded(cluster: Cluster, practice_id: int) -> AsyncIterator[PostgresGuard]:
    """Hold the right to move a practice from this server. ``NotNow`` if another process holds it."""
    connection = await connect(with_database(cluster.location, ADMIN))
    try:
        if not await connection.fetchval(_LOCKED, practice_id):
            raise NotNow("Another process is moving this practice.")
        yield PostgresGuard(cluster, connection)
    except FAILS as error:
        raise translated(error) from error
    finally:
        await connection.close()


# ── Catching up ──


async def refresh(old: str, new: str, since: int) -> int:
    """Copy what has changed since a transaction, a few times, while the database is used. Returns the number of the
    transaction from which on the rest is missing."""
    for _ in range(ROUNDS):
        source, target = await connect(old), await connect(new)
        try:
            async with source.transaction(isolation="repeatable_read", readonly=True), target.transaction():
                following, changed = await _oldest_missing(source), await _catch_up(source, target, since)
        finally:
            await source.close()
            await target.close()
        since = following
        if changed < FEW_ROWS:
            break
    return since


async def finish(old: str, target: Cluster, new: str, since: int, epochs: tuple[str, str]) -> int:
    """Copy the last changes of a closed database, compare them, and give the copy its own epoch and birthplace, all in one
    transaction. Done before, nothing is changed. Returns the number of changed rows.

    ``OperatorError`` if it differs, or if either database has another epoch than the first of ``epochs``.
    """
    assert target.budget is not None
    source, copied = await connect(old), await connect(with_database(target.location, new))
    try:
        place = await target.budget.place(copied)
        async with source.transaction(isolation="repeatable_read", readonly=True), copied.transaction():
            epoch = await copied.fetchval("SELECT epoch FROM identity FOR UPDATE")
            if epoch == epochs[1]:
                return 0
            if epoch != epochs[0] or await source.fetchval("SELECT epoch FROM identity") != epochs[0]:
                raise OperatorError("The practice's database was restored or adopted while it was being moved.")
            changed = await _catch_up(source, copied, since)
            for row in await source.fetch(_SEQUENCES):
                await copied.execute("SELECT setval($1, $2)", row["name"], row["last_value"])
            await copied.execute("UPDATE identity SET epoch = $1, birthplace = $2", epochs[1], place)
            return changed
    except FAILS as error:
        raise translated(error) from error
    finally:
        await source.close()
        await copied.close()


async def _catch_up(source: Any, target: Any, since: int) -> int:
    """Make a copy equal to what the transaction of ``source`` sees, where it has changed since a transaction. Compares the
    number of all rows, and number and checksum of the changed ones. Returns their number."""
    for one in (source, target):
        await dumps.read_alike(one)
    tables = await _tables(source)
    found = [await _changes(source, table, since) for table in tables]
    for one in found:
        if one.changed:
            await _load(source, target, one.table, since)
    counts = {one.table.name: await _count(target, one.table.name) for one in found}
    for one in reversed(found):  # rows that refer to others go first
        added = await _added(target, one.table) if one.changed else 0
        if counts[one.table.name] + added != one.rows:
            await _delete_missing(source, target, one.table)
    for one in found:
        if one.changed:
            await _write(target, one.table)
    for one in found:
        if one.changed or counts[one.table.name] != one.rows:
            await _compare(target, one)
    return sum(one.changed for one in found)


async def _tables(source: Any) -> list[_Table]:
    """All tables, each after those that it refers to."""
    columns = {row["name"]: tuple(row["columns"]) for row in await source.fetch(_COLUMNS)}
    left = {
        row["name"]: _Table(row["name"], tuple(row["keys"]), columns[row["name"]]) for row in await source.fetch(_KEYS)
    }
    if missing := columns.keys() - left.keys():
        raise OperatorError(f"The table {min(missing)} has no primary key, so its changes cannot be found.")
    parents: dict[str, set[str]] = {}
    for row in await source.fetch(_REFERENCES):
        parents.setdefault(row["child"], set()).add(row["parent"])
    ordered: list[_Table] = []
    while left:
        ready = [name for name in left if not parents.get(name, set()) & left.keys()] or [next(iter(left))]
        ordered += [left.pop(name) for name in ready]
    return ordered


async def _changes(source: Any, table: _Table, since: int) -> _Changes:
    row = await source.fetchrow(f'SELECT {_CHANGED} FROM "{table.name}" t', str(since), timeout=LONGEST_S)  # noqa: S608
    return _Changes(table, row["rows"], row["changed"], row["total"])


async def _load(source: Any, target: Any, table: _Table, since: int) -> None:
    """Bring the changed rows into a temporary table."""
    await target.execute(f'CREATE TEMP TABLE "{table.copy}" (LIKE "{table.name}") ON COMMIT DROP')
    sql = f'SELECT {_names(table.columns)} FROM "{table.name}" t WHERE {_IS_NEWER}'  # noqa: S608
    await _piped(source, target, (sql, str(since)), table.copy, table.columns)


async def _piped(source: Any, target: Any, query: tuple[Any, ...], table: str, columns: Iterable[str]) -> None:
    pieces = io.BytesIO()
    await source.copy_from_query(*query, output=pieces, timeout=LONGEST_S)
    pieces.seek(0)
    await target.copy_to_table(table, source=pieces, columns=list(columns), timeout=LONGEST_S)


async def _count(target: Any, table: str) -> int:
    return int(await target.fetchval(f'SELECT count(*) FROM "{table}"', timeout=LONGEST_S))  # noqa: S608


async def _added(target: Any, table: _Table) -> int:
    sql = f'SELECT count(*) FROM "{table.copy}" m WHERE NOT EXISTS (SELECT 1 FROM "{table.name}" t WHERE {table.matches("m")})'  # noqa: S608
    return int(await target.fetchval(sql, timeout=LONGEST_S))


async def _delete_missing(source: Any, target: Any, table: _Table) -> None:
    """Delete the rows of a copy that the table does not have any more."""
    kept = f"kept_{table.name}"
    await target.execute(
        f'CREATE TEMP TABLE "{kept}" ON COMMIT DROP AS SELECT {_names(table.keys)} FROM "{table.name}" WITH NO DATA'  # noqa: S608
    )
    await _piped(source, target, (f'SELECT {_names(table.keys)} FROM "{table.name}"',), kept, table.keys)  # noqa: S608
    sql = f'DELETE FROM "{table.name}" t WHERE NOT EXISTS (SELECT 1 FROM "{kept}" k WHERE {table.matches("k")})'  # noqa: S608
    await target.execute(sql, timeout=LONGEST_S)


async def _write(target: Any, table: _Table) -> None:
    """Insert or replace the changed rows."""
    others = [column for column in table.columns if column not in table.keys]
    replaced = ", ".join(f'"{column}" = excluded."{column}"' for column in others)
    action = f"UPDATE SET {replaced}" if others else "NOTHING"
    columns = _names(table.columns)
    await target.execute(
        f'INSERT INTO "{table.name}" ({columns}) SELECT {columns} FROM "{table.copy}"'  # noqa: S608
        f" ON CONFLICT ({_names(table.keys)}) DO {action}",
        timeout=LONGEST_S,
    )


async def _compare(target: Any, expected: _Changes) -> None:
    table = expected.table
    found = await _count(target, table.name)
    if found != expected.rows:
        raise OperatorError(f"The copy of {table.name} has {found} rows instead of {expected.rows}.")
    if expected.changed:
        sql = f'SELECT count(*) AS rows, {_SUM} AS total FROM "{table.name}" t JOIN "{table.copy}" m ON {table.matches("m")}'  # noqa: S608
        row = await target.fetchrow(sql, timeout=LONGEST_S)
        if (row["rows"], row["total"]) != (expected.changed, expected.total):
            raise OperatorError(f"The copy of {table.name} has other content than the table.")


def _names(columns: Iterable[str]) -> str:
    return ", ".join(f'"{column}"' for column in columns)
