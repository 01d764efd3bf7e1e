"""What payments are found by: one narrow row a payment, written with it, and read from the newest on.

A search walks these rows and stops at the end of a page. All words are in their search form before they come here, so
that the database compares bytes and both engines find the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from polytill.domain.contacts import stored_phone
from polytill.domain.search import Leaf, Term, amount_key, search_body
from polytill.domain.states import Environment
from polytill.domain.text import normal
from polytill.storage.databases import Writes
from polytill.storage.payments import Payment


@dataclass(frozen=True, slots=True)
class SearchRow:
    """One payment as it is searched."""

    payment_id: str
    environment: Environment
    created_at: datetime
    major_units: str
    email: str | None
    reference: str | None
    body: str


def row_of(payment: Payment, attempt_ids: Iterable[str] = ()) -> SearchRow:
    """What a payment is found by. What its provider calls it is found by ``payment_identifiers``."""
    # A row of an earlier version has the phone number as it was typed: it is found by both forms.
    phones = dict.fromkeys((payment.customer_phone, stored_phone(payment.customer_phone, payment.currency)))
    body = search_body(
        payment.customer_name, payment.customer_email, payment.description, payment.currency,
        codes=(payment.number, payment.reference, payment.id, *attempt_ids), phones=tuple(phones),
    )  # fmt: skip
    return SearchRow(
        payment.id, payment.environment, payment.created_at, amount_key(payment.amount, payment.currency),
        normal(payment.customer_email) if payment.customer_email else None,
        normal(payment.reference) if payment.reference else None, body,
    )  # fmt: skip


def insert(unit: Writes, row: SearchRow) -> None:
    """Make a payment findable; nothing happens where it is."""
    unit.add(
        "INSERT INTO payment_search (environment, created_at, payment_id, major_units, email, reference, body)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
        row.environment.value, row.created_at, row.payment_id, row.major_units, row.email, row.reference, row.body,
    )  # fmt: skip


def rewrite(unit: Writes, row: SearchRow) -> None:
    """A payment's customer was corrected: it is found by what is right."""
    unit.add(
        "UPDATE payment_search SET email = $4, body = $5 WHERE environment = $1 AND created_at = $2 AND payment_id = $3",
        row.environment.value, row.created_at, row.payment_id, row.email, row.body,
    )  # fmt: skip


class Condition:
    """A condition in SQL that grows, with its arguments."""

    def __init__(self, *args: Any) -> None:
        self.args: list[Any] = list(args)

    def add(self, value: Any) -> str:
        """A further argument; the parameter that stands for it."""
        self.args.append(value)
        return f"${len(self.args)}"


def fits(terms: tuple[Term, ...], environment: str, condition: Condition) -> str:
    """SQL: a row of ``payment_search AS s`` has everything that was typed. ``environment`` is the parameter that holds it."""
    found = []
    for term in terms:
        readings = (" AND ".join(_leaf(leaf, environment, condition) for leaf in reading) for reading in term)
        found.append("(" + " OR ".join(f"({reading})" for reading in readings) + ")")
    return " AND ".join(found)


def named(key: str, environment: str, condition: Condition) -> str:
    """SQL: a row of ``payment_search AS s`` is called so by its provider, or an attempt of it by us."""
    value = condition.add(key)
    return (
        "s.payment_id IN (SELECT i.payment_id FROM payment_identifiers AS i"  # noqa: S608
        f" WHERE i.search_key = {value} AND i.environment = {environment}"
        f" UNION SELECT a.payment_id FROM payment_attempts AS a WHERE a.id = {value} AND a.environment = {environment}"
        f" UNION SELECT r.payment_id FROM refunds AS r WHERE r.id = {value} AND r.environment = {environment})"
    )


def _leaf(leaf: Leaf, environment: str, condition: Condition) -> str:
    ways = [f"s.body LIKE {condition.add(f'%{part}%')}" for part in leaf.parts]
    ways += [f"s.major_units = {condition.add(amount)}" for amount in leaf.amounts]
    ways += [named(key, environment, condition) for key in leaf.identifiers]
    return "(" + " OR ".join(ways) + ")"
