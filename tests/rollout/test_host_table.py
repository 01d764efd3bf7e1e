"""A whole rollout over a real table of the host, on either engine, and by the command line's flows."""

from __future__ import annotations

import json
import secrets
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from polytill.app import Polytill
from polytill.domain.errors import OperatorError
from polytill.domain.rollout import FieldState, RolloutPhase
from polytill.domain.secret import Secret
from polytill.flows.admin import provider_configs as configuring
from polytill.flows.admin.practices import NewPractice, create_practice
from polytill.flows.admin.provider_configs import Wish
from polytill.flows.rollout import column, keeping, moves, sync
from polytill.flows.rollout import host as host_module
from polytill.flows.rollout.host import FieldRow, HostField, HostTable
from polytill.flows.rollout.moves import StepRefused
from polytill.storage import practice_rollouts
from polytill.storage.clusters import create_postgres_database, drop_postgres_database
from polytill.storage.host_field import SqliteSource, Table, database_source
from tests.rollout.scene import PAYSTACK, STRIPE, One, a_field, a_practice
from tests.rollout.scene import Table as Memory
from tests.web.support import Clock

pytestmark = pytest.mark.asyncio(loop_scope="module")
NUMBERS = range(101, 107)


def old_field(number: int) -> Any:
    """Fields in several shapes."""
    stripe = {
        "publishable_key": STRIPE["publicKey"],
        "secret_key": STRIPE["secretKey"],
        "webhook_secret": "whsec_clinic0000",
    }
    paystack = {**PAYSTACK, "isEnabled": "true", "currencies": "NGN"}
    shapes: list[Any] = [
        {"paystack": paystack, "stripe": {**stripe, "enabled": True, "currencies": ["USD"]}},
        [{"provider": "Paystack", **paystack}, {"provider": "stripe", **stripe, "active": False}],
        json.dumps(
            {"paystack": {"mode": "test", "test": dict(PAYSTACK), "enabled": True, "supportedCurrencies": ["NGN"]}}
        ),
    ]
    return shapes[number % len(shapes)]


class Rows:
    """The host's table ``clinics``, as the old code sees it."""

    def __init__(self, address: str) -> None:
        self.address = address

    async def run(self, sql: str, *args: Any) -> list[Any]:
        if self.address.startswith("sqlite"):
            with closing(sqlite3.connect(self.address.removeprefix("sqlite:///"), isolation_level=None)) as connection:
                return connection.execute(sql, args).fetchall()
        connection = await asyncpg.connect(self.address)
        try:
            return [tuple(row) for row in await connection.fetch(sql, *args)]
        finally:
            await connection.close()

    async def field(self, number: int) -> Any:
        [[text]] = await self.run('SELECT "paymentProviders" FROM clinics WHERE id = $1', number)
        return None if text is None else json.loads(text)


@pytest.fixture
def postgres(shared: Polytill, request: pytest.FixtureRequest) -> str | None:
    """The server of the host's database, which is on the same engine as the installation; None: SQLite."""
    is_postgres = shared.context.owner.engine.dialect == "postgresql"
    return str(request.getfixturevalue("postgres_url")) if is_postgres else None


@asynccontextmanager
async def a_database(postgres: str | None, folder: Path) -> AsyncIterator[Rows]:
    """An empty database of the host."""
    name = f"host_{secrets.token_hex(6)}"
    if postgres is not None:
        await create_postgres_database(postgres, name)
    try:
        yield Rows(f"sqlite:///{folder}/{name}.db" if postgres is None else f"{postgres}/{name}")
    finally:
        if postgres is not None:
            await drop_postgres_database(postgres, name)


def use(shared: Polytill, rows: Rows) -> HostTable:
    """Let the installation use the table ``clinics``."""
    table = Table("clinics")
    host = HostTable(shared.context, database_source(Secret(rows.address), table), table)
    shared.context.host_field = HostField(host)
    return host


@asynccontextmanager
async def a_host(postgres: str | None, folder: Path) -> AsyncIterator[Rows]:
    async with a_database(postgres, folder) as rows:
        kind = "TEXT" if postgres is None else "jsonb"
        await rows.run(f'CREATE TABLE clinics (id INTEGER PRIMARY KEY, "paymentProviders" {kind})')
        for number in NUMBERS:
            await rows.run("INSERT INTO clinics VALUES ($1, $2)", number, json.dumps(old_field(number)))
        yield rows


