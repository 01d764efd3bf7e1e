"""Records of recent payments in the owner database: what brings a payment back that its practice's database has lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from polytill.storage.attempts import Attempt, insert
from polytill.storage.columns import Table
from polytill.storage.databases import OwnerDb, PracticeDb, Writes
from polytill.storage.payments import PAYMENTS, Payment
from polytill.storage.refunds import Refund


@dataclass(frozen=True, slots=True)
class PaymentRecord:
    """One payment. ``sealed`` opens with the practice's data key (``flows/payment_records.py``)."""

    payment_id: str
    practice_id: int
    sealed: str
    recorded_at: datetime


_RECORDS = Table("payment_records", PaymentRecord)


def keep(unit: Writes, record: PaymentRecord) -> None:
    """Keep a record in place of an earlier one of the same payment."""
    end = " ON CONFLICT (payment_id) DO UPDATE SET sealed = excluded.sealed, recorded_at = excluded.recorded_at"
    _RECORDS.insert(unit, record, end=end)


def forget(unit: Writes, practice_id: int, before: datetime) -> None:
    """Delete the records of a practice that were kept before a time."""
    unit.add("DELETE FROM payment_records WHERE practice_id = $1 AND recorded_at < $2", practice_id, before)


async def newest(owner: OwnerDb, practice_id: int) -> str | None:
    """The id of the newest payment of a practice that is recorded."""
    newest_id: str | None = await owner.value(
        "SELECT max(payment_id) FROM payment_records WHERE practice_id = $1", practice_id
    )
    return newest_id


async def listed(owner: OwnerDb, practice_id: int, after: str, limit: int) -> list[PaymentRecord]:
    """The records of a practice by payment, after one."""
    return await _RECORDS.all(
        owner, "WHERE practice_id = $1 AND payment_id > $2 ORDER BY payment_id LIMIT $3", practice_id, after, limit
    )


# ── In the practice's database ──


async def made_after(db: PracticeDb, payment_id: str, limit: int) -> list[str]:
    """The ids of payments after one, in order."""
    return await db.column("SELECT id FROM payments WHERE id > $1 ORDER BY id LIMIT $2", payment_id, limit)


async def changed_since(db: PracticeDb, since: datetime) -> list[str]:
    """The ids of payments of which anything has changed since a moment, in order. It reads the whole tables."""
    return await db.column(
        "SELECT id FROM payments WHERE updated_at >= $1"
        " UNION SELECT payment_id FROM payment_attempts WHERE updated_at >= $1"
        " UNION SELECT payment_id FROM refunds WHERE updated_at >= $1 ORDER BY 1",
        since,
    )


def bring_back(unit: Writes, payment: Payment, attempts: Sequence[Attempt]) -> None:
    """Insert a payment that was lost, with its attempts. ``Duplicate`` if it is there."""
    PAYMENTS.insert(unit, payment)
    for attempt in attempts:
        insert(unit, attempt)


def give_key(unit: Writes, refund_id: str, known: Refund) -> None:
    """Give a refund that the provider reported the idempotency key of the request that had made it."""
    unit.add(
        "UPDATE refunds SET idempotency_key = $2, fingerprint = $3, created_by = $4, origin = 'api' WHERE id = $1",
        refund_id,
        known.idempotency_key,
        known.fingerprint,
        known.created_by,
        expect=1,
    )
