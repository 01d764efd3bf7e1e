"""Units of work: all or nothing, and the same on both engines."""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from polytill.domain.errors import CheckRefused, Duplicate, Stale
from polytill.storage.databases import Database
from polytill.storage.sqlite import SqliteEngine, thread_hop
from polytill.storage.units import (
    MOST_ARGUMENTS,
    MOST_STEPS,
    Unit,
    UnitTooLargeError,
    as_one_statement,
    json_text,
    json_value,
    moment,
    moment_text,
    work_is_open,
)
from tests.storage.making import Fails, empty, plain, run

TABLES = (
    "CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, amount BIGINT NOT NULL CHECK (amount >= 0))",
    "CREATE TABLE lines (id INTEGER PRIMARY KEY, thing_id INTEGER NOT NULL REFERENCES things (id), words TEXT)",
)
INSERT = "INSERT INTO things (id, name, amount) VALUES ($1, $2, $3)"
TAKE = "UPDATE things SET amount = amount - $2 WHERE id = $1 AND amount = $3"


@pytest.fixture
async def db(engine_url: str | None, tmp_path: Path) -> AsyncIterator[Database]:
    async with empty(engine_url, tmp_path) as database:
        await run(database, *TABLES)
        yield database


def unit(*steps: tuple[Any, ...], expect: int | None = None) -> Unit:
    made = Unit()
    for sql, *args in steps:
        made.add(sql, *args, expect=expect)
    return made


async def things(db: Database) -> list[tuple[Any, ...]]:
    return await plain(db, "SELECT id, name, amount FROM things ORDER BY id")


async def test_counts_of_every_step(db: Database) -> None:
    insert = unit(
        (INSERT, 1, "a", 10), (INSERT, 2, "b", 20), ("INSERT INTO lines (id, thing_id) VALUES ($1, $2)", 1, 2)
    )
    assert await db.commit(insert) == [1, 1, 1]
    assert await db.commit(unit(("UPDATE things SET amount = 0",), ("DELETE FROM lines WHERE id = $1", 9))) == [2, 0]
    assert await db.commit(Unit()) == []
    assert await things(db) == [(1, "a", 0), (2, "b", 0)]


async def test_a_unit_of_the_most_steps_runs_and_one_more_is_refused_on_every_engine(db: Database) -> None:
    made = unit(*((INSERT, number, str(number), 0) for number in range(MOST_STEPS)))
    with pytest.raises(UnitTooLargeError):
        made.add(INSERT, -1, "one more", 0)
    assert sum(await db.commit(made)) == MOST_STEPS
    made.add(INSERT, -1, "in the next one", 0)  # it is empty again
    assert await db.commit(made) == [1]
    made.add(INSERT, *[0] * MOST_ARGUMENTS)
    with pytest.raises(UnitTooLargeError):
        made.add(INSERT, -2, "one argument too many", 0)
    made.take()


async def test_stale_leaves_nothing(db: Database) -> None:
    await db.commit(unit((INSERT, 1, "a", 10)))
    with pytest.raises(Stale):
        await db.commit(unit((INSERT, 2, "b", 20), (TAKE, 1, 5, 9999), expect=1))
    assert await things(db) == [(1, "a", 10)]
    assert not work_is_open()


@pytest.mark.parametrize("expect", [0, 1, 2, 3])
async def test_an_expectation_is_exact(db: Database, expect: int) -> None:
    await db.commit(unit((INSERT, 1, "a", 10), (INSERT, 2, "b", 20)))
    both = unit(("UPDATE things SET amount = amount + $1", 1), expect=expect)
    if expect == 2:
        assert await db.commit(both) == [2]
    else:
        with pytest.raises(Stale):
            await db.commit(both)
    assert [row[2] for row in await things(db)] == ([11, 21] if expect == 2 else [10, 20])


async def test_duplicate_leaves_nothing_and_says_which(db: Database) -> None:
    await db.commit(unit((INSERT, 1, "a", 10)))
    with pytest.raises(Duplicate) as caught:
        await db.commit(unit((INSERT, 2, "b", 20), (INSERT, 3, "a", 30)))
    assert "name" in caught.value.constraint
    assert await things(db) == [(1, "a", 10)]


