"""Leases in the owner database: which practices may have open work, so that a worker visits each of them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from polytill.storage.databases import OwnerDb, Writes
from polytill.storage.units import moment
from polytill.storage.webhook_relays import Waiting


def hold(unit: Writes, practice_id: int, until: datetime, now: datetime) -> None:
    """Write or prolong a lease. It never becomes shorter. The first visit to a new lease is due now."""
    unit.add(
        "INSERT INTO practice_leases (practice_id, lease_until, visit_due_at) VALUES ($1, $2, $3)"
        " ON CONFLICT (practice_id) DO UPDATE SET lease_until = excluded.lease_until"
        " WHERE practice_leases.lease_until < excluded.lease_until",
        practice_id,
        until,
        now,
    )


def end(unit: Writes, practice_id: int, lapsed_before: datetime) -> None:
    """Delete a lease that has expired without open work. A lease that was renewed meanwhile stays."""
    unit.add("DELETE FROM practice_leases WHERE practice_id = $1 AND lease_until < $2", practice_id, lapsed_before)


def hold_all(unit: Writes, until: datetime) -> None:
    """Write a lease for every practice without one, so that each is visited once more."""
    unit.add(
        "INSERT INTO practice_leases (practice_id, lease_until)"
        " SELECT id, $1 FROM practices WHERE state NOT IN ('provisioning', 'deleted') ON CONFLICT (practice_id) DO NOTHING",
        until,
    )


async def newest(owner: OwnerDb, limit: int) -> list[int]:
    """The practices whose leases end last, and were therefore used last."""
    return await owner.column(
        "SELECT practice_id FROM practice_leases ORDER BY lease_until DESC, practice_id LIMIT $1", limit
    )


def set_right(unit: Writes, claimed_after: datetime, due_after: datetime, now: datetime) -> None:
    """End claims, and make visits due, that a clock far ahead has put off to a time that no correct clock writes:
    otherwise nobody else would visit these practices before that time. This is not checked in each claim, because a
    worker whose own clock is far behind would then take all practices from the others all the time."""
    unit.add(
        "UPDATE practice_leases SET claimed_by = CASE WHEN claimed_until > $1 THEN NULL ELSE claimed_by END,"
        " claimed_until = CASE WHEN claimed_until > $1 THEN NULL ELSE claimed_until END,"
        " visit_due_at = CASE WHEN visit_due_at > $2 THEN $3 ELSE visit_due_at END"
        " WHERE claimed_until > $1 OR visit_due_at > $2",
        claimed_after,
        due_after,
        now,
    )


def cut_claims(unit: Writes, claimed_after: datetime, until: datetime) -> None:
    """Shorten claims that a clock far ahead has written to the end of claims written now, unless they are kept."""
    unit.add("UPDATE practice_leases SET claimed_until = $2 WHERE claimed_until > $1", claimed_after, until)


# ── Claims: the worker that visits a practice now ──

# One statement decides it on both engines: of two workers that see a practice as free, the second affects no row.
_FREE = "(claimed_until IS NULL OR claimed_until < $3)"


def claim(unit: Writes, worker: str, until: datetime, now: datetime, due_before: datetime, limit: int) -> None:
    """Take up to ``limit`` practices that are due and that nobody visits, the longest due first."""
    unit.add(
        f"UPDATE practice_leases SET claimed_by = $1, claimed_until = $2 WHERE {_FREE} AND practice_id IN"  # noqa: S608
        f" (SELECT practice_id FROM practice_leases WHERE {_FREE} AND (visit_due_at IS NULL OR visit_due_at <= $4)"
        " ORDER BY COALESCE(visit_due_at, lease_until), practice_id LIMIT $5)",
        worker,
        until,
        now,
        due_before,
        limit,
    )


def prolong(unit: Writes, worker: str, until: datetime) -> None:
    """Prolong every claim of a worker that is running."""
    unit.add("UPDATE practice_leases SET claimed_until = $2 WHERE claimed_by = $1", worker, until)


def release(unit: Writes, worker: str, practice_id: int, visit_due_at: datetime, relays: Waiting) -> None:
    """End a visit: write when the next one is due, and the relays that wait. Affects nothing if another worker has taken
    over."""
    unit.add(
        "UPDATE practice_leases SET claimed_by = NULL, claimed_until = NULL, visit_due_at = $3, relays_waiting = $4,"
        " oldest_relay_at = $5 WHERE practice_id = $1 AND claimed_by = $2",
        practice_id,
        worker,
        visit_due_at,
        relays.number,
        relays.oldest_at,
    )


async def relays(owner: OwnerDb) -> Waiting:
    """The relays that wait in all practices, as their workers saw them last. A practice with any has a lease."""
    row: Any = await owner.one(
        "SELECT COALESCE(sum(relays_waiting), 0) AS number, min(oldest_relay_at) AS oldest_at FROM practice_leases"
        " WHERE relays_waiting > 0"
    )
    return Waiting(int(row["number"]), moment(row["oldest_at"]))


def release_all(unit: Writes, worker: str) -> None:
    """Release all claims of a worker. The due times stay."""
    unit.add("UPDATE practice_leases SET claimed_by = NULL, claimed_until = NULL WHERE claimed_by = $1", worker)


async def claimed(owner: OwnerDb, worker: str) -> dict[int, datetime]:
    """The practices that a worker holds now, with the end of the lease of each."""
    return _by_practice(
        await owner.fetch(
            "SELECT practice_id, lease_until FROM practice_leases WHERE claimed_by = $1 ORDER BY practice_id", worker
        )
    )


async def overdue(owner: OwnerDb, due_before: datetime, now: datetime) -> int:
    """The number of practices that have waited for a visit since before a time and that nobody visits now."""
    waited = (
        "SELECT COUNT(*) FROM practice_leases WHERE visit_due_at < $1 AND (claimed_until IS NULL OR claimed_until < $2)"
    )
    return int(await owner.value(waited, due_before, now))


async def all_held(owner: OwnerDb) -> dict[int, datetime]:
    """Every practice with a lease, live or lapsed."""
    return _by_practice(await owner.fetch("SELECT practice_id, lease_until FROM practice_leases ORDER BY practice_id"))


def _by_practice(rows: list[Any]) -> dict[int, datetime]:
    return {row["practice_id"]: until for row in rows if (until := moment(row["lease_until"])) is not None}
