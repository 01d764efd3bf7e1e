"""Search rows: one narrow row per payment, written with it, and read from the newest on.

A search walks these rows and stops at the end of a page. All words are in their search form before they arrive here, so
the database compares bytes and both engines find the same payments.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from polytill.domain.contacts import email_key, shown_email
from polytill.domain.search import END_OF_ID, Leaf, Term, amount_key, search_body
from polytill.domain.states import Environment
from polytill.domain.text import normal
from polytill.storage.columns import Condition, Table, places
from polytill.storage.databases import PracticeDb, Writes
from polytill.storage.payments import Payment


@dataclass(frozen=True, slots=True)
class SearchRow:
    """The searchable text of one payment."""

    payment_id: str
    environment: Environment
    created_at: datetime
    major_units: str
    email: str | None
    reference: str | None
    body: str


_ROWS = Table("payment_search", SearchRow)


def row_of(payment: Payment) -> SearchRow:
    """The search row of a payment. Our ids and those of its provider have their own indexes."""
    body = search_body(
        payment.customer_name,
        payment.customer_email,
        _shown_email(payment),
        payment.description,
        payment.currency,
        codes=(payment.number, payment.reference, payment.id[-END_OF_ID:]),
        phones=(payment.customer_phone,),
    )
    return SearchRow(
        payment.id,
        payment.environment,
        payment.created_at,
        amount_key(payment.amount, payment.currency),
        email_key(payment.customer_email) if payment.customer_email else None,
        normal(payment.reference) if payment.reference else None,
        body,
    )


def _shown_email(payment: Payment) -> str | None:
    """The customer's address with its domain in Unicode, if that differs from the stored form."""
    shown = shown_email(payment.customer_email) if payment.customer_email else None
    return None if shown == payment.customer_email else shown


def insert(unit: Writes, row: SearchRow) -> None:
    """Make a payment findable."""
    _ROWS.insert(unit, row)


def rewrite(unit: Writes, row: SearchRow) -> None:
    """Rewrite the search row of a payment whose customer was corrected."""
    unit.add(
        "UPDATE payment_search SET email = $4, body = $5, block = 0 WHERE environment = $1 AND created_at = $2 AND payment_id = $3",
        row.environment,
        row.created_at,
        row.payment_id,
        row.email,
        row.body,
    )


class Identified(Enum):
    """How rows are compared with the typed identifiers."""

    never = 0  # only the row's own text
    few = 1  # the payments that have one are found once
    many = 2  # each row is checked for one


def fits(terms: tuple[Term, ...], condition: Condition, identified: Identified) -> str:
    """SQL: a row of ``payment_search AS s`` matches everything typed. The first argument is the environment."""
    found = []
    for term in terms:
        readings = (" AND ".join(_leaf(leaf, condition, identified) for leaf in reading) for reading in term)
        found.append("(" + " OR ".join(f"({reading})" for reading in readings) + ")")
    return " AND ".join(found)


def named(key: str, condition: Condition) -> str:
    """SQL: ids of payments with this identifier of their provider, an attempt, a refund or a dispute. The first argument is the
    environment."""
    value = condition.add(key)
    by_provider = (
        "SELECT i.payment_id FROM payment_identifiers AS i"  # noqa: S608
        f" WHERE i.search_key = {value} AND i.environment = $1 UNION "
    )
    return by_provider + _named_otherwise(value)


def _named_otherwise(value: str) -> str:
    return (
        f"SELECT o.id FROM payments AS o WHERE o.id = {value} AND o.environment = $1"  # noqa: S608
        f" UNION SELECT a.payment_id FROM payment_attempts AS a WHERE a.id = {value} AND a.environment = $1"
        f" UNION SELECT r.payment_id FROM refunds AS r WHERE (r.id = {value} OR r.search_key = {value})"
        f" AND r.environment = $1"
        f" UNION SELECT d.payment_id FROM disputes AS d WHERE (d.id = {value} OR d.search_key = {value})"
        f" AND d.environment = $1"
    )


def identifiers_typed(terms: tuple[Term, ...]) -> list[str]:
    """The typed words that can be identifiers, in the form of ``identifier_key``."""
    leaves = [leaf for term in terms for reading in term for leaf in reading]
    return list(dict.fromkeys(key for leaf in leaves for key in leaf.identifiers))


async def are_many(db: PracticeDb, environment: str, keys: list[str], most: int) -> bool:
    """Whether more than ``most`` identifier rows have one of these keys: the last digits of a card, for example."""
    if not keys:
        return False
    rows = await db.fetch(
        f"SELECT 1 FROM payment_identifiers WHERE search_key IN ({places(len(keys), 3)}) AND environment = $1"  # noqa: S608
        " LIMIT $2",
        environment,
        most + 1,
        *keys,
    )
    return len(rows) > most


def _leaf(leaf: Leaf, condition: Condition, identified: Identified) -> str:
    ways = [f"s.body LIKE {condition.add(f'%{part}%')}" for part in leaf.parts]
    ways += [f"s.major_units = {condition.add(amount)}" for amount in leaf.amounts]
    for key in leaf.identifiers if identified is not Identified.never else ():
        if identified is Identified.few:
            ways.append(f"s.payment_id IN ({named(key, condition)})")
        else:
            value = condition.add(key)
            ways.append(
                "EXISTS (SELECT 1 FROM payment_identifiers AS i"  # noqa: S608
                f" WHERE i.payment_id = s.payment_id AND i.search_key = {value})"
            )
            ways.append(f"s.payment_id IN ({_named_otherwise(value)})")
    return "(" + (" OR ".join(ways) or "FALSE") + ")"


async def has_paid(db: PracticeDb, environment: Environment, email: str) -> bool:
    """Whether a customer with this e-mail address has paid before in this environment."""
    found = await db.one(
        "SELECT 1 FROM payment_search s JOIN payments p ON p.id = s.payment_id"
        " WHERE s.email = $1 AND p.environment = $2 AND p.status = 'succeeded' LIMIT 1",
        email_key(email),
        environment,
    )
    return found is not None
