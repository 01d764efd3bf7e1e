"""Flutterwave v3's direct charges: mobile money on the customer's phone, cards saved with an earlier payment, and the
one-time passwords that either may require.

Sources: Flutterwave/Node-v3 (Jun 2026), developer.flutterwave.com (direct charge and tokenised charge pages). Facts:
nothing here is idempotent, and a reference may be used again, so a charge whose answer was lost is only ever looked up
by its reference. Some answers have no data, only the customer's next action. Card numbers never come here: cards pay on
Flutterwave's page.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from polytill.providers.contract import (
    ChargeSavedMethodParams,
    ContinuePaymentParams,
    CreatePaymentParams,
    CustomerFields,
)
from polytill.providers.flutterwave.reading import DIRECT, major_text, read_charge
from polytill.providers.http import Answer
from polytill.providers.merchant_reference import noted, shown
from polytill.providers.outcomes import Declined, JsonObject, NotSent, Outcome, Reason, Unknown, Wants
from polytill.providers.wire_json import filled, object_in, string_in, text_in

# ── Facts ──

LONGEST_REFERENCE = 100

MOBILE_MONEY = {
    "GHS": "mobile_money_ghana",
    "KES": "mpesa",
    "UGX": "mobile_money_uganda",
    "RWF": "mobile_money_rwanda",
    "XOF": "mobile_money_franco",
}
# Methods for direct charges: by currency and method, the details that Flutterwave requires.
DETAILS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("GHS", "mobile_money"): ("provider",),  # mtn, vodafone, tigo
    ("KES", "mobile_money"): (),
    ("KES", "mpesa"): (),
    ("UGX", "mobile_money"): ("provider",),  # mtn, airtel
    ("RWF", "mobile_money"): (),
    ("XOF", "mobile_money"): ("provider", "country"),  # ISO 3166: CI, SN, BF
}
COUNTRIES = {"NGN": "NG", "GHS": "GH", "KES": "KE", "UGX": "UG", "RWF": "RW", "TZS": "TZ", "ZMW": "ZM", "ZAR": "ZA"}

# The countries of mobile money, by currency.
PHONES: Mapping[str, tuple[str, ...]] = {
    "GHS": ("GH",),
    "KES": ("KE",),
    "UGX": ("UG",),
    "RWF": ("RW",),
    "XOF": ("CI", "SN", "BF", "BJ", "ML", "NE", "TG", "GW"),
}


def charged_fields(currency: str) -> CustomerFields:
    """The customer fields of a direct charge. Every one goes to a phone."""
    return CustomerFields(("phone", "email"), phone_countries=PHONES.get(currency, ()))


def vouchers(currency: str, details: Mapping[str, str]) -> tuple[str, ...]:
    """The voucher, if the network requires one: Vodafone's customers in Ghana dial *110# for it."""
    return ("voucher",) if currency == "GHS" and details.get("provider", "").upper() == "VODAFONE" else ()


# ── Request builders ──


def noted_metadata(params: CreatePaymentParams | ChargeSavedMethodParams) -> dict[str, str]:
    """The host's metadata with the merchant's reference, which Flutterwave's dashboard shows."""
    return noted(dict(params.metadata), shown(params.merchant_reference, LONGEST_REFERENCE))


def charge_of(params: CreatePaymentParams) -> tuple[str, JsonObject] | NotSent:
    """POST /charges: its path and body. ``NotSent`` if the method cannot be charged directly."""
    details, method, currency = params.method_details or {}, params.method or "", params.amount.currency
    needed = DETAILS.get((currency, method))
    if needed is None:
        text = f"Flutterwave charges no {method or 'payment'} directly in {currency}."
        return NotSent(Reason.validation, "method", text)
    phone, needed = params.phone, (*needed, *vouchers(currency, details))
    missing = [name for name in needed if not details.get(name)] + ([] if phone else ["phone"])
    if missing:
        return NotSent(Reason.validation, missing[0], f"Flutterwave needs the {missing[0]} to charge {method}.")
    told = {
        "phone_number": phone.digits if phone else None,
        "network": details.get("provider", "").upper(),
        "country": details.get("country"),
        "voucher": details.get("voucher"),  # Vodafone Ghana's: the customer requests one on the phone
        "order_id": params.reference if currency == "RWF" else None,  # required in RWF, and free to choose
        "fullname": params.customer.name,
    }
    return f"/charges?type={MOBILE_MONEY[currency]}", {
        "tx_ref": params.reference,
        "amount": major_text(params.amount),
        "currency": currency,
        "email": params.customer.email,
        "redirect_url": params.return_url,
        "meta": {**noted_metadata(params), "payment_id": params.payment_id, **DIRECT},
        **filled(told),
    }


def saved_body(params: ChargeSavedMethodParams) -> JsonObject:
    """The body of POST /tokenized-charges. The e-mail address must be the one with which the card was saved."""
    first, _, last = (params.customer.name or "").partition(" ")
    told = {
        "country": COUNTRIES.get(params.amount.currency),
        "narration": params.description or shown(params.merchant_reference, LONGEST_REFERENCE) or "Payment",
        "redirect_url": params.return_url,  # where the customer returns after 3-D Secure
        "first_name": first,
        "last_name": last,
    }
    return {
        "token": params.token.reveal(),
        "email": params.customer.email,
        "tx_ref": params.reference,
        "amount": major_text(params.amount),
        "currency": params.amount.currency,
        "meta": {**noted_metadata(params), "payment_id": params.payment_id, **DIRECT},
        **filled(told),
    }


def password_body(params: ContinuePaymentParams) -> JsonObject | NotSent:
    """The body of POST /validate-charge: the one-time password, and Flutterwave's id of the charge that requires it."""
    password, charge = params.values.get("otp"), params.continuation.get("flw_ref")
    if params.wants is not Wants.otp or not password or not charge:
        text = "Flutterwave takes nothing but a one-time password here, for a charge that it has named."
        return NotSent(Reason.validation, params.wants.value, text)
    kind = params.continuation.get("payment_type")
    return {"otp": password.reveal(), "flw_ref": charge, **({"type": kind} if kind in ("card", "account") else {})}


# ── Response readers ──


def read_validated(answer: Answer, reference: str) -> Outcome:
    """The outcome of a one-time password. A wrong one ends the charge, a slow bank does not: both are then looked up."""
    if 300 <= answer.status < 500 and answer.status not in (401, 403):
        code = text_in(answer.data, "code") or str(answer.status)
        return Unknown(Reason.provider_unavailable, code, "Flutterwave did not take the one-time password.")
    return read_direct(answer, reference)


def read_direct(answer: Answer, reference: str) -> Outcome:
    """The outcome in the answer of a direct charge: the customer's next action, or its end."""
    about = string_in(object_in(answer.data, "data"), "tx_ref")
    if answer.status < 300 and about not in (None, reference):
        return Unknown(Reason.unreadable, detail="Flutterwave answered about another charge.")
    outcome = read_charge(answer)
    # There is no link on which this charge could be tried again.
    return replace(outcome, final=True) if isinstance(outcome, Declined) else outcome
