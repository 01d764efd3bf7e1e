"""Reads Paystack's disputes from webhooks and listings.

A lost dispute is paid by a refund of the transaction, which Paystack lists with the dispute's number.
"""

from __future__ import annotations

from polytill.domain.money import Money
from polytill.domain.states import DisputeReason
from polytill.providers.facts import DisputeFact
from polytill.providers.outcomes import JsonObject
from polytill.providers.wire_amounts import money_or_none
from polytill.providers.wire_json import id_in, object_in, string_in, text_in

WIRE_EXPONENT = 2  # times 100 in every currency, also XOF and RWF, which have no minor unit
RESOLUTIONS = {"merchant-accepted": "lost", "auto-accepted": "lost", "declined": "won"}
STATUSES = frozenset({"awaiting-merchant-feedback", "awaiting-bank-feedback", "pending", "resolved", "archived"})
# Archived without a resolution: the dispute has ended, and no funds were withdrawn.
ARCHIVED = "archived"
REASONS = {"fraud": DisputeReason.fraudulent, "other": DisputeReason.other}


def dispute_fact(data: JsonObject) -> DisputeFact:
    """A dispute. Raises ``ValueError`` if it has no id. Its amount and currency may be null. Then the transaction's
    apply and, if that has no currency either, the attempt's."""
    transaction, dispute_id = object_in(data, "transaction"), id_in(data)
    if dispute_id is None:
        raise ValueError("a dispute without an id")
    status, resolution = text_in(data, "status"), text_in(data, "resolution")
    state = RESOLUTIONS.get(resolution) or ("closed" if status == ARCHIVED else "open")
    category = text_in(data, "category").lower()
    amount, bare = _money(data, transaction, state)
    understood = status in STATUSES and (not resolution or resolution in RESOLUTIONS)
    open_as = "needs_response" if understood else resolution or status
    return DisputeFact(
        state=state,
        provider_state=RESOLUTIONS.get(resolution) or (ARCHIVED if state == "closed" else open_as),
        provider_dispute_id=dispute_id,
        # data.transaction_reference is null in real webhooks.
        payment_reference=string_in(transaction, "reference") or string_in(data, "transaction_reference"),
        provider_transaction_id=id_in(transaction),
        amount=amount,
        funds_withdrawn=state == "lost",
        due_at=string_in(data, "dueAt") or string_in(data, "due_at"),
        reason=REASONS[category].value if category in REASONS else None,
        provider_reason=category or None,
        bare_amount=bare,
        understood=understood,
    )


def listed_dispute(data: JsonObject) -> DisputeFact | None:
    """A dispute from a listing; None if it cannot be read or does not name its payment."""
    try:
        fact = dispute_fact(data)
    except ValueError:
        return None
    return fact if fact.payment_reference or fact.provider_transaction_id else None


def dispute_of(refund: JsonObject) -> str | None:
    """The number of the dispute that a refund paid, as a plain value or in an object."""
    return id_in(refund, "dispute") or id_in(object_in(refund, "dispute"))


def _money(data: JsonObject, transaction: JsonObject, state: str) -> tuple[Money | None, tuple[int, int] | None]:
    told = data.get("refund_amount")
    if told is None or (state == "open" and told == 0):
        told = transaction.get("amount")
    currency = string_in(data, "currency") or string_in(transaction, "currency")
    if currency is None:
        return None, (told, WIRE_EXPONENT) if isinstance(told, int) and not isinstance(told, bool) else None
    return money_or_none(told, currency, WIRE_EXPONENT), None