async def test_a_condition_that_does_not_hold_refuses_all(db: Database) -> None:
    await db.commit(unit((INSERT, 1, "a", 10)))
    condition = "SELECT 1 WHERE (SELECT SUM(amount) FROM things) = $1"
    for total, holds in ((10, True), (11, False)):
        made = Unit()
        made.add(condition, total, expect=1)
        made.add(INSERT, total, f"thing {total}", 0)
        if holds:
            assert await db.commit(made) == [1, 1]
        else:
            with pytest.raises(Stale):
                await db.commit(made)
    assert await things(db) == [(1, "a", 10), (10, "thing 10", 0)]


async def test_a_check_refuses_all(db: Database) -> None:
    await db.commit(unit((INSERT, 1, "a", 10)))
    with pytest.raises(CheckRefused):
        await db.commit(unit((INSERT, 2, "b", 20), ("UPDATE things SET amount = amount - 11 WHERE id = $1", 1)))
    assert await things(db) == [(1, "a", 10)]


async def test_a_foreign_key_refuses_all(db: Database) -> None:
    with pytest.raises(Exception, match=r"(?i)foreign key"):
        await db.commit(unit((INSERT, 2, "b", 20), ("INSERT INTO lines (id, thing_id) VALUES ($1, $2)", 1, 99)))
    assert await things(db) == []


async def test_of_two_takers_one_wins(db: Database) -> None:
    await db.commit(unit((INSERT, 1, "a", 10)))
    done = await asyncio.gather(
        *(db.commit(unit((TAKE, 1, 10, 10), expect=1)) for _ in range(8)), return_exceptions=True
    )
    assert sorted(type(one).__name__ for one in done) == ["Stale"] * 7 + ["list"]
    assert await things(db) == [(1, "a", 0)]


async def test_an_interactive_transaction_is_all_or_nothing(db: Database) -> None:
    async def fails() -> None:
        async with db.transaction() as tx:
            tx.add(INSERT, 1, "a", 10)
            assert await tx.one("SELECT amount FROM things WHERE id = $1", 1) is not None
            assert work_is_open()
            raise Fails

    async def is_stale() -> None:
        async with db.transaction() as tx:
            tx.add(INSERT, 1, "a", 10)
            tx.add(TAKE, 1, 1, 9999, expect=1)

    with pytest.raises(Fails):
        await fails()
    assert await things(db) == []
    assert not work_is_open()
    with pytest.raises(Stale):
        await is_stale()
    assert await things(db) == []
    async with db.transaction() as tx:
        tx.add(INSERT, 1, "a", 10)
    assert await things(db) == [(1, "a", 10)]
    assert not work_is_open()


async def test_the_same_units_leave_equal_rows_on_both_engines(postgres_url: str, tmp_path: Path) -> None:
    when = datetime(2026, 3, 1, 12, 30, 15, 123456, UTC)
    seen = []
    for url in (None, postgres_url):
        async with empty(url, tmp_path) as db:
            await run(db, *TABLES, "CREATE TABLE kept (id INTEGER PRIMARY KEY, at TIMESTAMP WITH TIME ZONE, body TEXT)")
            results: list[Any] = []
            for made in (
                unit((INSERT, 1, "a", 10), (INSERT, 2, "ünï ✓ '\"$1", 2**53 + 1), expect=1),
                unit((TAKE, 1, 4, 10), (TAKE, 2, 1, 2**53 + 1), expect=1),
                unit((INSERT, 3, "c", 1), (TAKE, 1, 1, 99), expect=1),
                unit((INSERT, 4, "a", 1)),
                unit(
                    (
                        "INSERT INTO things (id, name, amount) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING",
                        5,
                        "a",
                        1,
                    )
                ),
                unit(("INSERT INTO kept (id, at, body) VALUES ($1, $2, $3)", 1, when, json_text({"a": [1, None]}))),
                unit(("DELETE FROM things WHERE amount >= $1", 2**53)),
            ):
                try:
                    results.append(await db.commit(made))
                except (Stale, Duplicate) as error:
                    results.append(type(error).__name__)
            [kept] = await db.fetch("SELECT at, body FROM kept")
            seen.append((results, await things(db), moment(kept["at"]), json_value(kept["body"])))
    assert seen[0] == seen[1]
    assert seen[0][0] == [[1, 1], [1, 1], "Stale", "Duplicate", [0], [1], [1]]
    assert seen[0][2:] == (when, {"a": [1, None]})


