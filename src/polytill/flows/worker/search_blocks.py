"""Group search rows into blocks, so that a search reads few rows."""

from __future__ import annotations

from polytill.domain.errors import Duplicate, Stale
from polytill.storage import search_blocks
from polytill.storage.databases import PracticeDb
from polytill.storage.units import Unit

BLOCKS = 8  # the limit for one sweep


async def close_blocks(db: PracticeDb, most: int = BLOCKS) -> int:
    """Group search rows that are in no block yet. Return the number of new blocks; it stops if another node does the
    same."""
    done = 0
    for environment in await search_blocks.with_enough(db):
        while done < most and (rows := await search_blocks.waiting(db, environment)):
            unit = Unit()
            search_blocks.close(unit, environment, await search_blocks.last_number(db) + 1, rows)
            try:
                await db.commit(unit)
            except (Duplicate, Stale):
                return done
            done += 1
    return done
