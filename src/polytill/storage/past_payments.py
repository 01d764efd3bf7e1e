"""Payments that a host application took before polytill: stored as they are, with their attempt, refunds and entries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from polytill.domain.past_payments import Certainty, Doubt
from polytill.domain.states import Environment
from polytill.storage import attempts, refunds
from polytill.storage.attempts import Attempt
from polytill.storage.columns import Reader, places
from polytill.storage.databases import PracticeDb, Writes
from polytill.storage.payments import PAYMENTS, Payment
from polytill.storage.refunds import Refund
from polytill.storage.units import json_text

# SQL parameters for each list of names of a batch, so that there are few statements of different texts.
AT_ONCE = 100


@dataclass(slots=True)
class Known:
    """What a batch needs to know of a payment that is here: its attempt, and how sure it is (None: made here)."""

    payment_id: str
    attempt_id: str
    config_id: int
    provider_code: str
    environment: Environment
    provider_transaction_id: str | None
    amount: int
    currency: str
    reference: str | None
    idempotency_key: str
    certainty: Certainty | None
    doubts: list[str] | None


_KNOWN = Reader(
    Known,
    "SELECT a.payment_id, a.id AS attempt_id, a.config_id, a.provider_code, a.environment, a.provider_transaction_id,"
    " a.amount, a.currency, p.reference, p.idempotency_key, p.certainty, p.doubts"
    " FROM payment_attempts AS a JOIN payments AS p ON p.id = a.payment_id",
)


async def known(
    db: PracticeDb, attempt_ids: Sequence[str], keys: Sequence[str], transactions: Mapping[int, Sequence[str]]
) -> list[Known]:
    """The attempts that any of these names: our references, keys of past payments, and providers' transaction ids by
    configuration."""
    found = await _of(db, "a.id", attempt_ids) + await _of(db, "p.idempotency_key", keys)
    for config_id, ids in transactions.items():
        found += await _of(db, "a.config_id = $1 AND a.provider_transaction_id", ids, config_id)
    return list({one.attempt_id: one for one in found}.values())


async def _of(db: PracticeDb, column: str, names: Sequence[str], *args: int) -> list[Known]:
    found: list[Known] = []
    for at in range(0, len(names), AT_ONCE):
        part = list(names[at : at + AT_ONCE])
        part += [part[0]] * (AT_ONCE - len(part))
        found += await _KNOWN.all(db, f"WHERE {column} IN ({places(AT_ONCE, len(args) + 1)})", *args, *part)
    return found


async def taken_numbers(db: PracticeDb, numbers: Sequence[str]) -> set[str]:
    """Those of some payment numbers that payments have."""
    rows = await db.column(f"SELECT number FROM payments WHERE number IN ({places(len(numbers))})", *numbers)  # noqa: S608
    return set(rows)


def insert(unit: Writes, payment: Payment, attempt: Attempt, made: Sequence[Refund]) -> None:
    """A past payment with its attempt and its refunds, as they ended. ``Duplicate`` if its key or number is used."""
    PAYMENTS.insert(unit, payment)
    attempts.insert(unit, attempt)
    for refund in made:
        refunds.insert(unit, refund)


@dataclass(frozen=True, slots=True)
class Learned:
    """What is new about a past payment. None: nothing; ``fee`` only if it had none."""

    certainty: Certainty
    doubts: tuple[Doubt, ...]
    transaction_id: str | None = None
    fee: int | None = None
    fee_currency: str | None = None
    response: Any = None


def change(unit: Writes, known: Known, learned: Learned, now: datetime) -> None:
    """Write how sure a past payment is now. ``Stale`` if it was not taken before polytill, or has a fee already."""
    unit.add(
        "UPDATE payments SET certainty = $2, doubts = $3, updated_at = $4, version = version + 1,"
        " provider_transaction_id = COALESCE(provider_transaction_id, $5),"
        " provider_fee = COALESCE(provider_fee, $6), provider_fee_currency = COALESCE(provider_fee_currency, $7),"
        " provider_response = COALESCE($8, provider_response) WHERE id = $1 AND certainty IS NOT NULL"
        " AND (CAST($6 AS BIGINT) IS NULL OR provider_fee IS NULL)",
        known.payment_id,
        learned.certainty,
        json_text(list(learned.doubts)) if learned.doubts else None,
        now,
        learned.transaction_id,
        learned.fee,
        learned.fee_currency,
        json_text(learned.response),
        expect=1,
    )
    if learned.transaction_id is not None:
        unit.add(
            "UPDATE payment_attempts SET provider_transaction_id = COALESCE(provider_transaction_id, $2) WHERE id = $1",
            known.attempt_id,
            learned.transaction_id,
        )


def use_keys(unit: Writes, attempt_id: str, config_id: int, version: int) -> None:
    """Let an attempt be looked up and refunded with these keys: those of its account were entered after it was taken
    over."""
    unit.add(
        "UPDATE payment_attempts SET config_id = $2, credential_version = $3 WHERE id = $1 AND credential_version = 0",
        attempt_id,
        config_id,
        version,
    )
