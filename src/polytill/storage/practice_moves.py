"""Copies of practices' databases that are or were moved, as rows of the owner database."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from polytill.storage.columns import Condition, Table
from polytill.storage.databases import OwnerDb, Reads, Writes

KEPT = "_moved"  # at the end of an old database's name


@dataclass(frozen=True, slots=True)
class PracticeMove:
    """One move of a practice.

    Args:
        to_database: The name of the new database.
        practice_id: The practice.
        to_cluster: Where the new database is.
        from_cluster: Where the database of before is.
        kept: The name under which that one is kept.
        started_at: When the copy was begun.
        moved_at: Since when the copy is in use. None: it is not yet, or will never be.
        refused_ms: For how long the practice's requests were refused, in milliseconds.
    """

    to_database: str
    practice_id: int
    to_cluster: str
    from_cluster: str
    kept: str
    started_at: datetime
    moved_at: datetime | None = None
    refused_ms: int | None = None

    @property
    def old_names(self) -> tuple[str, str]:
        """Both names of the database of before: the one under which it is kept, and the one that it had while it was in
        use. No other database ever gets either."""
        return self.kept, self.kept.removesuffix(KEPT)


_MOVES = Table("practice_moves", PracticeMove)


def begin(unit: Writes, move: PracticeMove) -> None:
    """Record a copy before it is begun, so that it can be dropped whatever happens."""
    _MOVES.insert(unit, move)


def switched(unit: Writes, to_database: str, now: datetime, refused_ms: int) -> None:
    """Record that a copy is in use."""
    unit.add(
        "UPDATE practice_moves SET moved_at = $2, refused_ms = $3 WHERE to_database = $1",
        to_database,
        now,
        refused_ms,
        expect=1,
    )


def forget(unit: Writes, to_database: str) -> None:
    """Delete a row: its old database, or its unfinished copy, is dropped."""
    unit.add("DELETE FROM practice_moves WHERE to_database = $1", to_database)


async def of_practice(owner: OwnerDb, practice_id: int) -> list[PracticeMove]:
    """The moves of a practice, finished ones and others."""
    return await _MOVES.all(owner, "WHERE practice_id = $1 ORDER BY to_database", practice_id)


async def last(owner: OwnerDb, practice_id: int) -> PracticeMove | None:
    """The move that led to the database that a practice has now. None if there is none, or it is confirmed."""
    where = "WHERE to_database = (SELECT database_name FROM practices WHERE id = $1) AND moved_at IS NOT NULL"
    return await _MOVES.one(owner, where, practice_id)


async def unconfirmed(owner: OwnerDb, after: int = 0, limit: int = 100) -> list[PracticeMove]:
    """The finished moves whose old databases are kept, by practice, after a practice's id."""
    where = Condition(after)
    where.parts.append("practice_id > $1 AND moved_at IS NOT NULL")
    return await _MOVES.all(
        owner, f"WHERE {where} ORDER BY practice_id, to_database LIMIT {where.add(limit)}", *where.args
    )


async def on_cluster(owner: Reads, cluster: str) -> int:
    """How many old databases and unfinished copies are on a cluster."""
    sql = "SELECT count(*) FROM practice_moves WHERE from_cluster = $1 OR (to_cluster = $1 AND moved_at IS NULL)"
    return int(await owner.value(sql, cluster))
