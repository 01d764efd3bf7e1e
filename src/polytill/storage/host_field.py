"""The host application's own table of practices, with its ``paymentProviders`` column: read in pages, and one field changed.

The connection is our own, apart from every installation's databases. Reading never writes: SQLite files are opened
read-only, PostgreSQL transactions are READ ONLY. A query is wrapped as a subquery, so that it cannot change anything either.
"""

from __future__ import annotations

import asyncio
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg

from polytill.domain.database_urls import is_postgres, wrong_with_owner
from polytill.domain.errors import DatabaseUnavailable
from polytill.domain.secret import Secret, without_secrets
from polytill.storage.host_columns import HostError, chosen, external_id_of, quoted
from polytill.storage.postgres_connect import FAILS, connect, translated

PAGE = 200  # practices in one page
QUERY_PAGE = 900  # of a query, because the database may run all of it for each page
LONGEST_FIELD = 32_000_000  # bytes; a longer one is an error of its row, not of the import


@dataclass(frozen=True, slots=True)
class HostRow:
    """One practice of the host. ``values`` has what ``COLUMNS`` names, as the database gave it. ``place`` says where it
    is, for people."""

    place: str
    values: Mapping[str, Any] = field(repr=False)  # the field holds keys

    @property
    def external_id(self) -> str | None:
        """The external id in its stored form; None if there is none or it is not valid."""
        return external_id_of(self.values.get("externalId"))


@dataclass(frozen=True, slots=True)
class Table:
    """Where the practices are: a table or view, or a query; and the columns that have unusual names."""

    name: str = "practices"
    schema: str | None = None
    query: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)


class HostSource(ABC):
    """A source of practices. ``ids`` and ``rows`` may be called again."""

    @abstractmethod
    async def ids(self) -> list[Any]:
        """The identifiers of all rows as the source has them, in its order: also duplicates and None."""

    @abstractmethod
    def rows(self, wanted: Sequence[Any]) -> AsyncIterator[HostRow]:
        """The rows with these identifiers, in pages."""

    async def write_field(self, external_id: str, before: Any, after: Any) -> bool:
        """Replace one practice's field if it still is ``before``. False if it is not, or there is no such practice."""
        raise HostError("The field can only be written into a table of a database.")

    async def filled(self) -> int:
        """How many rows hold something in the field, whatever their identifiers are."""
        raise HostError("Only a table of a database has a column to drop.")

    async def drop_column(self) -> int:
        """Drop the column with the field from the table, and return 0. If rows hold something in it, return their number,
        and drop nothing. ``HostError`` if the source is no table."""
        raise HostError("Only a table of a database has a column to drop.")


# A field that holds nothing, without white space; also if it is encoded twice.
_BLANK = ", ".join(f"'{one}'" for one in ("", "null", "{}", "[]", '""', '"null"', '"{}"', '"[]"'))


class _SqlSource(HostSource):
    def __init__(self, table: Table) -> None:
        self._table = table
        self._columns: dict[str, str] = {}
        if table.query is None:
            schema = f"{quoted(table.schema)}." if table.schema else ""
            self._from = schema + quoted(table.name)
            self._what = "The table"
        else:
            query = table.query.strip().rstrip(";").strip()
            if not query or "\x00" in query:
                raise HostError("The query is empty, or contains NUL.")
            self._from = f"(\n{query}\n) AS host_rows"
            self._what = "The result of the query"

    @property
    def _page(self) -> int:
        return PAGE if self._table.query is None else QUERY_PAGE

    def _id(self) -> str:
        return quoted(self._columns["externalId"])

    def _selected(self) -> str:
        return ", ".join(f"{quoted(column)} AS {quoted(value)}" for value, column in self._columns.items())

    def _check_writable(self) -> None:
        if self._table.query is not None:
            raise HostError("The field can only be written into a table, not into the result of a query.")


def _text_or_bytes(value: bytes) -> str | bytes:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value


