"""The migration of all practices, as rows: which process runs it, its progress, and its failures.

The directory itself has the progress: the number of practices at an older revision. Nothing is counted twice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from polytill.storage.columns import Reader
from polytill.storage.databases import OwnerDb, Writes
from polytill.storage.units import moment


@dataclass(frozen=True, slots=True)
class Failure:
    """A practice that could not be migrated, and the reason in one sentence."""

    practice_id: int
    name: str
    code: str
    detail: str


_FAILURES = Reader(
    Failure,
    "SELECT f.practice_id, p.name, f.code, f.detail FROM fleet_migration_failures f"
    " JOIN practices p ON p.id = f.practice_id",
)


@dataclass(frozen=True, slots=True)
class Fleet:
    """All practices: how many there are, how many are at an older revision, and the last run, if there was one."""

    practices: int
    behind: int
    failures: tuple[Failure, ...]
    to_migrate: int = 0
    started_at: datetime | None = None
    started_by: str = ""
    ended_at: datetime | None = None
    running: bool = False

    @property
    def stopped(self) -> bool:
        """Whether the last run was interrupted: its process is gone."""
        return self.started_at is not None and self.ended_at is None and not self.running

    @property
    def done(self) -> int:
        """How many practices of the run are at the current revision."""
        return max(0, self.to_migrate - self.behind)


def begin(unit: Writes, run: str, actor: str, to_migrate: int, now: datetime, until: datetime) -> None:
    """Take the one row. ``Stale`` if another process holds it. The failures of the previous run are deleted."""
    unit.add(
        "INSERT INTO fleet_migration (id, run, started_by, to_migrate, started_at, claimed_until)"
        " VALUES (1, $1, $2, $3, $4, $5) ON CONFLICT (id) DO UPDATE SET run = excluded.run,"
        " started_by = excluded.started_by, to_migrate = excluded.to_migrate, started_at = excluded.started_at,"
        " claimed_until = excluded.claimed_until, ended_at = NULL"
        " WHERE fleet_migration.ended_at IS NOT NULL OR fleet_migration.claimed_until < excluded.started_at",
        run,
        actor,
        to_migrate,
        now,
        until,
        expect=1,
    )
    unit.add("DELETE FROM fleet_migration_failures")


def prolong(unit: Writes, run: str, until: datetime) -> None:
    """Keep the row while the run continues. ``Stale`` if another run has taken over."""
    unit.add(
        "UPDATE fleet_migration SET claimed_until = $2 WHERE id = 1 AND run = $1 AND ended_at IS NULL",
        run,
        until,
        expect=1,
    )


def end(unit: Writes, run: str, now: datetime) -> None:
    """End the run."""
    unit.add("UPDATE fleet_migration SET ended_at = $2 WHERE id = 1 AND run = $1 AND ended_at IS NULL", run, now)


def give_up(unit: Writes, run: str, now: datetime) -> None:
    """Stop the run early. Another one can start at once."""
    unit.add("UPDATE fleet_migration SET claimed_until = $2 WHERE id = 1 AND run = $1 AND ended_at IS NULL", run, now)


def failed(unit: Writes, practice_id: int, code: str, detail: str, now: datetime) -> None:
    """Record that a practice could not be migrated."""
    unit.add(
        "INSERT INTO fleet_migration_failures (practice_id, code, detail, at) VALUES ($1, $2, $3, $4)"
        " ON CONFLICT (practice_id) DO UPDATE SET code = excluded.code, detail = excluded.detail, at = excluded.at",
        practice_id,
        code,
        detail,
        now,
    )


def mended(unit: Writes, practice_id: int) -> None:
    """Delete the failure of a practice that is now at the current schema."""
    unit.add("DELETE FROM fleet_migration_failures WHERE practice_id = $1", practice_id)


async def behind(owner: OwnerDb, head: str) -> list[int]:
    """The practices at another revision."""
    return await owner.column(
        "SELECT id FROM practices WHERE state <> 'provisioning' AND schema_version <> $1 ORDER BY id", head
    )


async def read(owner: OwnerDb, head: str, now: datetime, limit: int = 100) -> Fleet:
    """The progress of the migration, with at most ``limit`` failures."""
    counts: Any = await owner.one(
        "SELECT count(*) AS practices, count(CASE WHEN schema_version <> $1 THEN 1 END) AS behind FROM practices"
        " WHERE state <> 'provisioning'",
        head,
    )
    run = await owner.one(
        "SELECT to_migrate, started_at, started_by, ended_at, claimed_until FROM fleet_migration WHERE id = 1"
    )
    failures = tuple(await _FAILURES.all(owner, "ORDER BY f.practice_id LIMIT $1", limit))
    fleet = Fleet(counts["practices"], counts["behind"], failures)
    if run is None:
        return fleet
    until, ended = moment(run["claimed_until"]), moment(run["ended_at"])
    return replace(
        fleet,
        to_migrate=run["to_migrate"],
        started_at=moment(run["started_at"]),
        started_by=run["started_by"],
        ended_at=ended,
        running=ended is None and until is not None and until >= now,
    )
