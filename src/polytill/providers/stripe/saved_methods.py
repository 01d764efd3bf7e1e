"""Reads Stripe's saved methods: the one that was saved with a payment.

Sources: docs.stripe.com (save during payment, off-session payments, declines), stripe/openapi. Facts: a method is saved
for a customer of the practice's account, so a customer is created first, under a key of the same payment. Stripe then
offers only methods that can be charged again. A charge names both. If the bank requires the customer, it answers 402
with ``authentication_required``: the intent waits for them or for another method, like any other.
"""

from __future__ import annotations

from polytill.domain.secret import Secret
from polytill.providers.contract import Detachment
from polytill.providers.http import Answer, Answered
from polytill.providers.outcomes import JsonObject, SavedMethod
from polytill.providers.wire_json import object_in, string_in, token_in

# Kinds that can be charged again directly. Others become another method first (iDEAL becomes a SEPA debit).
REUSABLE = frozenset({"card", "link", "sepa_debit", "bacs_debit", "us_bank_account"})


def saved_method(intent: JsonObject) -> SavedMethod | None:
    """The method that was saved with a payment, if its charge describes it; None if none was saved."""
    details = object_in(object_in(intent, "latest_charge"), "payment_method_details")
    token, customer, kind = token_in(intent, "payment_method"), string_in(intent, "customer"), details.get("type")
    if intent.get("setup_future_usage") != "off_session" or token is None or not customer or kind not in REUSABLE:
        return None
    told = object_in(details, kind)
    year, month = told.get("exp_year"), told.get("exp_month")
    return SavedMethod(
        Secret(token),
        kind,
        string_in(told, "brand") or string_in(told, "bank_name"),
        string_in(told, "last4"),
        f"{year:04}-{month:02}" if isinstance(year, int) and isinstance(month, int) else None,
        string_in(told, "fingerprint"),
        customer,
    )


def read_detached(answer: Answered) -> Detachment:
    """The result of POST /v1/payment_methods/{id}/detach. A method that belongs to no customer is already detached."""
    if not isinstance(answer, Answer):
        return Detachment("unknown", answer.code)
    told = object_in(answer.data, "error")
    code = string_in(told, "code") or str(answer.status)
    if answer.status == 200 or "not attached to a customer" in (string_in(told, "message") or ""):
        return Detachment("detached")
    return Detachment("refused" if answer.status in (400, 404) else "unknown", code)