class SqliteSource(_SqlSource):
    """A table, view or query of a SQLite file."""

    def __init__(self, path: Path, table: Table) -> None:
        super().__init__(table)
        self._path = path
        self.recovers = False  # whether a write that a killed process left half-made is rolled back

    def _open(self, mode: str) -> sqlite3.Connection:
        if not self._path.is_file():
            raise HostError("The SQLite file does not exist.")
        uri = f"{self._path.absolute().as_uri()}?mode={mode}"
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=10.0)
        connection.text_factory = _text_or_bytes
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST_FIELD)
        return connection

    async def _run(self, work: Callable[[sqlite3.Connection], Any], mode: str = "ro") -> Any:
        def run() -> Any:
            try:
                if mode == "ro" and self.recovers:
                    self._roll_back()
                with closing(self._open(mode)) as connection:
                    return work(connection)
            except (sqlite3.Error, sqlite3.Warning) as error:
                raise _sqlite_sentence(error) from None

        return await asyncio.to_thread(run)

    def _roll_back(self) -> None:
        """Undo a write of a killed process, as every program does that opens the file for writing. A read-only
        connection cannot, and would fail until somebody does."""
        journal = self._path.with_name(f"{self._path.name}-journal")
        if journal.exists():
            with closing(self._open("rw")) as connection:
                connection.execute("SELECT count(*) FROM sqlite_master").fetchone()

    async def _find_columns(self) -> None:
        if self._columns:
            return

        def look(connection: sqlite3.Connection) -> list[str]:
            cursor = connection.execute(f"SELECT * FROM {self._from} LIMIT 0")  # noqa: S608
            return [one[0] for one in cursor.description]

        self._columns = chosen(await self._run(look), self._table.columns, self._what)

    async def ids(self) -> list[Any]:
        await self._find_columns()
        sql = f"SELECT {self._id()} FROM {self._from}"  # noqa: S608
        found: list[Any] = await self._run(lambda connection: [row[0] for row in connection.execute(sql)])
        return found

    async def rows(self, wanted: Sequence[Any]) -> AsyncIterator[HostRow]:
        await self._find_columns()
        for start in range(0, len(wanted), self._page):
            page = wanted[start : start + self._page]
            for row in await self._run(partial(self._rows_of, page)):
                yield row

    def _rows_of(self, page: Sequence[Any], connection: sqlite3.Connection) -> list[HostRow]:
        marks = ", ".join("?" * len(page))
        sql = f"SELECT {self._selected()} FROM {self._from} WHERE {self._id()} IN ({marks})"  # noqa: S608
        try:
            return [self._row(row) for row in connection.execute(sql, tuple(page))]
        except sqlite3.DataError:  # a value is longer than the limit
            if len(page) == 1:
                return [self._too_long(page[0])]
            return [row for one in page for row in self._rows_of([one], connection)]

    def _row(self, row: Sequence[Any]) -> HostRow:
        values = dict(zip(self._columns, row, strict=True))
        return HostRow(f"{self._columns['externalId']} {values['externalId']!r}", values)

    def _too_long(self, one: Any) -> HostRow:
        values = {"externalId": one, "paymentProviders": "x" * 1_000_001}  # is reported as too large
        return HostRow(f"{self._columns['externalId']} {one!r}", values)

    async def write_field(self, external_id: str, before: Any, after: Any) -> bool:
        self._check_writable()
        await self._find_columns()
        column, own = quoted(self._columns["paymentProviders"]), self._id()
        # Compared as text, byte by byte: the column may take other ids for the same (NOCASE; '007' in an INTEGER).
        same = f"typeof({own}) IN ('text', 'integer') AND CAST({own} AS TEXT) COLLATE BINARY = ?2"
        sql = f"UPDATE {self._from} SET {column} = ?1 WHERE {same} AND {column} IS ?3"  # noqa: S608

        def write(connection: sqlite3.Connection, own_id: Any) -> bool:
            connection.execute("BEGIN IMMEDIATE")
            count = connection.execute(sql, (after, own_id, before)).rowcount
            if count > 1:
                connection.execute("ROLLBACK")
                raise HostError(f"{count} rows of the table have the external id {external_id!r}. Nothing was changed.")
            connection.execute("COMMIT")
            return count == 1

        if await self._run(lambda connection: write(connection, external_id), "rw"):
            return True
        other = await _other_spelling(self, external_id)
        return other is not None and bool(await self._run(lambda connection: write(connection, other), "rw"))

    def _filled(self, connection: sqlite3.Connection) -> int:
        column = quoted(self._columns["paymentProviders"])
        text = f"CAST({column} AS TEXT)"
        for code in (32, 9, 10, 13):
            text = f"replace({text}, char({code}), '')"
        sql = f"SELECT count(*) FROM {self._from} WHERE {column} IS NOT NULL AND {text} NOT IN ({_BLANK})"  # noqa: S608
        return int(connection.execute(sql).fetchone()[0])

    async def filled(self) -> int:
        self._check_writable()
        await self._find_columns()
        return int(await self._run(self._filled))

    async def drop_column(self) -> int:
        self._check_writable()
        await self._find_columns()
        column = quoted(self._columns["paymentProviders"])

        def drop(connection: sqlite3.Connection) -> int:
            connection.execute("BEGIN IMMEDIATE")  # so that nobody fills the field after it was looked at
            filled = self._filled(connection)
            if not filled:
                connection.execute(f"ALTER TABLE {self._from} DROP COLUMN {column}")
            connection.execute("COMMIT")
            return filled

        filled = int(await self._run(drop, "rw"))
        self._columns = self._columns if filled else {}
        return filled


