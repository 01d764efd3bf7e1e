"""The end of a practice's life in the owner database: closed, reopened, its run-out ended, deleted."""

from __future__ import annotations

import hashlib
from datetime import datetime

from polytill.storage.databases import OwnerDb, Tx, Writes
from polytill.storage.practices import PracticeEntry

# What the owner database keeps for a practice, besides its row. Its events in the feed, its jobs and its lines in the audit
# log stay.
_OF_PRACTICE = (
    "DELETE FROM payment_records WHERE practice_id = $1",
    "DELETE FROM practice_leases WHERE practice_id = $1",
    "DELETE FROM practice_backups WHERE practice_id = $1",
    "DELETE FROM erasures WHERE practice_id = $1",
    "DELETE FROM practice_retention WHERE practice_id = $1",
    "DELETE FROM rollout_decisions WHERE practice_id = $1",
    "DELETE FROM rollout_differences WHERE practice_id = $1",
    "DELETE FROM practice_rollouts WHERE practice_id = $1",
)


def close(unit: Writes, practice_id: int, runs_out_at: datetime, now: datetime) -> None:
    """Close a practice. One that is closed gets another end of its run-out. ``Stale`` if it is in another state."""
    unit.add(
        "UPDATE practices SET state = 'closed', closed_at = COALESCE(closed_at, $3), runs_out_at = $2, updated_at = $3"
        " WHERE id = $1 AND (state IN ('active', 'suspended') OR (state = 'closed' AND runs_out_at > $3))",
        practice_id,
        runs_out_at,
        now,
        expect=1,
    )


def reopen(unit: Writes, practice_id: int, now: datetime) -> None:
    """Set a closed practice to active. ``Stale`` if it is not closed, or its run-out has ended."""
    unit.add(
        "UPDATE practices SET state = 'active', closed_at = NULL, runs_out_at = NULL, updated_at = $2"
        " WHERE id = $1 AND state = 'closed' AND runs_out_at > $2",
        practice_id,
        now,
        expect=1,
    )


async def run_out(owner: OwnerDb, now: datetime, limit: int = 100) -> list[int]:
    """The closed practices whose run-out has ended, and which workers still visit."""
    return await owner.column(
        "SELECT id FROM practices WHERE state = 'closed' AND runs_out_at <= $1 AND run_out_ended_at IS NULL"
        " ORDER BY id LIMIT $2",
        now,
        limit,
    )


def end_run_out(unit: Writes, practice_id: int, now: datetime) -> None:
    """Record that the run-out has ended, and visit the practice no more. ``Stale`` if it is recorded already."""
    unit.add(
        "UPDATE practices SET run_out_ended_at = $2, updated_at = $2"
        " WHERE id = $1 AND state = 'closed' AND run_out_ended_at IS NULL",
        practice_id,
        now,
        expect=1,
    )
    forget_lease(unit, practice_id)


def forget_lease(unit: Writes, practice_id: int) -> None:
    """Delete a practice's lease, whoever has claimed it."""
    unit.add("DELETE FROM practice_leases WHERE practice_id = $1", practice_id)


def destroy_key(unit: Tx, entry: PracticeEntry, actor: str, now: datetime) -> None:
    """Destroy a closed practice's wrapped data key, revoke its API keys, and delete what is kept for it. Its row stays.

    ``Stale`` if it is not closed any more. Its external id may be given to another practice from now on: only a hash of it
    stays.
    """
    hashed = None if entry.external_id is None else hashlib.sha256(entry.external_id.encode()).hexdigest()
    unit.add(
        "UPDATE practices SET state = 'deleted', wrapped_data_key = '', external_id = NULL, external_id_hash = $4,"
        " mark_event_id = NULL, mark_payment_id = NULL, behind = NULL, deleted_at = $2, deleted_by = $3, updated_at = $2"
        " WHERE id = $1 AND state = 'closed'",
        entry.id,
        now,
        actor,
        hashed,
        expect=1,
    )
    unit.add("UPDATE api_keys SET revoked_at = $2 WHERE practice_id = $1 AND revoked_at IS NULL", entry.id, now)
    for sql in _OF_PRACTICE:
        unit.add(sql, entry.id)


def forget_database(unit: Writes, practice_id: int, now: datetime) -> None:
    """Record that a deleted practice has no database any more. The place of another one cannot be the same."""
    unit.add("DELETE FROM practice_moves WHERE practice_id = $1", practice_id)
    unit.add(
        "UPDATE practices SET cluster = '', database_name = $2, schema_version = '', epoch = '', updated_at = $3"
        " WHERE id = $1 AND state = 'deleted'",
        practice_id,
        f"deleted_{practice_id}",
        now,
        expect=1,
    )


async def prepare_to_scrub(owner: OwnerDb) -> None:
    """Let the owner database overwrite what is deleted from now on. PostgreSQL does so in ``scrub``."""
    if owner.engine.dialect == "sqlite":
        await owner.fetch("PRAGMA secure_delete = ON")


async def scrub(owner: OwnerDb) -> None:
    """Remove old versions of the directory's rows from the owner database's files, as far as its engine allows."""
    if owner.engine.dialect == "sqlite":
        await owner.fetch("PRAGMA wal_checkpoint(TRUNCATE)")
    else:
        await owner.fetch("VACUUM practices")
