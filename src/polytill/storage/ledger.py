"""The double-entry ledger: append-only lines, whose sum is zero for every entry, environment and currency.

Debits are positive, credits negative. The accounts are in ``domain/ledger.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from polytill.domain.ledger import LedgerFact, provider_of
from polytill.domain.states import Environment
from polytill.storage.columns import Condition
from polytill.storage.databases import PracticeDb, Writes
from polytill.storage.payments import Payment
from polytill.storage.units import moment


@dataclass(frozen=True, slots=True)
class Entry:
    """One booking: ``amount`` minor units from the ``credit`` account to the ``debit`` account. ``at``: its date; None:
    when it is written."""

    fact: LedgerFact
    debit: str
    credit: str
    amount: int
    currency: str
    at: datetime | None = None


def book(
    unit: Writes, entry_id: str, payment: Payment, entry: Entry, now: datetime, refund_id: str | None = None
) -> None:
    """Both lines of an entry about a payment in one statement, so that an entry is never half written.

    The line that is not on the provider's account has the provider and the payment method, so that sums read only that
    line.
    """
    assert entry.amount > 0
    # It never changes after the payment was created, so the unit may read it whatever else it writes.
    method = "COALESCE((SELECT payment_method FROM payments WHERE id = $10), '')"
    unit.add(
        "INSERT INTO ledger_lines (entry_id, practice_id, environment, currency, account, amount, fact, payment_id,"  # noqa: S608
        f" refund_id, created_at, provider_code, method) VALUES ($1, $2, $3, $4, $5, $7, $9, $10, $11, $12, $13, {method}),"
        f" ($1, $2, $3, $4, $6, $8, $9, $10, $11, $12, $14, {method})",
        entry_id,
        payment.practice_id,
        payment.environment,
        entry.currency,
        entry.debit,
        entry.credit,
        entry.amount,
        -entry.amount,
        entry.fact.value,
        payment.id,
        refund_id,
        now,
        provider_of(entry.credit),
        provider_of(entry.debit),
    )


async def balances(
    db: PracticeDb, environment: Environment, since: datetime | None = None, until: datetime | None = None
) -> dict[str, dict[str, int]]:
    """Account balances by currency. With bounds, of what was booked from ``since`` on and before ``until``."""
    where = _booked(environment, since, until)
    rows = await db.fetch(
        f"SELECT currency, account, SUM(amount) AS balance FROM ledger_lines WHERE {where}"  # noqa: S608
        " GROUP BY currency, account ORDER BY currency, account",
        *where.args,
    )
    found: dict[str, dict[str, int]] = {}
    for row in rows:
        found.setdefault(row["currency"], {})[row["account"]] = int(row["balance"])
    return found


async def of_payment(db: PracticeDb, payment_id: str) -> list[dict[str, Any]]:
    """The lines of a payment in booking order."""
    rows = await db.fetch(
        "SELECT entry_id, environment, currency, account, amount, fact, refund_id, created_at FROM ledger_lines"
        " WHERE payment_id = $1 ORDER BY id",
        payment_id,
    )
    return [dict(row) for row in rows]


async def entries(
    db: PracticeDb, environment: Environment, since: datetime | None, until: datetime | None, after_id: int, limit: int
) -> list[dict[str, Any]]:
    """Entries in booking order, after ``after_id``. ``amount`` is the change of the practice's balance in minor units:
    negative if the balance decreased."""
    where = _booked(environment, since, until)
    where.compare("id >", after_id)
    rows = await db.fetch(
        "SELECT id, entry_id, currency, account, fact, provider_code, method, payment_id, refund_id, created_at,"  # noqa: S608
        f" -amount AS amount FROM ledger_lines WHERE {where} AND provider_code <> '' ORDER BY id LIMIT {where.add(limit)}",
        *where.args,
    )
    return [{**dict(row), "created_at": moment(row["created_at"])} for row in rows]


def _booked(environment: Environment, since: datetime | None, until: datetime | None) -> Condition:
    where = Condition()
    for comparison, value in (("environment =", environment), ("created_at >=", since), ("created_at <", until)):
        where.compare(comparison, value)
    return where


async def paid_at(db: PracticeDb, payment_id: str) -> datetime | None:
    """When a payment's money was booked. None if none was."""
    booked = "SELECT MIN(created_at) FROM ledger_lines WHERE payment_id = $1 AND fact IN ('payment', 'opening_payment')"
    return moment(await db.value(booked, payment_id))
