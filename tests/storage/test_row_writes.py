"""No step of a unit writes or reads a row that an earlier step writes: what the guard rejects and accepts."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from polytill.domain.errors import CheckRefused, Duplicate, Stale
from polytill.storage.row_writes import StepsOverlapError, shape_of
from polytill.storage.units import Step, Unit
from tests.storage.making import empty, plain, run

AT = datetime(2026, 3, 1, tzinfo=UTC)
INSERT = "INSERT INTO things (id, name, amount) VALUES ($1, $2, $3)"
INSERT_LINE = "INSERT INTO lines (thing_id, words) VALUES ($1, $2)"
PUT = f"{INSERT} ON CONFLICT (id) DO UPDATE SET amount = excluded.amount"
PUT_BY_NAME = (
    f"{INSERT} ON CONFLICT (name) DO UPDATE SET amount = excluded.amount WHERE things.amount < excluded.amount"
)
INSERT_ONCE = f"{INSERT} ON CONFLICT DO NOTHING"
SET = "UPDATE things SET amount = $2 WHERE id = $1"
TAKE = "UPDATE things SET amount = amount - $2, state = 'less' WHERE id = $1 AND amount >= $2"
SET_BY_NAME = "UPDATE things SET amount = $2 WHERE name = $1"
RENAME = "UPDATE things SET name = $2 WHERE name = $1"
SET_ALL = "UPDATE things SET amount = $1"
SET_OPEN = "UPDATE things SET amount = $1 WHERE state = 'open'"
SET_LESS = "UPDATE things SET amount = $1 WHERE state = 'less'"
DELETE = "DELETE FROM things WHERE id = $1"
DELETE_BY_NAME = "DELETE FROM things WHERE name = $1"
DELETE_SMALL = "DELETE FROM things WHERE amount < $1"
COPY = "INSERT INTO lines (thing_id, words) SELECT id, name FROM things WHERE id = $1"
SUM = "SELECT 1 WHERE (SELECT SUM(amount) FROM things) >= $1"
NAMED = "SELECT 1 FROM things WHERE id = $1 AND name = $2"

OVERLAPS = {
    "update, update": [(SET, 1, 5), (SET, 1, 6)],
    "update, another update": [(SET, 1, 5), (TAKE, 1, 2)],
    "update, update by another unique key": [(SET, 1, 5), (SET_BY_NAME, "a", 6)],
    "insert, update": [(INSERT, 1, "a", 5), (SET, 1, 6)],
    "insert, update by another unique key": [(INSERT, 1, "a", 5), (SET_BY_NAME, "a", 6)],
    "insert where there is none, update": [(INSERT_ONCE, 1, "a", 5), (SET, 1, 6)],
    "insert, delete": [(INSERT, 1, "a", 5), (DELETE, 1)],
    "insert, delete by another unique key": [(INSERT, 1, "a", 5), (DELETE_BY_NAME, "a")],
    "update, delete": [(SET, 1, 5), (DELETE, 1)],
    "update, delete by another unique key": [(SET, 1, 5), (DELETE_BY_NAME, "a")],
    "delete, delete": [(DELETE, 1), (DELETE, 1)],
    "delete, update": [(DELETE, 1), (SET, 1, 5)],
    "update, upsert": [(SET, 1, 5), (PUT, 1, "a", 6)],
    "insert, upsert": [(INSERT, 1, "a", 5), (PUT, 1, "b", 6)],
    "upsert, upsert": [(PUT, 1, "a", 5), (PUT, 1, "b", 6)],
    "upsert, upsert by another unique key": [(PUT, 1, "a", 5), (PUT_BY_NAME, "a", 2, 6)],
    "upsert, update by another unique key": [(PUT, 1, "a", 5), (SET_BY_NAME, "b", 6)],
    "update, update of all": [(SET, 1, 5), (SET_ALL, 6)],
    "update of all, update": [(SET_ALL, 5), (SET, 1, 6)],
    "update, update by a range": [(SET, 1, 5), (DELETE_SMALL, 6)],
    "update by a state, update by the state that it makes": [(TAKE, 1, 5), (SET_LESS, 6)],
    "update of what the next one compares": [(RENAME, "a", "b"), (RENAME, "b", "c")],
    "update, update with OR": [(SET, 1, 5), ("UPDATE things SET amount = $2 WHERE id = $1 OR name = 'a'", 2, 5)],
    "update, update with NOT": [(SET, 1, 5), ("UPDATE things SET amount = $2 WHERE NOT id = $1", 2, 5)],
    "update, update with <>": [(SET, 1, 5), ("UPDATE things SET amount = $2 WHERE id <> $1", 2, 5)],
    "update, update with IN": [(SET, 1, 5), ("UPDATE things SET amount = $2 WHERE id IN ($1, 1)", 2, 5)],
    "update, update with CASE": [
        (SET, 1, 5),
        (
            "UPDATE things SET amount = $2 WHERE CASE WHEN amount > 1 AND id = $1 AND amount > 2 THEN FALSE ELSE TRUE END",
            2,
            5,
        ),
    ],
    "update, update by an expression": [(SET, 1, 5), ("UPDATE things SET amount = $2 WHERE id = $1 + 0", 2, 5)],
    "update, update with parentheses": [(SET, 1, 5), ("UPDATE things SET amount = $2 WHERE (id = $1)", 2, 5)],
    "a number, and the same number as text": [(SET, 1, 5), (SET, "1", 5), (SET_ALL, 1)],
    "many rows, one of them twice": [
        ("INSERT INTO things (id, name, amount) VALUES ($1, $2, 0), ($3, $4, 0)", 1, "a", 2, "b"),
        (SET, 2, 5),
    ],
    "insert by SELECT, update": [("INSERT INTO things (id, name, amount) SELECT $1, $2, 0", 1, "a"), (SET, 1, 5)],
    "insert from a table, update": [
        ("INSERT INTO things (id, name, amount) SELECT thing_id, words, 0 FROM lines WHERE id = $1", 7),
        (SET, 1, 5),
    ],
    "a word with what looks like a condition": [
        (SET, 1, 5),
        ("UPDATE things SET amount = $1 WHERE state = ' AND id = 2 AND '", 5),
    ],
    "insert, copy": [(INSERT, 1, "a", 5), (COPY, 1)],
    "delete, copy": [(DELETE, 1), (COPY, 1)],
    "rename, copy": [(RENAME, "a", "b"), (COPY, 1)],
    "update, sum": [(SET, 1, 5), (SUM, 5)],
    "update, read of every column": [(SET, 1, 5), ("SELECT * FROM things WHERE id = $1", 1)],
    "update, read in a subquery": [
        (SET, 1, 5),
        ("DELETE FROM lines WHERE thing_id IN (SELECT id FROM things WHERE amount > 1)",),
    ],
    "update, read through a join": [
        (SET, 1, 5),
        ("SELECT 1 FROM lines l JOIN things t ON t.id = l.thing_id WHERE t.amount > $1", 1),
    ],
}

APART = {
    "two rows": [(SET, 1, 5), (SET, 2, 6)],
    "two rows by two texts": [(SET, 1, 5), (TAKE, 2, 6)],
    "two rows by another unique key": [(SET_BY_NAME, "a", 5), (SET_BY_NAME, "b", 5)],
    "insert, update of another": [(INSERT, 1, "a", 5), (SET, 2, 6)],
    "insert, update of another by another unique key": [(INSERT, 1, "a", 5), (SET_BY_NAME, "b", 6)],
    "insert where the database gives the id, update": [
        ("INSERT INTO things (name, amount) VALUES ($1, $2)", "a", 5),
        (SET, 2, 6),
    ],
    "update of all, insert": [(SET_ALL, 5), (INSERT, 9, "z", 5)],
    "delete, insert of the same": [(DELETE, 1), (INSERT, 1, "a", 5)],
    "delete of all, insert": [("DELETE FROM things",), (INSERT, 1, "a", 5)],
    "two tables": [(SET, 1, 5), ("DELETE FROM lines WHERE thing_id = $1", 1)],
    "two states": [(SET_OPEN, 5), (SET_LESS, 6)],
    "two upserts": [(PUT, 1, "a", 5), (PUT, 2, "b", 5)],
    "read before it is written": [(COPY, 1), (SUM, 0), (SET, 1, 5), (DELETE, 2)],
    "a read of columns that were not changed": [(SET, 1, 5), (NAMED, 1, "a")],
    "many lines": [(INSERT_LINE, 1, "x"), (INSERT_LINE, 1, "x"), (INSERT_LINE, 1, "y")],
}

UNKNOWN = [
    "WITH w AS (SELECT 1) UPDATE things SET amount = 1 WHERE id = 1",
    "UPDATE things t SET amount = 1 WHERE t.id = 1",
    "UPDATE main.things SET amount = 1 WHERE id = 1",
    'UPDATE "things" SET amount = 1 WHERE id = 1',
    'UPDATE things SET "amount" = 1 WHERE id = 1',
    "UPDATE things SET (amount, name) = (1, 'a') WHERE id = 1",
    "UPDATE things SET amount = l.id FROM lines l WHERE things.id = 1",
    "DELETE FROM things USING lines WHERE things.id = 1",
    "DELETE FROM main.things WHERE id = 1",
    "DELETE FROM things t WHERE t.id = 1",
    "INSERT INTO things SELECT id, words, 0 FROM lines",
    "INSERT OR REPLACE INTO things (id) VALUES (1)",
    "REPLACE INTO things (id) VALUES (1)",
    "INSERT INTO things (id) VALUES (1) ON CONFLICT ON CONSTRAINT things_pkey DO UPDATE SET amount = 1",
    "SELECT 1 FROM lines, things",
    "UPDATE things SET amount = 1 WHERE id = 1 -- AND name = 'a'",
    "UPDATE things SET amount = 1 WHERE id /* = 2 */ = 1",
    "UPDATE things SET amount = 1 WHERE id = 1 RETURNING id",
    "TRUNCATE things",
]


def filled(steps: list[tuple[Any, ...]]) -> Unit:
    made = Unit()
    for sql, *args in steps:
        made.add(sql, *args)
    return made


@pytest.mark.parametrize("steps", OVERLAPS.values(), ids=OVERLAPS)
def test_a_second_write_of_a_row_is_rejected(steps: list[tuple[Any, ...]]) -> None:
    """The unit would write other rows on PostgreSQL than on SQLite, so the step is rejected on both."""
    with pytest.raises(StepsOverlapError):
        filled(steps)


@pytest.mark.parametrize("steps", APART.values(), ids=APART)
def test_steps_about_different_rows_are_let_through(steps: list[tuple[Any, ...]]) -> None:
    """They run in the order in which they were added."""
    assert [step.sql for step in filled(steps).take()] == [sql for sql, *_ in steps]


@pytest.mark.parametrize("sql", UNKNOWN)
def test_a_statement_that_cannot_be_read_is_none_for_a_unit(sql: str) -> None:
    """It must not be taken for one that writes nothing."""
    with pytest.raises(ValueError, match="cannot have"):
        Unit().add(sql)


def test_the_error_names_table_and_steps_but_no_value() -> None:
    """Values can be secrets."""
    with pytest.raises(StepsOverlapError, match=r"things \(INSERT, then UPDATE\)") as caught:
        filled([(INSERT, 1, "s3cret", 5), (SET_BY_NAME, "s3cret", 6)])
    assert "s3cret" not in str(caught.value)


def test_a_unit_that_was_committed_is_filled_anew() -> None:
    """The rows of its first commit no longer count."""
    made = filled([(SET, 1, 5)])
    made.take()
    made.add(SET, 1, 6)
    assert len(made.take()) == 1


def test_a_text_is_read_once() -> None:
    """This keeps the payment path fast."""
    assert shape_of(SET) is shape_of(SET)


# ── On the engines ──

TABLES = (
    "CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, amount BIGINT NOT NULL CHECK (amount >= 0),"
    " state TEXT NOT NULL DEFAULT 'open')",
    "CREATE TABLE lines (id INTEGER PRIMARY KEY, thing_id INTEGER NOT NULL, words TEXT, at TIMESTAMP WITH TIME ZONE)",
)


async def test_why_there_is_a_guard(postgres_url: str, tmp_path: Path) -> None:
    """Two updates of one row in a unit: SQLite applies both, PostgreSQL applies one and reports no error."""
    seen = []
    for url in (None, postgres_url):
        async with empty(url, tmp_path) as db:
            await run(db, *TABLES)
            await db.commit(filled([(INSERT, 1, "a", 10)]))
            take = "UPDATE things SET amount = amount - $2 WHERE id = $1"
            await db.engine.commit([Step(take, (1, 3), None), Step(take, (1, 4), None)])
            seen.append((await plain(db, "SELECT amount FROM things"))[0][0])
    assert seen[0] == 3
    assert seen[1] in (6, 7)


class Chance:
    """Random steps about few rows, so that they often overlap."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._line = 0

    def _args(self, sql: str) -> tuple[Any, ...]:
        pick = self._chance
        number, name, amount = pick.randint(1, 4), pick.choice("abcd"), pick.choice((-1, 0, 1, 5, 2**53 + 1, 2**60 + 1))
        by_name, two = sql in (SET_BY_NAME, RENAME, DELETE_BY_NAME), (number, amount)
        if sql in (INSERT, INSERT_ONCE, PUT, PUT_BY_NAME):
            return number, name, amount
        if sql == INSERT_LINE_AT:
            self._line += 1
            words = pick.choice(("", "ünï ✓", "'\"$1%_\\", "\u200f\U0001f4b8", None))
            return self._line, number, words, AT + timedelta(microseconds=pick.randint(0, 10**9))
        if sql == RENAME:
            return name, pick.choice("abcd")
        if sql == NAMED:
            return number, name
        if sql in (SET_BY_NAME, DELETE_BY_NAME):
            return (name, amount)[: 1 + (sql == SET_BY_NAME)]
        if sql in (SET, TAKE):
            return two
        assert not by_name
        return (number,) if sql in (DELETE, DELETE_LINES, LESS) else (amount,)

    def unit(self) -> list[Step]:
        made = Unit()
        for _ in range(self._chance.randint(1, 5)):
            sql = self._chance.choice(STATEMENTS)
            try:
                made.add(sql, *self._args(sql), expect=self._chance.choice((None, None, 1)))
            except StepsOverlapError:
                continue
        return made.take()