def _sqlite_sentence(error: Exception) -> Exception:
    text, code = str(error), getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return DatabaseUnavailable("The host's SQLite file is locked by another program. Try again later.")
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return HostError("The file is damaged, or is no SQLite file.")
    if code == sqlite3.SQLITE_READONLY or "readonly" in text:
        return HostError("The SQLite file cannot be written.")
    if isinstance(error, sqlite3.DataError) or "too big" in text:
        return HostError(f"A field has more than {LONGEST_FIELD} bytes.")
    # These name tables, columns and syntax, but no data.
    return HostError(f"The host's SQLite file rejects the request: {without_secrets(text)}.")


async def _other_spelling(source: _SqlSource, external_id: str) -> Any:
    """The identifier as the host spells it, if that differs from its stored form (Unicode NFC)."""
    return next(
        (one for one in await source.ids() if external_id_of(one) == external_id and str(one) != external_id), None
    )


class PostgresSource(_SqlSource):
    """A table, view or query of a PostgreSQL database. The address is never shown."""

    def __init__(self, address: Secret, table: Table) -> None:
        super().__init__(table)
        self._address = address
        self._id_type = "text"
        self._field_type = "text"
        self._is_padded = False

    @asynccontextmanager
    async def _connected(self, is_read_only: bool = True) -> AsyncIterator[Any]:
        connection = await connect(self._address.reveal())
        try:
            async with connection.transaction(readonly=is_read_only):
                yield connection
        except FAILS as error:
            raise _postgres_sentence(error) from None
        finally:
            try:
                await connection.close(timeout=5.0)
            except FAILS:
                connection.terminate()

    async def _find_columns(self, connection: Any) -> None:
        if self._columns:
            return
        statement = await connection.prepare(f"SELECT * FROM {self._from} LIMIT 0")  # noqa: S608
        columns = chosen([one.name for one in statement.get_attributes()], self._table.columns, self._what)
        if self._table.query is None:
            types = await connection.fetch(
                # -1: without it, a column char(n) is `character`, which is one character.
                "SELECT attname, format_type(atttypid, -1) AS type FROM pg_attribute"
                " WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped",
                self._from,
            )
            by_name = {row["attname"]: row["type"] for row in types}
            self._id_type = by_name.get(columns["externalId"], "text")
            self._field_type = by_name.get(columns["paymentProviders"], "text")
        self._is_padded = any(
            (one.name, one.type.name) == (columns["externalId"], "bpchar") for one in statement.get_attributes()
        )
        self._columns = columns  # last: a concurrent call then has the types, too

    async def ids(self) -> list[Any]:
        async with self._connected() as connection:
            await self._find_columns(connection)
            rows = await connection.fetch(f"SELECT {self._id()} FROM {self._from}")  # noqa: S608
            return [self._own(row[0]) for row in rows]

    def _own(self, value: Any) -> Any:
        """An identifier without the spaces with which PostgreSQL fills a char(n)."""
        return value.rstrip(" ") if self._is_padded and isinstance(value, str) else value

    async def rows(self, wanted: Sequence[Any]) -> AsyncIterator[HostRow]:
        for start in range(0, len(wanted), self._page):
            page = list(wanted[start : start + self._page])
            async with self._connected() as connection:
                await self._find_columns(connection)
                column = quoted(self._columns["paymentProviders"])
                fields = {**self._columns}
                del fields["paymentProviders"]
                # A field that is too long for any use is not fetched.
                cut = (
                    f"CASE WHEN octet_length({column}::text) <= {LONGEST_FIELD} THEN {column} END,"
                    f" coalesce(octet_length({column}::text), 0) > {LONGEST_FIELD}"
                )
                names = ", ".join(quoted(one) for one in fields.values())
                sql = f"SELECT {names}, {cut} FROM {self._from} WHERE {self._id()} = ANY($1)"  # noqa: S608
                found = await connection.fetch(sql, page)
            for row in found:
                *others, text, is_long = row
                values = dict(zip(fields, others, strict=True))
                values["paymentProviders"] = "x" * 1_000_001 if is_long else text  # is reported as too large
                values["externalId"] = self._own(values["externalId"])
                yield HostRow(f"{self._columns['externalId']} {values['externalId']!s}", values)

    async def write_field(self, external_id: str, before: Any, after: Any) -> bool:
        self._check_writable()
        async with self._connected(is_read_only=False) as connection:
            await self._find_columns(connection)
            if await self._written(connection, external_id, before, after):
                return True
        other = await _other_spelling(self, external_id)
        if other is None:
            return False
        async with self._connected(is_read_only=False) as connection:
            return await self._written(connection, str(other), before, after)

    async def _written(self, connection: Any, external_id: str, before: Any, after: Any) -> bool:
        column, kind = quoted(self._columns["paymentProviders"]), self._field_type
        is_bytes = kind == "bytea"
        old = f"{column} IS NOT DISTINCT FROM $3" if is_bytes else f"{column}::text IS NOT DISTINCT FROM $3::text"
        new = "$1::bytea" if is_bytes else f"CAST($1::text AS {kind})"
        sql = (
            f"UPDATE {self._from} SET {column} = {new}"  # noqa: S608
            f" WHERE {self._id()} = CAST($2::text AS {self._id_type})"
            # The type may take other ids for the same: citext, or a collation that ignores case.
            f' AND {self._id()}::text COLLATE "C" = $2::text AND {old} RETURNING 1'
        )
        try:  # alone, because the column may reject the new value, too, and that is another matter
            async with connection.transaction():
                await connection.execute(f"SELECT CAST($1::text AS {self._id_type})", external_id)
        except asyncpg.DataError:  # the external id is no number, so that no row can have it
            return False
        rows = await connection.fetch(sql, _plain(after, is_bytes), external_id, _plain(before, is_bytes))
        if len(rows) > 1:
            detail = f"{len(rows)} rows of the table have the external id {external_id!r}."
            raise HostError(f"{detail} Nothing was changed.")
        return len(rows) == 1

    async def _filled(self, connection: Any) -> int:
        column = quoted(self._columns["paymentProviders"])
        text = f"encode({column}, 'escape')" if self._field_type == "bytea" else f"{column}::text"
        text = f"regexp_replace({text}, '\\s', '', 'g')"
        sql = f"SELECT count(*) FROM {self._from} WHERE {column} IS NOT NULL AND {text} NOT IN ({_BLANK})"  # noqa: S608
        return int(await connection.fetchval(sql))

    async def filled(self) -> int:
        self._check_writable()
        async with self._connected() as connection:
            await self._find_columns(connection)
            return await self._filled(connection)

    async def drop_column(self) -> int:
        self._check_writable()
        async with self._connected(is_read_only=False) as connection:
            await self._find_columns(connection)
            column = quoted(self._columns["paymentProviders"])
            # Not behind a long transaction of the host: that would hold up all its queries of the table.
            await connection.execute("SET LOCAL lock_timeout = '5s'")
            # Nobody fills the field after it was looked at; others may still read the table meanwhile.
            await connection.execute(f"LOCK TABLE {self._from} IN SHARE ROW EXCLUSIVE MODE")
            filled = await self._filled(connection)
            if not filled:
                await connection.execute(f"ALTER TABLE {self._from} DROP COLUMN {column}")
        self._columns = self._columns if filled else {}
        return filled


