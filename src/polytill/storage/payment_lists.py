"""Lists of payments: filters, search and pages, newest first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from polytill.domain.identifiers import identifier_key
from polytill.domain.search import read_query
from polytill.domain.states import Environment
from polytill.domain.text import compact, normal
from polytill.storage.databases import PracticeDb
from polytill.storage.payment_search import Condition, fits, named
from polytill.storage.payments import PAYMENT_COLUMNS, Payment, payment_of


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
    search: str | None = None  # as staff type it: ``domain/search.py``
    number: str | None = None
    customer_email: str | None = None
    provider_transaction_id: str | None = None  # any identifier that a provider has of it


# What has happened to the money of a payment that was paid, beside its status.
STANDINGS = {
    "refunded": "p.amount_refunded > 0 AND p.amount_refunded >= p.amount_captured",
    "part_refunded": "p.amount_refunded > 0 AND p.amount_refunded < p.amount_captured",
    "disputed": "EXISTS (SELECT 1 FROM disputes d WHERE d.payment_id = p.id AND d.state = 'open')",
}
_COLUMNS = ", ".join(f"p.{name.strip()}" for name in PAYMENT_COLUMNS.split(","))


async def listed(db: PracticeDb, filters: Filters, limit: int) -> list[Payment]:
    """Payments of one environment, newest first."""
    condition = Condition(filters.environment.value)
    searched = _searched(filters, condition)
    if searched is None:
        return []
    # The narrow rows come first where something is searched: "CROSS" keeps SQLite to this order.
    source = "payment_search AS s CROSS JOIN payments AS p" if searched else "payments AS p"
    ordered, name = ("s", "s.payment_id") if searched else ("p", "p.id")
    where = [f"{ordered}.environment = $1", *(["p.id = s.payment_id"] if searched else []), *searched]
    for clause, value in (
        ("p.status = ", filters.status),
        ("p.provider_code = ", filters.provider_code),
        ("p.currency = ", filters.currency),
        ("p.number = ", None if filters.number is None else compact(filters.number)),
        (f"{ordered}.created_at >= ", filters.created_from),
        (f"{ordered}.created_at < ", filters.created_to),
    ):
        if value is not None:
            where.append(f"{clause}{condition.add(value)}")
    if filters.standing is not None:
        where.append(STANDINGS[filters.standing])
    if filters.before is not None:
        at, last = (condition.add(value) for value in filters.before)
        where.append(f"({ordered}.created_at, {name}) < ({at}, {last})")
    rows = await db.fetch(
        f"SELECT {_COLUMNS} FROM {source} WHERE {' AND '.join(where)}"  # noqa: S608
        f" ORDER BY {ordered}.created_at DESC, {name} DESC LIMIT {condition.add(limit)}",
        *condition.args,
    )
    return [payment_of(row) for row in rows]


def _searched(filters: Filters, condition: Condition) -> list[str] | None:
    """What the narrow rows must have, in SQL; None where nothing can have it."""
    found = []
    if filters.reference is not None:
        found.append(f"s.reference = {condition.add(normal(filters.reference))}")
    if filters.customer_email is not None:
        found.append(f"s.email = {condition.add(normal(filters.customer_email))}")
    if filters.provider_transaction_id is not None:
        found.append(named(identifier_key(filters.provider_transaction_id), "$1", condition))
    if filters.search and filters.search.strip():
        terms = read_query(filters.search)
        if not terms:
            return None
        found.append(fits(terms, "$1", condition))
    return found