INSERT_LINE_AT = "INSERT INTO lines (id, thing_id, words, at) VALUES ($1, $2, $3, $4)"
DELETE_LINES = "DELETE FROM lines WHERE thing_id = $1"
LESS = "UPDATE lines SET words = 'less' WHERE thing_id IN (SELECT id FROM things WHERE amount < 5) AND thing_id = $1"
STATEMENTS = (
    INSERT, INSERT_ONCE, PUT, PUT_BY_NAME, SET, TAKE, SET_BY_NAME, RENAME, SET_ALL, SET_OPEN, SET_LESS, DELETE,
    DELETE_BY_NAME, DELETE_SMALL, SUM, NAMED, INSERT_LINE_AT, DELETE_LINES, LESS,
)  # fmt: skip
ERRORS = (Stale, Duplicate, CheckRefused)
UNITS = 400


async def test_random_units_leave_the_same_rows_on_both_engines(postgres_url: str, tmp_path: Path) -> None:
    """A unit that the guard accepts has one effect: the same counts or the same error, and the same rows afterwards."""
    seed = random.SystemRandom().randrange(10**9)
    chance = Chance(seed)
    kinds: set[str] = set()
    async with empty(None, tmp_path) as sqlite, empty(postgres_url, tmp_path) as postgres:
        for db in (sqlite, postgres):
            await run(db, *TABLES)
        for number in range(UNITS):
            steps = chance.unit()
            seen = []
            for db in (sqlite, postgres):
                try:
                    result: Any = await db.engine.commit(steps)
                except ERRORS as error:
                    result = type(error).__name__
                rows = [await plain(db, f"SELECT * FROM {table} ORDER BY id") for table in ("things", "lines")]
                seen.append((result, *_alike(rows)))
            kinds.add(str(seen[0][0]) if isinstance(seen[0][0], str) else "committed")
            assert seen[0] == seen[1], (seed, number, steps)
    assert kinds == {"committed", "Stale", "Duplicate", "CheckRefused"}


def _alike(rows: list[list[tuple[Any, ...]]]) -> list[list[tuple[Any, ...]]]:
    things, lines = rows
    at = [
        row[3] if isinstance(row[3], datetime) else datetime.fromisoformat(row[3]).replace(tzinfo=UTC) for row in lines
    ]
    return [things, [(*row[:3], moment) for row, moment in zip(lines, at, strict=True)]]