def test_parameters_are_numbered_anew() -> None:
    text = as_one_statement(
        (("UPDATE a SET x = $2, y = $10 WHERE id = $1", 10, 1), ("DELETE FROM b WHERE id = $1 OR z = $1", 1, None))
    )
    assert "x = $2, y = $10 WHERE id = $1 RETURNING 1" in text
    assert "DELETE FROM b WHERE id = $11 OR z = $11 RETURNING 1" in text


def test_moments_sort_as_text() -> None:
    early, late = datetime(2026, 1, 2, 3, 4, 5, 60, UTC), datetime(2026, 1, 2, 3, 4, 5, 600000, UTC)
    assert moment_text(early) < moment_text(late)
    assert moment(moment_text(early)) == early
    assert moment("2026-01-02 03:04:05") == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)  # CURRENT_TIMESTAMP
    assert moment(None) is None


# ── Canceled callers ──


async def test_a_cancelled_caller_leaves_no_transaction_open(db: Database) -> None:
    for pause in range(6):
        started = asyncio.Event()

        async def work(pause: int = pause, started: asyncio.Event = started) -> None:
            async with db.transaction() as tx:
                started.set()
                for number in range(3):
                    await tx.fetch("SELECT 1")
                    await tx.fetch(INSERT, 100 * pause + number, secrets.token_hex(4), 1)
                await asyncio.Event().wait()

        task = asyncio.create_task(work())
        await started.wait()
        for _ in range(pause):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await db.commit(unit((INSERT, 1, "a", 10)))
    assert await things(db) == [(1, "a", 10)]


async def test_cancelled_while_beginning(tmp_path: Path) -> None:
    # The thread holds BEGIN back until the caller has ended.
    loop = asyncio.get_running_loop()
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow_hop(work: Any) -> Any:
        if getattr(work, "__name__", "") == "_begin_now":
            loop.call_soon(begun.set)
            await go_on.wait()
        return await thread_hop(work)

    async with empty(None, tmp_path) as made:
        await run(made, *TABLES)
        engine = SqliteEngine(made.engine.path, slow_hop)  # type: ignore[attr-defined]
        db = Database(engine)

        async def work() -> None:
            async with db.transaction() as tx:
                tx.add(INSERT, 1, "a", 10)

        task = asyncio.create_task(work())
        await begun.wait()
        task.cancel()
        await asyncio.sleep(0)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await things(made) == []
        await made.commit(unit((INSERT, 2, "b", 20)))  # an open transaction would lock it
        await db.commit(unit((INSERT, 3, "c", 30)))
        assert [row[0] for row in await things(db)] == [2, 3]
        await engine.close()


async def test_cancelled_commits_are_whole(db: Database) -> None:
    for number in range(20):
        task = asyncio.create_task(
            db.commit(unit((INSERT, 2 * number, f"a{number}", 1), (INSERT, 2 * number + 1, f"b{number}", 1)))
        )
        for _ in range(number % 5):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await db.commit(unit((INSERT, 1000, "last", 1)))
    ids = {row[0] for row in await things(db)}
    assert all((2 * number in ids) == (2 * number + 1 in ids) for number in range(20))
    assert 1000 in ids


async def test_a_file_that_is_missing_is_not_made(tmp_path: Path) -> None:
    engine = SqliteEngine(tmp_path / "nothing.db")
    with pytest.raises(Exception, match="does not exist"):
        await engine.fetch("SELECT 1")
    assert not (tmp_path / "nothing.db").exists()


async def test_sqlite_is_set_up_to_lose_nothing(tmp_path: Path) -> None:
    async with empty(None, tmp_path) as db:
        for pragma, value in (("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1)):
            assert await plain(db, f"PRAGMA {pragma}") == [(value,)]
        assert sqlite3.threadsafety == 3
