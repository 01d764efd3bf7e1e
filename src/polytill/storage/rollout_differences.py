"""Payments for which the old code and polytill chose differently, in the owner's database, each once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from polytill.domain.rollout import DifferenceReason
from polytill.domain.states import Environment
from polytill.storage.columns import Condition, Table
from polytill.storage.databases import OwnerDb, Writes


@dataclass(frozen=True, slots=True)
class Difference:
    """One payment. A provider is None if that side found none; ``amount`` is in minor units."""

    practice_id: int
    reference: str
    reason: DifferenceReason
    environment: Environment
    currency: str
    detail: str
    amount: int | None
    payment_method: str | None
    legacy_provider: str | None
    our_provider: str | None
    at: datetime
    id: int = 0


_DIFFERENCES = Table("rollout_differences", Difference)
_NEW = (
    "practice_id, reference, reason, environment, currency, detail, amount, payment_method, legacy_provider,"
    " our_provider, at"
)


def compared(unit: Writes, practice_id: int, reference: str, now: datetime) -> None:
    """Record that the decision about a payment was compared. ``Duplicate`` if it was already."""
    new = "INSERT INTO rollout_decisions (practice_id, reference, at) VALUES ($1, $2, $3)"
    unit.add(new, practice_id, reference, now)


def forget_before(unit: Writes, before: datetime) -> None:
    """Delete differences, and what was compared, from before a time."""
    unit.add("DELETE FROM rollout_decisions WHERE at < $1", before)
    unit.add("DELETE FROM rollout_differences WHERE at < $1", before)


def record(unit: Writes, difference: Difference) -> None:
    """Record a difference, unless one with this reference is recorded."""
    _DIFFERENCES.insert(unit, difference, _NEW, " ON CONFLICT (practice_id, reference) DO NOTHING")


async def listed(
    owner: OwnerDb,
    practice_id: int | None = None,
    reason: DifferenceReason | None = None,
    before_id: int | None = None,
    limit: int = 100,
) -> list[Difference]:
    """Differences, newest first."""
    where = Condition()
    where.compare("practice_id =", practice_id)
    where.compare("reason =", reason)
    where.compare("id <", before_id)
    return await _DIFFERENCES.all(owner, f"WHERE {where} ORDER BY id DESC LIMIT {where.add(limit)}", *where.args)


async def count_by_reason(owner: OwnerDb, practice_id: int | None = None) -> dict[DifferenceReason, int]:
    """How many differences have each reason."""
    where = Condition()
    where.compare("practice_id =", practice_id)
    rows = await owner.fetch(
        f"SELECT reason, COUNT(*) AS n FROM rollout_differences WHERE {where} GROUP BY reason",  # noqa: S608
        *where.args,
    )
    return {DifferenceReason(row["reason"]): int(row["n"]) for row in rows}


async def count_by_practice(owner: OwnerDb, practice_ids: list[int]) -> dict[int, int]:
    """How many differences each of these practices has."""
    if not practice_ids:
        return {}
    where = Condition()
    places = ", ".join(where.add(one) for one in practice_ids)
    rows = await owner.fetch(
        f"SELECT practice_id, COUNT(*) AS n FROM rollout_differences WHERE practice_id IN ({places})"  # noqa: S608
        " GROUP BY practice_id",
        *where.args,
    )
    return {int(row["practice_id"]): int(row["n"]) for row in rows}
