"""The last good backup of each practice, in the owner database."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from polytill.storage.columns import Condition, Table
from polytill.storage.databases import OwnerDb, Writes
from polytill.storage.units import moment


@dataclass(frozen=True, slots=True)
class PracticeBackup:
    """A backup that was verified after it was written.

    Args:
        practice_id: The practice.
        name: Its name in the store.
        place: The store: a directory, or ``s3://bucket/prefix``.
        size: Bytes.
        row_count: Rows in all tables.
        made_at: Of which moment it is.
        is_restored: It was restored and compared; else it was read back and opened.
    """

    practice_id: int
    name: str
    place: str
    size: int
    row_count: int
    made_at: datetime
    is_restored: bool


@dataclass(frozen=True, slots=True)
class BackupOverview:
    """All practices: how many there are, how many have a good backup, and when the oldest of these was made."""

    practices: int = 0
    with_backup: int = 0
    oldest_at: datetime | None = None


_BACKUPS = Table("practice_backups", PracticeBackup)


def record(unit: Writes, made: PracticeBackup) -> None:
    """Record a good backup as the last one of its practice. An older one changes nothing."""
    changed = ("name", "place", "size", "row_count", "made_at", "is_restored")
    assigned = ", ".join(f"{column} = excluded.{column}" for column in changed)
    end = f" ON CONFLICT (practice_id) DO UPDATE SET {assigned} WHERE practice_backups.made_at <= excluded.made_at"
    _BACKUPS.insert(unit, made, end=end)


async def find(owner: OwnerDb, practice_id: int) -> PracticeBackup | None:
    """The last good backup of a practice. None if there is none."""
    return await _BACKUPS.one(owner, "WHERE practice_id = $1", practice_id)


async def listed(owner: OwnerDb, after: int = 0, limit: int = 100) -> list[PracticeBackup]:
    """The last good backups by practice, after a practice's id."""
    where = Condition(after)
    where.parts.append("practice_id > $1")
    return await _BACKUPS.all(owner, f"WHERE {where} ORDER BY practice_id LIMIT {where.add(limit)}", *where.args)


async def overview(owner: OwnerDb) -> BackupOverview:
    """How many practices have a good backup, and when the oldest one was made."""
    row = await owner.one(
        "SELECT count(*) AS practices, count(b.practice_id) AS with_backup, min(b.made_at) AS oldest_at"
        " FROM practices p LEFT JOIN practice_backups b ON b.practice_id = p.id WHERE p.state NOT IN ('provisioning', 'deleted')"
    )
    assert row is not None
    return BackupOverview(int(row["practices"]), int(row["with_backup"]), moment(row["oldest_at"]))
