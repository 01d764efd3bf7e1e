"""Reads Flutterwave's chargebacks, v3 and v4, from listings.

Flutterwave debits and holds the amount when a chargeback is raised (v4: places a lien on it). The merchant accepts it
or declines it with evidence; then the bank decides. Without an answer by the deadline, it is lost. A chargeback that
the bank raises again at a later stage is a new object with its own id.

Sources: ``GET /v3/chargebacks`` at https://developer.flutterwave.com/reference/endpoints/charge-backs (``page``,
``from``, ``to``; statuses lost, won, initiated, accepted, declined), with an answer at
https://flutterwaveinc.mintlify.app/other-features/chargebacks; what happens to the money at
https://developer.flutterwave.com/docs/payment-operations/chargebacks; ``GET /chargebacks`` of v4 (``page``, ``size`` 10
to 50, ``from``, ``to``) at https://flutterwaveinc.mintlify.app/v4-api-reference/chargebacks/list-chargebacks. Neither
names a currency. The format of webhooks is not documented, so chargebacks are read from the listing. A signed v4
webhook that holds the documented object is read as well.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

from polytill.domain.errors import InvalidAmount
from polytill.domain.money import scaled
from polytill.providers.facts import DisputeFact, Page, read_page
from polytill.providers.flutterwave.reading import money_in
from polytill.providers.outcomes import JsonObject
from polytill.providers.wire_json import id_in, object_in, objects_in, string_in, text_in

# ``declined``: the merchant declined it, and the bank decides. v4 also has ``reversed`` without saying what was
# reversed: the dispute stays open, and the status is logged.
STATES = {
    "new": "open",
    "pending": "open",
    "initiated": "open",
    "declined": "open",
    "accepted": "lost",
    "lost": "lost",
    "won": "won",
}
CONTESTED = "declined"
FIRST_STAGE = "new"
FINEST = 3  # the most decimals of any currency


def read_chargeback(data: JsonObject) -> DisputeFact | None:
    """A chargeback; None if it has no id or does not name its charge."""
    number, charge = id_in(data), _charge(data)
    reference = string_in(data, "tx_ref")
    if number is None or not (charge or reference):
        return None
    status = text_in(data, "status")
    state, currency = STATES.get(status), string_in(data, "currency")
    held = any(step.get("source") for step in objects_in(object_in(data, "meta"), "history") or [])
    return DisputeFact(
        state or "open",
        status,
        number,
        reference,
        charge,
        amount=money_in(data.get("amount"), currency) if currency else None,
        funds_withdrawn=state == "lost" or (state != "won" and (held or status == "initiated")),
        due_at=string_in(data, "due_date") or string_in(data, "due_datetime"),
        provider_reason=string_in(data, "comment"),
        bare_amount=None if currency else bare(data.get("amount")),
        understood=state is not None,
    )


def bare(value: Any) -> tuple[int, int] | None:
    """An amount in major units without a currency, as an integer and its exponent; None if it is not an exact amount."""
    if not isinstance(value, int | str | Decimal) or isinstance(value, bool):
        return None
    for exponent in range(FINEST + 1):
        try:
            number = scaled(value, exponent)
        except InvalidAmount:
            continue
        return (number, exponent) if number >= 0 else None
    return None


def page_of(items: list[JsonObject], following: str | None) -> Page[DisputeFact]:
    """A page of a listing. A chargeback that the merchant contested and the bank raised again is closed without funds
    withdrawn: the later one is about the same money."""
    facts = []
    for item in items:
        fact = read_chargeback(item)
        if fact is not None and fact.provider_state == CONTESTED and _is_raised_again(item, items):
            fact = replace(fact, state="closed", funds_withdrawn=False)
        facts.append(fact)
    return read_page(facts, following)


def _is_raised_again(item: JsonObject, items: list[JsonObject]) -> bool:
    return any(
        other.get("stage") not in (FIRST_STAGE, None)
        and _charge(other) == _charge(item)
        and _number(other) > _number(item)
        for other in items
    )


def _charge(item: JsonObject) -> str | None:
    return id_in(item, "transaction_id") or id_in(item, "charge_id")


def _number(item: JsonObject) -> int:
    number = id_in(item) or ""
    return int(number) if number.isdecimal() and len(number) < 20 else 0
