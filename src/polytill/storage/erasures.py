"""The record of each erasure, in the owner database, and what the owner database has of an erased customer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from polytill.domain.personal_data import ERASED, redacted
from polytill.storage.columns import Table, places
from polytill.storage.databases import OwnerDb, Tx, Writes
from polytill.storage.payment_records import PaymentRecord
from polytill.storage.units import json_text, json_value


@dataclass(frozen=True, slots=True)
class Erasure:
    """One erasure of a customer's personal data.

    Args:
        id: Its id, by which the payments that it erased name it.
        practice_id: The practice.
        digests: Keyed digests of the customer's identifiers.
        asked_by: Who asked for it.
        asked_at: What was recorded later is not erased.
        ended_at: When nothing was left to erase. None: it goes on.
    """

    id: str
    practice_id: int
    digests: list[str]
    asked_by: str
    asked_at: datetime
    ended_at: datetime | None = None


_ERASURES = Table("erasures", Erasure)


def begin(unit: Writes, erasure: Erasure) -> None:
    """Record an erasure before anything is erased; in place of an earlier one of the same customer."""
    end = " ON CONFLICT (id) DO UPDATE SET asked_by = excluded.asked_by, asked_at = excluded.asked_at, ended_at = NULL"
    _ERASURES.insert(unit, erasure, end=end)


def end(unit: Writes, erasure: Erasure, now: datetime) -> None:
    """Record that nothing is left to erase, unless it was asked for again meanwhile."""
    sql = "UPDATE erasures SET ended_at = $3 WHERE id = $1 AND asked_at = $2 AND ended_at IS NULL"
    unit.add(sql, erasure.id, erasure.asked_at, now)


def open_again(unit: Writes, practice_id: int) -> None:
    """Let every erasure of a practice go on, because its database is an older one."""
    unit.add("UPDATE erasures SET ended_at = NULL WHERE practice_id = $1", practice_id)


async def of_practice(owner: OwnerDb, practice_id: int) -> list[Erasure]:
    """The erasures of a practice, oldest first."""
    return await _ERASURES.all(owner, "WHERE practice_id = $1 ORDER BY asked_at, id", practice_id)


async def unfinished(owner: OwnerDb, practice_id: int | None = None) -> list[Erasure]:
    """Erasures that go on, of one practice or of all."""
    which = "WHERE ended_at IS NULL AND practice_id = COALESCE($1, practice_id) ORDER BY practice_id, asked_at, id"
    return await _ERASURES.all(owner, which, practice_id)


# ── What the owner database has of a customer ──


async def recorded(owner: OwnerDb, payment_ids: Sequence[str]) -> list[str]:
    """Those of these payments that have a record by which they can be brought back."""
    sql = f"SELECT payment_id FROM payment_records WHERE payment_id IN ({places(len(payment_ids))})"  # noqa: S608
    return await owner.column(sql, *payment_ids)


def record_again(unit: Writes, record: PaymentRecord) -> None:
    """Replace the record of a payment, if there still is one."""
    unit.add("UPDATE payment_records SET sealed = $2 WHERE payment_id = $1", record.payment_id, record.sealed)


async def erase_events(tx: Tx, payment_ids: Sequence[str]) -> set[int]:
    """Erase the customer from the events of payments in the feed. Returns the positions of those that changed."""
    changed = set()
    sql = f"SELECT id, data FROM event_feed WHERE payment_id IN ({places(len(payment_ids))})"  # noqa: S608
    for row in await tx.fetch(sql, *payment_ids):
        data = json_value(row["data"])
        if (less := redacted(data)) != data:
            tx.add("UPDATE event_feed SET data = $2 WHERE id = $1", row["id"], json_text(less))
            changed.add(row["id"])
    return changed


async def erase_references(tx: Tx, practice_id: int, reference: str, erasure: str) -> set[str]:
    """Erase a reference from what was compared with the old code during the rollout. Returns keys of the changed rows."""
    new = f"{ERASED} {erasure}"
    deleted = "DELETE FROM rollout_decisions WHERE practice_id = $1 AND reference = $2 RETURNING at"
    changed = {f"decision {row['at']}" for row in await tx.fetch(deleted, practice_id, reference)}
    for row in await tx.fetch(
        "SELECT id FROM rollout_differences WHERE practice_id = $1 AND reference = $2", practice_id, reference
    ):
        tx.add("UPDATE rollout_differences SET reference = $2 WHERE id = $1", row["id"], f"{new} {row['id']}")
        changed.add(f"difference {row['id']}")
    return changed
