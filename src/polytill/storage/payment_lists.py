"""Lists of payments: filters, search and pages, newest first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from polytill.domain.states import Environment
from polytill.storage.databases import PracticeDb
from polytill.storage.payments import PAYMENT_COLUMNS, Payment, payment_of
from polytill.storage.reading import contains


@dataclass(frozen=True, slots=True)
class Filters:
    """What a list of payments is narrowed to. ``before`` is the cursor: (created_at, id) of the last row seen."""

    environment: Environment
    status: str | None = None
    provider_code: str | None = None
    currency: str | None = None
    reference: str | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None
    before: tuple[datetime, str] | None = None
    standing: str | None = None  # one of STANDINGS
    search: str | None = None  # in ids, reference, payer and description


# What has happened to the money of a payment that was paid, beside its status.
STANDINGS = {
    "refunded": "amount_refunded > 0 AND amount_refunded >= amount_captured",
    "part_refunded": "amount_refunded > 0 AND amount_refunded < amount_captured",
    "disputed": "EXISTS (SELECT 1 FROM disputes d WHERE d.payment_id = payments.id AND d.state = 'open')",
}

_SEARCHED = (
    "(id = ${n} OR reference = ${n} OR provider_transaction_id = ${n} OR lower(customer_email) LIKE ${m} ESCAPE '!'"
    " OR lower(customer_name) LIKE ${m} ESCAPE '!' OR lower(description) LIKE ${m} ESCAPE '!')"
)


async def listed(db: PracticeDb, filters: Filters, limit: int) -> list[Payment]:
    """Payments of one environment, newest first."""
    where, args = ["environment = $1"], [filters.environment.value]
    for clause, value in (
        ("status = ", filters.status),
        ("provider_code = ", filters.provider_code),
        ("currency = ", filters.currency),
        ("reference = ", filters.reference),
        ("created_at >= ", filters.created_from),
        ("created_at < ", filters.created_to),
    ):
        if value is not None:
            args.append(value)  # type: ignore[arg-type]
            where.append(f"{clause}${len(args)}")
    if filters.standing is not None:
        where.append(STANDINGS[filters.standing])
    if filters.before is not None:
        args.extend(filters.before)  # type: ignore[arg-type]
        where.append(f"(created_at, id) < (${len(args) - 1}, ${len(args)})")
    if filters.search:
        args.extend((filters.search, contains(filters.search)))
        where.append(_SEARCHED.format(n=len(args) - 1, m=len(args)))
    args.append(limit)  # type: ignore[arg-type]
    rows = await db.fetch(
        f"SELECT {PAYMENT_COLUMNS} FROM payments WHERE {' AND '.join(where)}"  # noqa: S608
        f" ORDER BY created_at DESC, id DESC LIMIT ${len(args)}",
        *args,
    )
    return [payment_of(row) for row in rows]
