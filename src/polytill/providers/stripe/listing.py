"""Reads Stripe's listings and balances from JSON."""

from __future__ import annotations

from polytill.domain.money import Money
from polytill.providers.contract import Balance
from polytill.providers.http import Answer
from polytill.providers.outcomes import JsonObject, NotSent, Reason, Unknown
from polytill.providers.stripe.reading import read_error
from polytill.providers.stripe.terms import amount_in
from polytill.providers.wire_json import objects_in, string_in


def read_list(answer: Answer) -> tuple[list[JsonObject], str | None] | NotSent | Unknown:
    """The objects of one page of a listing, and the cursor of the next."""
    items = objects_in(answer.data, "data")
    if answer.status != 200 or items is None:
        return _failure(answer)
    return items, string_in(items[-1], "id") if items and answer.data.get("has_more") else None


def read_balance(answer: Answer) -> Balance | NotSent | Unknown:
    """The balance in an answer of GET /v1/balance."""
    available, pending = objects_in(answer.data, "available"), objects_in(answer.data, "pending")
    if answer.status != 200 or available is None or pending is None:
        return _failure(answer)
    return Balance(_sums(available), _sums(pending))


def _failure(answer: Answer) -> NotSent | Unknown:
    error = read_error(answer)
    return error if isinstance(error, NotSent | Unknown) else Unknown(Reason.unreadable)


def _sums(items: list[JsonObject]) -> tuple[Money, ...]:
    found = (amount_in(item, owed=True) for item in items)
    return tuple(money for money in found if money is not None)
