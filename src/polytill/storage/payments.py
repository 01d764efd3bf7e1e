"""Payments and their attempts: rows in, rows out. ``flows/payments/settle.py`` decides what a change means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from polytill.domain.past_payments import Certainty
from polytill.domain.states import ATTEMPT_CLOSED, AttemptState, CaptureMode, Environment, PaymentStatus
from polytill.storage.columns import Table, places
from polytill.storage.databases import PracticeDb, Writes
from polytill.storage.reading import read_past, readable
from polytill.storage.units import json_text


@dataclass(slots=True)
class Payment:
    """One payment. Amounts are in minor units of ``currency``. Refunds and disputes are amounts beside ``status``."""

    id: str
    practice_id: int
    environment: Environment
    status: PaymentStatus
    amount: int
    currency: str
    payment_method: str | None
    capture_mode: CaptureMode
    customer_email: str | None
    customer_name: str | None
    customer_phone: str | None
    description: str | None
    reference: str | None
    metadata: dict[str, str] | None
    return_url: str | None
    pinned_provider: bool
    idempotency_key: str
    fingerprint: str
    created_by: str
    expires_at: datetime | None
    created_at: datetime
    updated_at: datetime
    number: str  # for people
    amount_authorized: int = 0
    amount_captured: int = 0
    amount_refunded: int = 0
    refund_reserved: int = 0
    amount_lost: int = 0
    duplicate_refunded: int = 0
    amount_disputed: int = 0
    dispute_version: int = 0
    provider_code: str | None = None
    provider_transaction_id: str | None = None
    provider_response: Any = None
    provider_fee: int | None = None
    provider_fee_currency: str | None = None
    failure_reason: str | None = None
    cancel_reason: str | None = None
    version: int = 0
    save_method: bool = False
    saved_method_id: str | None = None  # charged while the payer is absent
    method_details: dict[str, str] | None = None  # charged directly, without the provider's page
    # Of a payment that was taken before polytill: how sure it is, and the ``Doubt``s if it is uncertain.
    certainty: Certainty | None = None
    doubts: list[str] | None = None
    erasure: str | None = None  # the erasure that erased its customer's personal data


@dataclass(slots=True)
class Change:
    """What one fact changes in a payment row: a status, amounts to add, and columns to set unless they are None."""

    status: PaymentStatus
    add_authorized: int = 0
    add_captured: int = 0
    add_refunded: int = 0
    add_reserved: int = 0
    add_lost: int = 0
    add_duplicate_refunded: int = 0
    add_disputed: int = 0
    dispute_news: bool = False  # of a dispute: any conclusion from the disputes at the same time is Stale
    provider_code: str | None = None
    provider_transaction_id: str | None = None
    provider_response: Any = None
    provider_fee: int | None = None
    provider_fee_currency: str | None = None
    failure_reason: str | None = None
    cancel_reason: str | None = None
    clear_reasons: bool = False


PAYMENTS = Table("payments", Payment)
_NEW = (
    "id, practice_id, environment, status, amount, currency, payment_method, capture_mode, provider_code, customer_email,"
    " customer_name, customer_phone, description, reference, metadata, return_url, pinned_provider, idempotency_key,"
    " fingerprint, created_by, expires_at, created_at, updated_at, save_method, saved_method_id, method_details, number"
)
_CORRECTED = "customer_email, customer_name, customer_phone, method_details"


# ── Writing ──


def insert(unit: Writes, payment: Payment) -> None:
    """A new payment. ``Duplicate`` if its idempotency key is used already."""
    PAYMENTS.insert(unit, payment, _NEW)


def set_customer(unit: Writes, payment: Payment) -> None:
    """The corrected customer of a failed payment, and the details of its direct charge, in their normal forms.
    ``Stale`` if the payment is not failed."""
    PAYMENTS.update(unit, payment, _CORRECTED, "id = $1 AND status = 'failed'", payment.id)


def change(
    unit: Writes,
    payment: Payment,
    change: Change,
    now: datetime,
    version: int | None = None,
    disputes: int | None = None,
) -> None:
    """Apply one fact to a payment that still has the status that was read. ``Stale`` otherwise.

    The fee is set once: if another writer has set it meanwhile, this is ``Stale`` too. With ``version``, nothing else
    about the payment may have changed either; with ``disputes``, nothing about its disputes.
    """
    unit.add(
        "UPDATE payments SET status = $3, amount_authorized = amount_authorized + $4,"
        " amount_captured = amount_captured + $5, amount_refunded = amount_refunded + $6,"
        " refund_reserved = refund_reserved + $7, amount_lost = amount_lost + $8,"
        " duplicate_refunded = duplicate_refunded + $9, amount_disputed = amount_disputed + $19,"
        " dispute_version = dispute_version + $20,"
        " provider_code = COALESCE($10, provider_code),"
        " provider_transaction_id = COALESCE($11, provider_transaction_id),"
        " provider_response = COALESCE($12, provider_response), provider_fee = COALESCE($13, provider_fee),"
        " provider_fee_currency = COALESCE($14, provider_fee_currency), failure_reason = $15, cancel_reason = $16,"
        " updated_at = $17, version = version + 1 WHERE id = $1 AND status = $2"
        " AND (CAST($13 AS BIGINT) IS NULL OR provider_fee IS NULL)"
        " AND version = COALESCE(CAST($18 AS BIGINT), version)"
        " AND dispute_version = COALESCE(CAST($21 AS BIGINT), dispute_version)",
        payment.id, payment.status, change.status, change.add_authorized, change.add_captured,
        change.add_refunded, change.add_reserved, change.add_lost, change.add_duplicate_refunded,
        change.provider_code, change.provider_transaction_id, json_text(change.provider_response),
        change.provider_fee, change.provider_fee_currency,
        *_reasons(payment, change), now, version, change.add_disputed, int(change.dispute_news), disputes, expect=1,
    )  # fmt: skip


def _reasons(payment: Payment, change: Change) -> tuple[str | None, str | None]:
    """Why it failed and why it was canceled, after the change."""
    if change.clear_reasons:
        return None, None
    return change.failure_reason or payment.failure_reason, change.cancel_reason or payment.cancel_reason


def applied(payment: Payment, change: Change, now: datetime) -> Payment:
    """The payment as ``change`` leaves it, without another read."""
    payment.status = change.status
    payment.amount_authorized += change.add_authorized
    payment.amount_captured += change.add_captured
    payment.amount_refunded += change.add_refunded
    payment.refund_reserved += change.add_reserved
    payment.amount_lost += change.add_lost
    payment.duplicate_refunded += change.add_duplicate_refunded
    payment.amount_disputed += change.add_disputed
    payment.dispute_version += change.dispute_news
    for name in (
        "provider_code",
        "provider_transaction_id",
        "provider_response",
        "provider_fee",
        "provider_fee_currency",
    ):
        value = getattr(change, name)
        if value is not None:
            setattr(payment, name, value)
    payment.failure_reason, payment.cancel_reason = _reasons(payment, change)
    payment.updated_at = now
    payment.version += 1
    return payment


def reserve_refund(unit: Writes, payment_id: str, amount: int, now: datetime, with_disputed: bool = False) -> None:
    """Reserve part of the captured amount. ``Stale`` if less is left, or less that is not disputed, unless
    ``with_disputed``. A chargeback that arrives meanwhile counts, too."""
    unit.add(
        "UPDATE payments SET refund_reserved = refund_reserved + $2, updated_at = $3, version = version + 1 WHERE id = $1"
        " AND amount_captured - amount_refunded - refund_reserved - amount_lost"
        " - CASE WHEN $4 THEN 0 ELSE amount_disputed END >= $2",
        payment_id,
        amount,
        now,
        with_disputed,
        expect=1,
    )


def guard(unit: Writes, payment: Payment, now: datetime) -> None:
    """Continue only if nothing about the payment has changed since it was read. ``Stale`` otherwise."""
    unit.add(
        "UPDATE payments SET updated_at = $3, version = version + 1 WHERE id = $1 AND version = $2",
        payment.id,
        payment.version,
        now,
        expect=1,
    )


# ── Reading ──


async def by_id(db: PracticeDb, payment_id: str) -> Payment | None:
    """One payment."""
    return await PAYMENTS.one(db, "WHERE id = $1", payment_id)


async def by_key(db: PracticeDb, idempotency_key: str) -> Payment | None:
    """The payment with this idempotency key."""
    return await PAYMENTS.one(db, "WHERE practice_id = $1 AND idempotency_key = $2", db.practice_id, idempotency_key)


async def pending_among(db: PracticeDb, payment_ids: Sequence[str]) -> set[str]:
    """Those of a few payments whose newest open attempt is under way at its provider."""
    if not payment_ids:
        return set()
    rows = await db.fetch(
        "SELECT payment_id, state FROM payment_attempts"  # noqa: S608
        f" WHERE payment_id IN ({places(len(payment_ids))}) ORDER BY number",
        *payment_ids,
    )
    newest = {row["payment_id"]: row["state"] for row in rows if row["state"] not in ATTEMPT_CLOSED}
    return {payment_id for payment_id, state in newest.items() if state == AttemptState.pending}


async def unpaid_past_expiry(db: PracticeDb, now: datetime, limit: int = 50) -> list[Payment]:
    """Payments past their expiry that still wait for their payer: a number of each provider, those with the oldest
    lookup first, and only when their lookup is due, so that one that cannot be closed delays no other. A payment that
    was paid with another amount than requested waits for staff instead."""
    sql = (
        f"SELECT {PAYMENTS.columns} FROM (SELECT unpaid.*, ROW_NUMBER() OVER"  # noqa: S608
        " (PARTITION BY provider_code ORDER BY asked_next, id) AS place FROM"
        " (SELECT payments.*, (SELECT MIN(next_lookup_at) FROM payment_attempts"
        " WHERE payment_id = payments.id AND state = 'needs_action') AS asked_next FROM payments"
        " WHERE status IN ('requires_action', 'processing') AND expires_at <= $1) AS unpaid"
        " WHERE asked_next <= $1 AND NOT EXISTS (SELECT 1 FROM operator_cases AS c"
        " WHERE c.payment_id = unpaid.id AND c.kind = 'amount_mismatch' AND c.state = 'open')) AS due"
        " WHERE place <= $2 ORDER BY asked_next, id"
    )
    return await read_past(lambda most: db.fetch(sql, now, most), lambda rows: readable(rows, PAYMENTS.read), limit)
