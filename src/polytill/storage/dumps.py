"""A practice's database as one stream of bytes, and back: PostgreSQL's custom format, or a copy of the SQLite file.

A dump is one moment of the database, and the database goes on being used. Its fingerprint (the number of rows of each
table, and a checksum over them) is of the same moment, so that a restored copy can be compared with it.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from polytill.domain.errors import OperatorError
from polytill.storage.postgres_connect import connect

# By table: the number of rows, and a checksum over them that does not depend on their order.
Fingerprint = dict[str, tuple[int, str]]

PIECE = 64 * 1024
LONGEST_S = 3600.0  # for one statement over a large table
PAGES_AT_ONCE = 256  # of a SQLite file; others use the database between two of these
PAUSE_S = 0.005
DEBIANS = Path("/usr/lib/postgresql")
# The text of a row depends on these.
_SESSION = "SET timezone = 'UTC'; SET datestyle = 'ISO, YMD'; SET extra_float_digits = 1; SET bytea_output = 'hex'"
_COUNTED = "SELECT count(*) AS rows, COALESCE(sum(('x' || left(md5(t::text), 15))::bit(60)::bigint), 0)::text AS sum"
_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename"


def client_program(name: str) -> str:
    """The newest one of PostgreSQL's client programs. Debian keeps a version each outside of PATH."""
    versions = [folder for folder in DEBIANS.glob("*/bin") if (folder / name).exists()]
    newest = max(versions, key=lambda folder: [int(part) for part in folder.parent.name.split(".")], default=None)
    found = str(newest / name) if newest else shutil.which(name)
    if found is None:
        raise OperatorError(f"Backups of PostgreSQL databases need {name} (Debian's package postgresql-client).")
    return found


def _without_password(url: str) -> tuple[str, dict[str, str]]:
    """An address for a command line, which every user of the machine can read, and the environment with its password."""
    parts = urlsplit(url)
    user, _, hosts = parts.netloc.rpartition("@")
    name, _, password = user.partition(":")
    options = "&".join(one for one in parts.query.split("&") if one and not one.startswith("pgbouncer="))
    netloc = f"{name}@{hosts}" if user else hosts
    environment = {**os.environ, "PGAPPNAME": "polytill"} | ({"PGPASSWORD": unquote(password)} if password else {})
    return urlunsplit((parts.scheme, netloc, parts.path, options, "")), environment


# ── Fingerprints ──


async def read_alike(connection: Any) -> None:
    """Let a connection write the text of a row as every other one does."""
    await connection.execute(_SESSION)


async def fingerprint_postgres(connection: Any) -> Fingerprint:
    """The fingerprint of a PostgreSQL database, as this connection's transaction sees it."""
    await read_alike(connection)
    found: Fingerprint = {}
    for row in await connection.fetch(_TABLES):
        table = row["tablename"]
        counted = await connection.fetchrow(f'{_COUNTED} FROM "{table}" t', timeout=LONGEST_S)
        found[table] = (counted["rows"], counted["sum"])
    return found


def fingerprint_sqlite(connection: sqlite3.Connection) -> Fingerprint:
    """The fingerprint of an open SQLite database."""
    found: Fingerprint = {}
    names = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
    for (table,) in connection.execute(names).fetchall():
        rows, total = 0, 0
        for row in connection.execute(f'SELECT * FROM "{table}"'):  # noqa: S608 (a name from the catalog)
            rows += 1
            total += int.from_bytes(hashlib.md5(repr(tuple(row)).encode(), usedforsecurity=False).digest()[:7], "big")
        found[table] = (rows, str(total))
    return found


def differences(expected: Fingerprint, found: Fingerprint) -> list[str]:
    """A sentence for each table that differs."""
    said = []
    for table in sorted(expected.keys() | found.keys()):
        (rows, total), (now_rows, now_total) = expected.get(table, (0, "")), found.get(table, (0, ""))
        if rows != now_rows:
            said.append(f"{table} has {now_rows} rows instead of {rows}.")
        elif total != now_total:
            said.append(f"{table} has {rows} rows as expected, but other content.")
    return said


# ── PostgreSQL ──


@asynccontextmanager
async def dumped_postgres(url: str) -> AsyncIterator[tuple[Fingerprint, AsyncIterator[bytes]]]:
    """A fingerprint and the dump of the same snapshot, piece by piece. The block must read the dump to its end."""
    connection = await connect(url)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            snapshot = await connection.fetchval("SELECT pg_export_snapshot()")
            fingerprint = await fingerprint_postgres(connection)
            address, environment = _without_password(url)
            words = ["--format=custom", "--no-owner", "--no-acl", f"--snapshot={snapshot}", f"--dbname={address}"]
            async with _started(client_program("pg_dump"), words, environment) as process:
                yield fingerprint, _pieces(process)
    finally:
        await connection.close()