async def test_a_rollout_over_a_table(
    shared: Polytill, tmp_path: Path, postgres: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync, "FEW", 3)  # beyond it, rows are read in pages
    context = shared.context
    async with a_host(postgres, tmp_path) as rows:
        use(shared, rows)
        made = {}
        for number in NUMBERS[:5]:
            one = await a_practice(shared, Memory())
            await context.owner.fetch("UPDATE practices SET external_id = $1 WHERE id = $2", str(number), one.id)
            made[number] = One(shared, Memory(), one.id, str(number))
        ids = [one.id for one in made.values()]

        async def all_to(phase: RolloutPhase) -> None:
            chosen = [one for one in await practice_rollouts.everyone(context.owner) if one.practice_id in ids]
            moved = [one async for one in moves.move_all(context, chosen, phase, "test")]
            assert [one.refused for one in moved if one.refused] == []

        async def synced() -> set[FieldState]:
            everyone = [
                one for one in await practice_rollouts.listed(context.owner, limit=999) if one.practice_id in ids
            ]
            found = [one async for one in sync.sync_all(context, everyone, "test")]
            assert [one.error for one in found if one.error] == []
            return {one.result.state for one in found if one.result is not None}

        await all_to(RolloutPhase.legacy)
        assert await synced() == {FieldState.in_sync}
        before = {number: await one.codes() for number, one in made.items()}
        assert {len(codes) for codes in before.values()} == {1, 2}
        await all_to(RolloutPhase.shadow)
        await all_to(RolloutPhase.live)

        changed = NUMBERS[:3]  # one of each shape
        for number in changed:
            wish = Wish("paystack", is_enabled=False)
            await configuring.configure(context, made[number].id, wish, "test", patch=True)
        original = {number: await rows.field(number) for number in NUMBERS}
        assert await keeping.turn(context) == len(changed)
        for number in NUMBERS:
            assert (await rows.field(number) != original[number]) is (number in changed)
        assert await synced() == {FieldState.in_sync}

        await all_to(RolloutPhase.shadow)  # the way back: the old code sees what was changed here
        assert await synced() == {FieldState.in_sync}
        for number, one in made.items():
            codes = await one.codes()
            assert codes["paystack"][0] is (number not in changed)
            assert codes.keys() == before[number].keys()

        await all_to(RolloutPhase.live)
        await all_to(RolloutPhase.closed)
        assert [await rows.field(number) for number in made] == [None] * len(made)
        assert await rows.field(NUMBERS[-1]) == original[NUMBERS[-1]]  # not in the rollout
        place = column._table(context)
        assert await place.filled() == await place.drop_column() == 1
        await rows.run('UPDATE clinics SET "paymentProviders" = NULL')
        assert await place.drop_column() == 0
        with pytest.raises(OperatorError):
            await place.read("101")


async def test_a_row_without_an_identifier_keeps_the_column(
    shared: Polytill, tmp_path: Path, postgres: str | None
) -> None:
    """No practice has it, so that nobody has read it, and its keys are nowhere else."""
    async with a_database(postgres, tmp_path) as rows:
        for kind in ("TEXT", "BLOB" if postgres is None else "bytea"):
            await rows.run(f'CREATE TABLE clinics (id TEXT, "paymentProviders" {kind})')
            host = use(shared, rows)
            for number, value in enumerate(("", " { }\n", "[]", "null", '"{}"', None)):
                held = value if kind == "TEXT" or value is None else value.encode()
                await rows.run("INSERT INTO clinics VALUES ($1, $2)", str(number), held)
            held = "{'not': read}" if kind == "TEXT" else b"\xff\x00"
            await rows.run("INSERT INTO clinics VALUES (NULL, $1)", held)
            assert await host.filled() == await host.drop_column() == 1
            await rows.run("DELETE FROM clinics WHERE id IS NULL")
            assert await host.filled() == await host.drop_column() == 0
            await rows.run("DROP TABLE clinics")


