"""The host application's table: read from SQLite and PostgreSQL, and one practice's field changed in it."""

from __future__ import annotations

import asyncio
import sqlite3
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
import pytest_asyncio

from polytill.domain.errors import DatabaseUnavailable, PolytillError
from polytill.domain.secret import Secret
from polytill.storage import host_columns, host_field
from polytill.storage.clusters import create_postgres_database, drop_postgres_database
from polytill.storage.host_columns import HostError
from polytill.storage.host_field import HostRow, HostSource, Table, database_source
from polytill.storage.postgres_connect import with_database

pytestmark = pytest.mark.asyncio(loop_scope="module")
COLUMNS = {"paymentProviders": "payment Providers"}
ODD = 'practices"; DROP TABLE "x'  # a table's name


class Host:
    """A host's database on either engine."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.is_sqlite = url.startswith("sqlite")

    def source(self, table: Table) -> HostSource:
        return database_source(Secret(self.url), table)

    async def run(self, sql: str, *args: Any) -> list[Any]:
        """Run a statement as the host."""
        if self.is_sqlite:
            with closing(sqlite3.connect(self.url.removeprefix("sqlite:///"), isolation_level=None)) as connection:
                return connection.execute(sql, dict(zip("123456789", args, strict=False))).fetchall()
        connection = await asyncpg.connect(self.url)
        try:
            return list(await connection.fetch(sql, *args))
        finally:
            await connection.close()

    async def fill(
        self, name: str, rows: Sequence[tuple[Any, Any]], id_type: str = "integer", kind: str = "text"
    ) -> Table:
        """A table of practices."""
        quoted = host_columns.quoted(name)
        await self.run(f"DROP TABLE IF EXISTS {quoted}")
        await self.run(f'CREATE TABLE {quoted} (id {id_type}, name text, currency text, "payment Providers" {kind})')
        for own, text in rows:
            await self.run(f"INSERT INTO {quoted} VALUES ($1, 'Clinic', 'NGN', $2)", own, text)
        return Table(name, columns=COLUMNS)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def host(file_engine_url: str | None, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Host]:
    """One database for all tests of this module."""
    if file_engine_url is None:
        path = tmp_path_factory.mktemp("host") / "host ü#?.sqlite"
        sqlite3.connect(path).close()
        yield Host(f"sqlite:///{path}")
        return
    server, name = file_engine_url, f"host_{uuid.uuid4().hex[:8]}"
    await create_postgres_database(server, name)
    try:
        yield Host(with_database(server, name))
    finally:
        await drop_postgres_database(server, name)


async def everything(source: HostSource) -> list[HostRow]:
    return [row async for row in source.rows(list(dict.fromkeys(await source.ids())))]


async def test_tables_views_and_queries_are_read_in_pages(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_field, "PAGE", 3)
    monkeypatch.setattr(host_field, "QUERY_PAGE", 2)
    rows = [(number, f'{{"n": {number}}}') for number in range(10)]
    table = await host.fill(ODD, rows)
    quoted = host_columns.quoted(ODD)
    await host.run(f"CREATE VIEW seen AS SELECT * FROM {quoted} WHERE id > 3")
    query = f"SELECT *, id AS tenant_no FROM {quoted} WHERE id < 5 -- the small ones;\n;"
    for one, expected in (
        (table, 10),
        (Table("seen", columns=COLUMNS), 6),
        (Table(query=query, columns={**COLUMNS, "externalId": "tenant_no"}), 5),
    ):
        found = await everything(host.source(one))
        assert len({row.external_id for row in found}) == len(found) == expected
        assert all(row.values["paymentProviders"] == f'{{"n": {row.external_id}}}' for row in found)
        assert {(row.values["name"], row.values["defaultCurrency"]) for row in found} == {("Clinic", "NGN")}
    assert len(await host.run(f"SELECT * FROM {quoted}")) == 10


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (Table("nobody"), "nobody"),
        (Table("host_rows", columns={"externalId": "nope"}), "no column 'nope'"),
        (Table(query="SELECT id FROM host_rows"), "no column for paymentProviders"),
        (Table("host_rows; SELECT 1"), "host_rows; SELECT 1"),
        (Table("a\x00b"), "NUL"),
        (Table(query=" ; "), "empty"),
        (Table(query="SELECT 1) AS a; DROP TABLE host_rows; SELECT (1"), ""),
        (Table(query="DELETE FROM host_rows"), ""),
        (Table(query="DELETE FROM host_rows RETURNING *"), ""),
        (Table(query="SELEC id"), ""),
    ],
)
async def test_what_cannot_be_read_is_one_sentence_and_changes_nothing(host: Host, table: Table, words: str) -> None:
    await host.fill("host_rows", [(1, "{}")])
    with pytest.raises(HostError) as found:
        await host.source(table).ids()
    assert words in found.value.detail
    assert "Traceback" not in found.value.detail
    assert len(await host.run("SELECT * FROM host_rows")) == 1


async def test_a_query_can_only_read(host: Host, tmp_path: Path) -> None:
    await host.fill("host_rows", [(1, "{}")])
    if host.is_sqlite:
        queries = ["SELECT 1 AS id, load_extension('x') AS providers", "PRAGMA journal_mode=DELETE"]
    else:
        await host.run(
            "CREATE OR REPLACE FUNCTION wipe() RETURNS text LANGUAGE sql AS 'DELETE FROM host_rows RETURNING ''gone'''"
        )
        queries = ["SELECT 1 AS id, wipe() AS providers"]
    for query in queries:
        with pytest.raises(HostError):
            await everything(host.source(Table(query=query)))
    assert len(await host.run("SELECT * FROM host_rows")) == 1


async def test_identifiers_of_every_kind(host: Host) -> None:
    texts = [
        ("101", "{}"),
        ("caf\u0065\u0301", "{}"),
        ("101", "[]"),
        (None, "{}"),
        ("", "{}"),
        (" x", "{}"),
        ("\u200b", "{}"),
    ]
    table = await host.fill("texts", texts, "text")
    found = await everything(host.source(table))
    assert sorted(str(row.external_id) for row in found) == ["101", "101", "None", "None", "None", "caf\u00e9"]
    assert (await host.source(table).ids()).count(None) == 1
    own = uuid.uuid4()
    for id_type, value in (
        (("uuid", own), ("bigint", 2**40), ("numeric(12)", 7)) if not host.is_sqlite else (("blob", b"x"),)
    ):
        [row] = await everything(host.source(await host.fill("kinds", [(value, "{}")], id_type)))
        assert row.external_id == (None if host.is_sqlite else str(value))


async def test_columns_of_every_kind(host: Host) -> None:
    kinds = [("text", '{"a": 1}'), ("varchar(40)", '{"a": 1}')]
    kinds += (
        [("blob", b'{"a": 1}')]
        if host.is_sqlite
        else [("bytea", b'{"a": 1}'), ("jsonb", '{"a": 1}'), ("json", '{"a":  1}')]
    )
    for kind, value in kinds:
        table = await host.fill("kinds", [(1, value), (2, None)], kind=kind)
        source = host.source(table)
        found = {row.external_id: row.values["paymentProviders"] for row in await everything(source)}
        assert found == {"1": value, "2": None}
        after = b"[2]" if isinstance(value, bytes) else "[2]"
        assert not await source.write_field("1", None, after)
        assert await source.write_field("1", found["1"], after)
        assert not await source.write_field("1", found["1"], "{}")  # it has changed since
        assert await source.write_field("2", None, after)
        assert await source.write_field("2", after, None)
        found = {row.external_id: row.values["paymentProviders"] for row in await everything(source)}
        assert found == {"1": after, "2": None}


async def test_only_one_practice_is_written(host: Host) -> None:
    table = await host.fill(
        "texts", [("a", "1"), ("b", "1"), ("caf\u0065\u0301", "1"), ("twice", "1"), ("twice", "1")], "text"
    )
    source = host.source(table)
    assert not await source.write_field("nobody", "1", "2")
    assert not await source.write_field("a' OR '1'='1", "1", "2")
    assert await source.write_field("caf\u00e9", "1", "2")  # the host's spelling is another one
    with pytest.raises(HostError, match="2 rows"):
        await source.write_field("twice", "1", "2")
    assert sorted(tuple(one) for one in await host.run('SELECT id, "payment Providers" FROM texts')) == sorted(
        [("a", "1"), ("b", "1"), ("caf\u0065\u0301", "2"), ("twice", "1"), ("twice", "1")]
    )
    numbers = host.source(await host.fill("numbers", [(7, "1"), (8, "1")]))
    assert not await numbers.write_field("x", "1", "2")
    assert not await numbers.write_field("9" * 40, "1", "2")
    assert await numbers.write_field("7", "1", "2")
    with pytest.raises(HostError, match="query"):
        await host.source(Table(query="SELECT id, 1 AS providers FROM numbers")).write_field("7", "2", "3")


async def test_identifiers_of_a_fixed_length(host: Host) -> None:
    """PostgreSQL pads them with spaces, which belong to the column and not to the identifier."""
    own = "0b0e7c3e-0000-4000-8000-000000000001"
    table = await host.fill("fixed", [(own, "1"), ("short", "1")], "char(36)")
    source = host.source(table)
    assert {row.external_id for row in await everything(source)} == {own, "short"}
    assert await source.write_field(own, "1", "2")
    assert await source.write_field("short", "1", "2")
    assert not await source.write_field("0", "1", "2")
    query = host.source(Table(query="SELECT * FROM fixed", columns=COLUMNS))
    assert {row.external_id for row in await everything(query)} == {own, "short"}


async def test_a_value_that_the_column_rejects_is_no_changed_field(host: Host) -> None:
    """False means that somebody else changed the field, and that reading it again helps."""
    kind, value = (
        ("text CHECK (\"payment Providers\" <> '{}')", "{}") if host.is_sqlite else ("jsonb", '{"a":"\\u0000"}')
    )
    source = host.source(await host.fill("strict", [(7, '{"a": 1}')], kind=kind))
    with pytest.raises(HostError):
        await source.write_field("7", '{"a": 1}', value)
    assert not await source.write_field("x", '{"a": 1}', '{"a": 2}')  # no row has an id that is no number
    assert await source.write_field("7", '{"a": 1}', '{"a": 2}')


async def test_of_two_writers_one_wins(host: Host) -> None:
    source = host.source(await host.fill("numbers", [(1, "old")]))
    done = await asyncio.gather(*(source.write_field("1", "old", f"new {n}") for n in range(6)), return_exceptions=True)
    assert [one for one in done if one is True] == [True]
    assert all(one is True or one is False or isinstance(one, DatabaseUnavailable) for one in done)


async def test_a_field_that_is_too_long_is_only_its_rows_problem(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_field, "LONGEST_FIELD", 5000)
    found = await everything(host.source(await host.fill("long", [(1, "{}"), (2, "x" * 6000), (3, "[]")])))
    assert {row.external_id: len(row.values["paymentProviders"]) for row in found} == {"1": 2, "2": 1_000_001, "3": 2}
    assert "xxx" not in repr(found)


@pytest.mark.postgres
async def test_addresses_that_do_not_work_are_never_shown(postgres_url: str) -> None:
    port = urlsplit(postgres_url).port
    for url in (
        f"postgresql://postgres:hunter2@127.0.0.1:{port}/nobody",
        f"postgresql://nobody:hunter2@127.0.0.1:{port}/postgres",
        "postgresql://postgres:hunter2@127.0.0.1:1/postgres",
        f"postgresql://postgres:hunter2@127.0.0.1:{port}",
        "mysql://root:hunter2@127.0.0.1/x",
        "sqlite:////nowhere/hunter2.db",
    ):
        with pytest.raises(PolytillError) as found:
            await database_source(Secret(url), Table()).ids()
        assert "hunter2" not in str(found.value)
        assert "hunter2" not in repr(database_source) + repr(found.value.__cause__ or "")


async def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_bytes(b"SQLite format 3\x00" + b"x" * 4096)
    with pytest.raises(HostError):
        await database_source(Secret(f"sqlite:///{tmp_path}/a.db"), Table()).ids()
