"""The double-entry ledger: append-only lines, whose sum is zero for every entry, environment and currency.

Accounts: ``provider:<code>`` (what a provider holds for the practice), ``payments``, ``refunds``, ``fees``,
``disputes``, ``excess`` (money taken that no payment asked for, until it is given back). Debits are positive, credits negative.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from polytill.domain.states import Environment
from polytill.storage.databases import PracticeDb, Writes
from polytill.storage.units import moment


@dataclass(frozen=True, slots=True)
class Entry:
    """One booked fact: ``amount`` minor units from the ``credit`` account to the ``debit`` account."""

    fact: str
    debit: str
    credit: str
    amount: int
    currency: str


def book(
    unit: Writes, entry_id: str, practice_id: int, environment: Environment, payment_id: str, entry: Entry,
    now: datetime, refund_id: str | None = None,
) -> None:  # fmt: skip
    """Both lines of an entry in one statement, so that no entry is ever half there."""
    assert entry.amount > 0
    unit.add(
        "INSERT INTO ledger_lines (entry_id, practice_id, environment, currency, account, amount, fact, payment_id,"
        " refund_id, created_at) VALUES ($1, $2, $3, $4, $5, $7, $9, $10, $11, $12),"
        " ($1, $2, $3, $4, $6, $8, $9, $10, $11, $12)",
        entry_id, practice_id, environment.value, entry.currency, entry.debit, entry.credit, entry.amount,
        -entry.amount, entry.fact, payment_id, refund_id, now,
    )  # fmt: skip


async def balances(db: PracticeDb, environment: Environment) -> dict[str, dict[str, int]]:
    """Account balances by currency."""
    rows = await db.fetch(
        "SELECT currency, account, SUM(amount) AS balance FROM ledger_lines WHERE environment = $1"
        " GROUP BY currency, account ORDER BY currency, account",
        environment.value,
    )
    found: dict[str, dict[str, int]] = {}
    for row in rows:
        found.setdefault(row["currency"], {})[row["account"]] = int(row["balance"])
    return found


async def of_payment(db: PracticeDb, payment_id: str) -> list[dict[str, Any]]:
    """A payment's lines in the order in which they were booked."""
    rows = await db.fetch(
        "SELECT entry_id, environment, currency, account, amount, fact, refund_id, created_at FROM ledger_lines"
        " WHERE payment_id = $1 ORDER BY id",
        payment_id,
    )
    return [dict(row) for row in rows]


async def paid_at(db: PracticeDb, payment_id: str) -> datetime | None:
    """When a payment's money was booked; None where none was."""
    row = await db.one(
        "SELECT MIN(created_at) AS at FROM ledger_lines WHERE payment_id = $1 AND fact = 'payment'", payment_id
    )
    return moment(row["at"]) if row else None
