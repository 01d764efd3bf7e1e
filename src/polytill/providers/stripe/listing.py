"""Reads Stripe's listings and balances from JSON."""

from __future__ import annotations

from contextlib import suppress

from polytill.domain.errors import InvalidAmount
from polytill.domain.money import Money
from polytill.providers.contract import Balance
from polytill.providers.http import Answer
from polytill.providers.outcomes import JsonObject, NotSent, Reason, Unknown
from polytill.providers.stripe.reading import id_of, read_error
from polytill.providers.stripe.terms import wire_exponent
from polytill.providers.wire_amounts import from_wire
from polytill.providers.wire_json import objects_in, text_of


def read_list(answer: Answer) -> tuple[list[JsonObject], str | None] | NotSent | Unknown:
    """The objects of one page of a listing, and the cursor of the next."""
    items = objects_in(answer.data, "data")
    if answer.status != 200 or items is None:
        error = read_error(answer)
        return error if isinstance(error, NotSent | Unknown) else Unknown(Reason.unreadable)
    return items, id_of(items[-1].get("id")) if items and answer.data.get("has_more") else None


def read_balance(answer: Answer) -> Balance | NotSent | Unknown:
    """The balance in an answer of GET /v1/balance."""
    available, pending = objects_in(answer.data, "available"), objects_in(answer.data, "pending")
    if answer.status != 200 or available is None or pending is None:
        error = read_error(answer)
        return error if isinstance(error, NotSent | Unknown) else Unknown(Reason.unreadable)
    return Balance(_moneys(available), _moneys(pending))


def _moneys(items: list[JsonObject]) -> tuple[Money, ...]:
    found = []
    for item in items:
        code = text_of(item.get("currency")).upper()
        with suppress(InvalidAmount):
            found.append(from_wire(item.get("amount"), code, wire_exponent(code), owed=True))
    return tuple(found)
