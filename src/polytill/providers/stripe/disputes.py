"""Reads Stripe's disputes from events and listings.

The ``warning_`` states are inquiries: a bank's question, for which no funds are withdrawn. The same dispute may become
a chargeback later. ``prevented``: the network ended it before it became one.
"""

from __future__ import annotations

from polytill.domain.states import DisputeReason
from polytill.providers.facts import DisputeFact
from polytill.providers.outcomes import JsonObject
from polytill.providers.stripe.terms import amount_in
from polytill.providers.wire_json import expandable_id, moment_text, object_in, objects_in, text_in

STATES = {"lost": "lost", "won": "won", "warning_closed": "closed", "prevented": "closed"}
_REVIEWED = ("needs_response", "under_review")
OPEN = frozenset(f"{stage}{word}" for stage in ("", "warning_", "appeal_") for word in _REVIEWED)
R = DisputeReason
# https://docs.stripe.com/disputes/categories
REASONS = {
    "bank_cannot_process": R.bank_cannot_process,
    "check_returned": R.bank_cannot_process,
    "credit_not_processed": R.credit_not_processed,
    "customer_initiated": R.other,
    "debit_not_authorized": R.fraudulent,
    "duplicate": R.duplicate,
    "fraudulent": R.fraudulent,
    "general": R.other,
    "incorrect_account_details": R.bank_cannot_process,
    "insufficient_funds": R.bank_cannot_process,
    "noncompliant": R.other,
    "product_not_received": R.product_not_received,
    "product_unacceptable": R.product_unacceptable,
    "subscription_canceled": R.subscription_canceled,
    "unrecognized": R.unrecognized,
}


def listed_dispute(data: JsonObject) -> DisputeFact | None:
    """A dispute from a listing; None if it cannot be read."""
    return dispute_fact("", data, None) if expandable_id(data, "id") else None


def dispute_fact(kind: str, data: JsonObject, reference: str | None) -> DisputeFact:
    """A dispute from an event of this kind or from a listing. Its amount may be unreadable."""
    status, reason = text_in(data, "status"), text_in(data, "reason")
    due = object_in(data, "evidence_details").get("due_by")
    return DisputeFact(
        state=STATES.get(status, "open"),
        provider_state=status,
        provider_dispute_id=str(expandable_id(data, "id")),
        payment_reference=reference,
        provider_transaction_id=expandable_id(data, "payment_intent"),
        provider_charge_id=expandable_id(data, "charge"),
        amount=amount_in(data),
        funds_withdrawn=_funds_withdrawn(kind, status, data),
        due_at=moment_text(due) if isinstance(due, int) and 0 < due < 10**11 else None,
        kind="inquiry" if _is_inquiry(status) else "chargeback",
        reason=REASONS.get(reason, R.other).value if reason else None,
        provider_reason=reason or None,
        understood=status in STATES or status in OPEN,
    )


def _funds_withdrawn(kind: str, status: str, data: JsonObject) -> bool:
    if kind.endswith((".funds_withdrawn", ".funds_reinstated")):
        return kind.endswith(".funds_withdrawn")
    if _is_inquiry(status):  # no money has moved
        return False
    moves = objects_in(data, "balance_transactions")
    if status == "lost" or moves is None:
        return status != "won"
    amounts = (move.get("amount") for move in moves)
    return sum(amount for amount in amounts if isinstance(amount, int)) < 0


def _is_inquiry(status: str) -> bool:
    return status.startswith("warning_") or status == "prevented"