async def test_rows_that_cannot_be_told_apart(shared: Polytill, tmp_path: Path, clock: Clock) -> None:
    """Only SQLite has such a table here: the primary key is on another column."""
    rows = Rows(f"sqlite:///{tmp_path}/twice.db")
    await rows.run('CREATE TABLE clinics (id TEXT, "paymentProviders" TEXT)')
    for _ in range(2):
        await rows.run("INSERT INTO clinics VALUES ('a', '{}')")
    table = Table("clinics")
    found = HostTable(shared.context, database_source(Secret(rows.address), table), table)
    assert await found.read("b") is None
    with pytest.raises(Exception, match="Two rows"):
        await found.read("a")
    await rows.run("UPDATE clinics SET id = 'c' WHERE rowid = 1")  # corrected
    clock.advance(host_module.IDS_KEPT_S + 1)
    assert await found.read("a") == FieldRow("a", "{}")


async def test_a_write_of_a_killed_process_is_rolled_back(tmp_path: Path) -> None:
    """The copy of a file and its journal, taken in the middle of a write, is what a killed process leaves behind."""
    with closing(sqlite3.connect(tmp_path / "host.db", isolation_level=None)) as line:
        line.execute('CREATE TABLE clinics (id TEXT, "paymentProviders" TEXT)')
        line.executemany("INSERT INTO clinics VALUES (?, ?)", [(f"c{n}", "x" * 500) for n in range(500)])
        line.execute("PRAGMA cache_size = 5")
        line.execute("BEGIN IMMEDIATE")
        line.execute('UPDATE clinics SET "paymentProviders" = NULL')
        (tmp_path / "left").mkdir()
        for name in ("host.db", "host.db-journal"):
            shutil.copy(tmp_path / name, tmp_path / "left" / name)
    source = SqliteSource(tmp_path / "left" / "host.db", Table("clinics"))
    with pytest.raises(OperatorError):  # an import opens the file for reading only
        await source.ids()
    source.recovers = True
    assert len(await source.ids()) == 500
    [row] = [row async for row in source.rows(["c7"])]
    assert row.values["paymentProviders"] == "x" * 500


async def test_a_practice_without_an_external_id_follows_no_row(
    shared: Polytill, tmp_path: Path, postgres: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync, "FEW", 0)
    context = shared.context
    nameless, _ = await create_practice(context, NewPractice("No id", "NGN"), "test")
    async with a_database(postgres, tmp_path) as rows:
        await rows.run('CREATE TABLE clinics (id TEXT, "paymentProviders" TEXT)')
        for unusable in ("", None, " "):
            await rows.run("INSERT INTO clinics VALUES ($1, $2)", unusable, json.dumps(a_field()))
        use(shared, rows)
        with pytest.raises(StepRefused):
            await moves.move(context, nameless.id, RolloutPhase.legacy, "test")
        context.host_field = HostField()
        await moves.move(context, nameless.id, RolloutPhase.legacy, "test")  # its fields come over the API
        use(shared, rows)
        everyone = await practice_rollouts.listed(context.owner, limit=999)
        known = next(one for one in everyone if one.practice_id == nameless.id)
        [done] = [one async for one in sync.sync_all(context, [known], "test")]
        assert done.error is not None
        assert not (await context.configured((await context.practice(nameless.id)).db)).live


async def test_a_row_of_another_external_id_is_not_read(shared: Polytill, tmp_path: Path, postgres: str | None) -> None:
    """The host's column takes ids for the same that differ in case."""
    async with a_database(postgres, tmp_path) as rows:
        kind = "TEXT COLLATE NOCASE"
        if postgres is not None:
            await rows.run("CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false)")
            kind = "text COLLATE ci"
        await rows.run(f'CREATE TABLE clinics (id {kind}, "paymentProviders" TEXT)')
        for name, number in (("Ab", "1"), ("aB", "2"), ("c", "3")):
            await rows.run("INSERT INTO clinics VALUES ($1, $2)", name, number)
        host = use(shared, rows)
        pages = {row.external_id: row async for page in host.pages() for row in page}
        for name, number in (("Ab", "1"), ("aB", "2"), ("c", "3")):
            row = await host.read(name)
            assert row is not None
            assert row.value == number == pages[name].value
        assert not await host.write(FieldRow("Ab", "2"), "0")  # what only the other row holds
        assert await host.write(pages["Ab"], "4")
        await rows.run("UPDATE clinics SET id = 'C' WHERE id = 'c'")
        assert await host.read("c") is None
        assert not await host.write(pages["c"], "0")
        assert sorted(await rows.run('SELECT "paymentProviders" FROM clinics')) == [("2",), ("3",), ("4",)]
