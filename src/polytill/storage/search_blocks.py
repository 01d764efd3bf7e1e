"""Search rows in blocks: a signature of each block says whether it can match, so that a search reads few rows.

A payment's row starts in block 0. A worker takes the oldest 32 rows of block 0 together and assigns them the next
number. Numbers only grow, so a search that has read signatures up to one knows where later rows can be. A corrected row
returns to block 0. A signature always has everything that a row of its block has; whether a row matches is decided by
the row.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from polytill.domain.search import SIGNATURE_PARTS, Bits, Needed, Term, bits_needed, signature
from polytill.domain.states import Environment
from polytill.storage.columns import Reader, insert_into
from polytill.storage.databases import PracticeDb
from polytill.storage.units import Unit, moment

ROWS = 32
READ_AT_ONCE = 1000
# A search that most blocks may match does not read signatures: it reads the rows, newest first, to the end of a page.
MOST_OF_ALL = 8
WORTH_IT = 16


@dataclass(frozen=True, slots=True)
class Block:
    """A block that may have matches."""

    number: int
    oldest_at: datetime
    newest_at: datetime


_BLOCKS = Reader(Block)


@dataclass(frozen=True, slots=True)
class Found:
    """The blocks that may have matches, newest first, and the highest number at that time."""

    blocks: list[Block]
    last: int


async def last_number(db: PracticeDb) -> int:
    """The number of the newest block. 0 if there is none."""
    return int(await db.value("SELECT COALESCE(MAX(block), 0) FROM payment_search_blocks"))


async def holding(db: PracticeDb, environment: Environment, terms: tuple[Term, ...]) -> Found | None:
    """The blocks that may have everything typed. None if they would not be much fewer than all."""
    needed = bits_needed(terms)
    if not needed:
        return None
    parts = sorted(
        {part for term in needed for reading in term for ways in reading for bits in ways for part, _ in bits}
    )
    columns = ", ".join(f"part{part}" for part in parts)
    found: list[Block] = []
    most, last = max(WORTH_IT, await last_number(db) // MOST_OF_ALL), 0
    while len(found) <= most:
        rows = await db.fetch(
            f"SELECT block AS number, oldest_at, newest_at, {columns} FROM payment_search_blocks"  # noqa: S608
            f" WHERE environment = $1 AND block > $2 ORDER BY block LIMIT {READ_AT_ONCE}",
            environment,
            last,
        )
        found += [_BLOCKS.read(row) for row in _fitting(rows, parts, needed)]
        last = rows[-1]["number"] if rows else last
        if len(rows) < READ_AT_ONCE and len(found) <= most:
            return Found(sorted(found, key=lambda block: block.newest_at, reverse=True), last)
    return None


def _fitting(rows: list[Any], parts: list[int], needed: tuple[Needed, ...]) -> list[Any]:
    """The rows whose signatures have what is needed."""
    names = [f"part{part}" for part in parts]
    masks = [
        [[[_masks(bits, parts) for bits in ways] for ways in reading] for reading in readings] for readings in needed
    ]
    fitting = []
    for row in rows:
        signs = [int.from_bytes(row[name], "little") for name in names]

        def has(way: list[tuple[int, int]], signs: list[int] = signs) -> bool:
            return all(signs[at] & mask == mask for at, mask in way)

        if all(any(all(any(map(has, ways)) for ways in reading) for reading in readings) for readings in masks):
            fitting.append(row)
    return fitting


def _masks(bits: Bits, parts: list[int]) -> list[tuple[int, int]]:
    masks: dict[int, int] = {}
    for part, bit in bits:
        masks[parts.index(part)] = masks.get(parts.index(part), 0) | 1 << bit
    return list(masks.items())


async def with_enough(db: PracticeDb) -> list[Environment]:
    """The environments in which enough rows for a block are in none yet."""
    found = await db.column(
        "SELECT environment FROM payment_search WHERE block = 0 GROUP BY environment HAVING COUNT(*) >= $1"
        " ORDER BY environment",
        ROWS,
    )
    return [Environment(name) for name in found]


async def waiting(db: PracticeDb, environment: Environment) -> list[Any]:
    """The oldest rows that are in no block yet, as many as a block has. Empty if there are fewer."""
    rows = await db.fetch(
        "SELECT created_at, payment_id, major_units, body FROM payment_search WHERE block = 0 AND environment = $1"
        " ORDER BY created_at, payment_id LIMIT $2",
        environment,
        ROWS,
    )
    return rows if len(rows) == ROWS else []


def close(unit: Unit, environment: Environment, number: int, rows: list[Any]) -> None:
    """Turn rows into a block. ``Stale`` if one was corrected meanwhile, ``Duplicate`` if another node took the number."""
    parts = signature((row["body"], row["major_units"]) for row in rows)
    names = ", ".join(f"part{part}" for part in range(SIGNATURE_PARTS))
    unit.add(
        insert_into("payment_search_blocks", f"environment, block, oldest_at, newest_at, {names}"),
        environment,
        number,
        moment(rows[0]["created_at"]),
        moment(rows[-1]["created_at"]),
        *parts,
    )
    for row in rows:
        unit.add(
            "UPDATE payment_search SET block = $1 WHERE environment = $2 AND created_at = $3 AND payment_id = $4"
            " AND block = 0 AND body = $5",
            number,
            environment,
            moment(row["created_at"]),
            row["payment_id"],
            row["body"],
            expect=1,
        )
