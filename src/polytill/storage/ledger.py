"""The double-entry ledger: append-only lines, whose sum is zero for every entry, environment and currency.

Debits are positive, credits negative. The accounts are in ``domain/ledger.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from polytill.domain.ledger import LedgerFact, provider_of
from polytill.domain.states import Environment
from polytill.storage.databases import PracticeDb, Writes
from polytill.storage.payments import Payment
from polytill.storage.units import moment


@dataclass(frozen=True, slots=True)
class Entry:
    """One booking: ``amount`` minor units from the ``credit`` account to the ``debit`` account."""

    fact: LedgerFact
    debit: str
    credit: str
    amount: int
    currency: str


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
        payment.environment.value,
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
    args: list[Any] = [environment.value]
    where = "environment = $1"
    for comparison, bound in ((">=", since), ("<", until)):
        if bound is not None:
            args.append(bound)
            where += f" AND created_at {comparison} ${len(args)}"
    rows = await db.fetch(
        f"SELECT currency, account, SUM(amount) AS balance FROM ledger_lines WHERE {where}"  # noqa: S608
        " GROUP BY currency, account ORDER BY currency, account",
        *args,
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
    args: list[Any] = [environment.value, after_id]
    where = "environment = $1 AND id > $2 AND provider_code <> ''"
    for comparison, bound in ((">=", since), ("<", until)):
        if bound is not None:
            args.append(bound)
            where += f" AND created_at {comparison} ${len(args)}"
    args.append(limit)
    rows = await db.fetch(
        "SELECT id, entry_id, currency, account, fact, provider_code, method, payment_id, refund_id, created_at,"  # noqa: S608
        f" -amount AS amount FROM ledger_lines WHERE {where} ORDER BY id LIMIT ${len(args)}",
        *args,
    )
    return [{**dict(row), "created_at": moment(row["created_at"])} for row in rows]


async def paid_at(db: PracticeDb, payment_id: str) -> datetime | None:
    """When a payment's money was booked. None if none was."""
    row = await db.one(
        "SELECT MIN(created_at) AS at FROM ledger_lines WHERE payment_id = $1 AND fact = 'payment'", payment_id
    )
    return moment(row["at"]) if row else None