async def piped_postgres(url: str, snapshot: str, to: str) -> None:
    """Dump a snapshot of a database into an empty one at another address, without a file between them."""
    address, environment = _without_password(url)
    into, environment_into = _without_password(to)
    words = ["--format=custom", "--no-owner", "--no-acl", f"--snapshot={snapshot}", f"--dbname={address}"]
    words_into = ["--no-owner", "--no-acl", "--exit-on-error", "--single-transaction", f"--dbname={into}"]
    reading, writing = os.pipe()
    try:
        async with (
            _started(client_program("pg_restore"), words_into, environment_into, given=reading),
            _started(client_program("pg_dump"), words, environment, taken=writing),
        ):
            os.close(reading)
            os.close(writing)
            reading = writing = -1
    finally:
        for one in (reading, writing):
            if one >= 0:
                os.close(one)


@asynccontextmanager
async def _started(
    program: str, words: list[str], environment: dict[str, str], given: int | None = None, taken: int | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a program beside the block. ``OperatorError`` with its first line of complaint if it fails.

    ``given`` and ``taken``: descriptors that it reads and writes instead of pipes to this process.
    """
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        program,
        *words,
        stdin=pipe if given is None else given,
        stdout=pipe if taken is None else taken,
        stderr=pipe,
        env=environment,
    )
    assert process.stderr is not None
    complaints = asyncio.create_task(process.stderr.read())
    try:
        yield process
        said, code = (await complaints).decode(errors="replace").strip(), await process.wait()
    finally:
        complaints.cancel()
        if process.returncode is None:
            process.kill()
            await process.wait()
    if code != 0:
        first = said.splitlines()[0] if said else f"it ended with {code}"
        raise OperatorError(f"{Path(program).name} failed: {first}")


async def _pieces(process: asyncio.subprocess.Process) -> AsyncIterator[bytes]:
    assert process.stdout is not None
    while piece := await process.stdout.read(PIECE):
        yield piece


async def load_postgres(url: str, pieces: Iterator[bytes]) -> Fingerprint:
    """Restore a dump into an empty database, in one transaction. Returns the fingerprint of what is there now."""
    address, environment = _without_password(url)
    words = ["--no-owner", "--no-acl", "--exit-on-error", "--single-transaction", f"--dbname={address}"]
    async with _started(client_program("pg_restore"), words, environment) as process:
        assert process.stdin is not None
        try:
            for piece in pieces:
                process.stdin.write(piece)
                await process.stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            pass  # its exit code and complaint say why
        process.stdin.close()
    connection = await connect(url)
    try:
        return await fingerprint_postgres(connection)
    finally:
        await connection.close()


# ── SQLite ──


def copy_sqlite(source: Path, target: Path) -> Fingerprint:
    """Copy a database that is in use to a new file (SQLite's online backup), and return the copy's fingerprint."""
    target.touch(mode=0o600)
    with closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as one, closing(sqlite3.connect(target)) as copy:
        one.execute("PRAGMA busy_timeout = 10000")
        one.backup(copy, pages=PAGES_AT_ONCE, sleep=PAUSE_S)
        copy.execute("PRAGMA journal_mode = DELETE").fetchall()  # one file, without a log beside it
        return sound_sqlite(copy)


def load_sqlite(target: Path, pieces: Iterator[bytes]) -> Fingerprint:
    """Write a dump to a new file, check it, and return its fingerprint."""
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        for piece in pieces:
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    with closing(sqlite3.connect(target)) as connection:
        found = sound_sqlite(connection)
        connection.execute("PRAGMA journal_mode = WAL").fetchall()  # closing it empties the log
    return found


def sound_sqlite(connection: sqlite3.Connection) -> Fingerprint:
    """The fingerprint of an open SQLite database that is not damaged. ``OperatorError`` if it is."""
    try:
        [(said,)] = connection.execute("PRAGMA integrity_check(1)").fetchall()
        if said != "ok":
            raise OperatorError(f"The SQLite file is damaged: {said}.")
        return fingerprint_sqlite(connection)
    except sqlite3.DatabaseError as error:
        raise OperatorError("The SQLite file is damaged.") from error


def file_pieces(path: Path) -> Iterator[bytes]:
    """The bytes of a file, piece by piece."""
    with path.open("rb") as file:
        yield from iter(lambda: file.read(PIECE), b"")
