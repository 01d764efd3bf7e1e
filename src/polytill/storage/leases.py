"""Leases in the owner database: which practices may have something open, so that a worker visits each of them."""

from __future__ import annotations

from datetime import datetime

from polytill.storage.databases import OwnerDb, Writes
from polytill.storage.units import moment


def hold(unit: Writes, practice_id: int, until: datetime) -> None:
    """Write or prolong a lease; it never becomes shorter."""
    unit.add(
        "INSERT INTO practice_leases (practice_id, lease_until) VALUES ($1, $2)"
        " ON CONFLICT (practice_id) DO UPDATE SET lease_until = excluded.lease_until"
        " WHERE practice_leases.lease_until < excluded.lease_until",
        practice_id, until,
    )  # fmt: skip


def end(unit: Writes, practice_id: int, lapsed_before: datetime) -> None:
    """Forget a lease that has lapsed and behind which nothing is open. One that was renewed meanwhile stays."""
    unit.add(
        "DELETE FROM practice_leases WHERE practice_id = $1 AND lease_until < $2", practice_id, lapsed_before
    )  # fmt: skip


async def all_held(owner: OwnerDb) -> dict[int, datetime]:
    """Every practice with a lease, live or lapsed."""
    rows = await owner.fetch("SELECT practice_id, lease_until FROM practice_leases ORDER BY practice_id")
    found = {}
    for row in rows:
        until = moment(row["lease_until"])
        assert until is not None
        found[int(row["practice_id"])] = until
    return found
