"""Rows and their dataclasses: what is written is read again, on both engines, and what cannot be read says which row."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest

from polytill.domain.errors import Stale, UnreadableRow
from polytill.storage.columns import Condition, Table
from polytill.storage.units import Unit
from tests.storage.making import empty, run


class Color(StrEnum):
    red = "red"
    blue = "blue"


@dataclass
class Thing:
    id: str
    practice_id: int
    color: Color
    other_color: Color | None
    is_new: bool
    at: datetime
    until: datetime | None
    detail: dict[str, int]
    scopes: tuple[str, ...]
    anything: Any
    metadata: dict[str, str] | None
    has_more: bool = False


THINGS = Table("things", Thing, but="has_more")
NOW = datetime(2026, 5, 4, 3, 2, 1, 7, tzinfo=UTC)
FULL = Thing("a", 7, Color.red, Color.blue, True, NOW, NOW, {"n": 1}, ("x", "y"), ["z", 1], {"k": "v"})
BARE = Thing("b", 7, Color.blue, None, False, NOW, None, {}, (), None, None)
TABLE = (
    "CREATE TABLE things (id TEXT, practice_id INTEGER, color TEXT, other_color TEXT, is_new BOOLEAN, at {moment},"
    " until {moment}, detail {json}, scopes {json}, anything {json}, metadata {json})"
)


async def test_what_is_written_is_read_again(engine_url: str | None, tmp_path: Path) -> None:
    words = ("TEXT", "TEXT") if engine_url is None else ("TIMESTAMPTZ", "JSONB")
    async with empty(engine_url, tmp_path) as db:
        await run(db, TABLE.format(moment=words[0], json=words[1]))
        unit = Unit()
        for thing in (FULL, BARE):
            THINGS.insert(unit, thing)
        await db.commit(unit)
        assert await THINGS.all(db, "ORDER BY id") == [FULL, BARE]
        changed = replace(FULL, color=Color.blue, detail={"n": 2})
        THINGS.update(unit, changed, "color, detail", "id = $1 AND color = $2", "a", FULL.color, is_new=False)
        await db.commit(unit)
        assert await THINGS.one(db, "WHERE id = $1", "a") == replace(changed, is_new=False)
        THINGS.update(unit, changed, "color, detail", "id = $1 AND color = $2", "a", FULL.color)
        with pytest.raises(Stale):
            await db.commit(unit)
        await run(db, "UPDATE things SET detail = NULL, scopes = NULL")
        assert await THINGS.one(db, "WHERE id = $1", "b") == BARE
        [row] = await db.fetch(f"SELECT {THINGS.of('t', 't_')}, 1 AS more FROM things AS t WHERE t.id = 'b'")
        assert THINGS.read(row, "t_", has_more=True) == replace(BARE, has_more=True)
        await run(db, "UPDATE things SET color = 'green' WHERE id = 'a'")
        with pytest.raises(UnreadableRow) as refused:
            await THINGS.all(db, "ORDER BY id")
        assert (refused.value.practice_id, refused.value.row_id) == (7, "a")


def test_a_condition_leaves_out_what_is_not_compared() -> None:
    where = Condition("first")
    assert str(where) == "TRUE"
    where.compare("a =", None)
    where.compare("b <", 0)
    assert (str(where), where.add(9), where.args) == ("b < $2", "$3", ["first", 0, 9])