def _plain(value: Any, is_bytes: bool) -> Any:
    if is_bytes:
        return value.encode("utf-8") if isinstance(value, str) else value
    return bytes(value).decode("utf-8") if isinstance(value, bytes | bytearray | memoryview) else value


def _postgres_sentence(error: BaseException) -> BaseException:
    if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
        return HostError("The query may only read.")
    if isinstance(error, asyncpg.SyntaxOrAccessError) and not isinstance(error, asyncpg.InsufficientPrivilegeError):
        # These name tables, columns and syntax, but no data.
        return HostError(f"The host's database rejects the request: {without_secrets(error.message or '')}.")
    if isinstance(error, asyncpg.PostgresSyntaxError | asyncpg.DataError):
        return HostError(f"The host's database rejects the request ({type(error).__name__}).")
    other = translated(error)
    if other is error:
        return HostError(f"The host's database rejects the request ({type(error).__name__}).")
    return other


def database_source(address: Secret, table: Table) -> HostSource:
    """The source at a database address: ``postgresql://…`` or ``sqlite:///…``."""
    url = address.reveal()
    if (wrong := wrong_with_owner(url)) is not None:
        raise HostError(wrong)
    if is_postgres(url):
        return PostgresSource(address, table)
    return SqliteSource(Path(url.removeprefix("sqlite:///")), table)
