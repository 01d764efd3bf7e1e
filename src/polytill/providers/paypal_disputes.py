"""PayPal's disputes: what a delivery says of one.

An inquiry is a question between customer and merchant; at the later stages PayPal or a bank decides, and PayPal holds the
funds. A dispute that the customer wins is paid by a refund of the capture.
"""

from __future__ import annotations

from polytill.domain.states import DisputeReason
from polytill.providers import paypal_reading as reading
from polytill.providers.facts import DisputeFact
from polytill.providers.outcomes import JsonObject
from polytill.providers.wire_json import object_in, objects_in, string_in, text_of

# PayPal knows more ends, which do not say whose money it was: a person reads those.
OUTCOMES = {"RESOLVED_BUYER_FAVOUR": "lost", "RESOLVED_SELLER_FAVOUR": "won", "CANCELED_BY_BUYER": "won"}
INQUIRY = "INQUIRY"
R = DisputeReason
# https://developer.paypal.com/docs/api/customer-disputes/v1/
REASONS = {
    "MERCHANDISE_OR_SERVICE_NOT_RECEIVED": R.product_not_received,
    "MERCHANDISE_OR_SERVICE_NOT_AS_DESCRIBED": R.product_unacceptable,
    "UNAUTHORISED": R.fraudulent,
    "CREDIT_NOT_PROCESSED": R.credit_not_processed,
    "DUPLICATE_TRANSACTION": R.duplicate,
    "INCORRECT_AMOUNT": R.incorrect_amount,
    "PAYMENT_BY_OTHER_MEANS": R.paid_by_other_means,
    "CANCELED_RECURRING_BILLING": R.subscription_canceled,
    "PROBLEM_WITH_REMITTANCE": R.bank_cannot_process,
    "OTHER": R.other,
}


def dispute_in(resource: JsonObject) -> DisputeFact | None:
    """A dispute; None where it says nothing that is understood."""
    dispute_id = string_in(resource, "dispute_id")
    about = next(iter(objects_in(resource, "disputed_transactions") or []), {})
    end, status = object_in(resource, "dispute_outcome"), text_of(resource.get("status"))
    outcome, reason = text_of(end.get("outcome_code")), text_of(resource.get("reason"))
    state = OUTCOMES.get(outcome, "open")
    if dispute_id is None or (state == "open" and (outcome not in ("", "NONE") or status == "RESOLVED")):
        return None
    # A lost one may have cost a part of what was disputed.
    given = reading.money_in(end.get("amount_refunded")) if state == "lost" else None
    is_inquiry = text_of(resource.get("dispute_life_cycle_stage")) == INQUIRY
    return DisputeFact(
        state, outcome or status, dispute_id, string_in(about, "custom"), None,
        string_in(about, "seller_transaction_id"), given or reading.money_in(resource.get("dispute_amount")),
        funds_withdrawn=state == "lost", due_at=string_in(resource, "seller_response_due_date"),
        kind="inquiry" if is_inquiry else "chargeback", reason=REASONS.get(reason, R.other).value if reason else None,
        provider_reason=reason or None,
    )  # fmt: skip
