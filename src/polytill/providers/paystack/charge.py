"""Paystack's direct charges: /charge and its steps, without Paystack's page, and the charge of a saved card.

Sources: PaystackOSS/openapi (Oct 2025), PaystackOSS/doc-code-snippets (Feb 2026), nanafox/paystack_sdk (live behavior).
Facts: a reference belongs to one charge forever. A wrong PIN or OTP ends the charge, and the customer starts again
under another reference. ``data.status`` names the next step; HTTP 200 with ``failed`` in it is usual. The metadata
marks a direct charge, because nothing else in ``verify`` does. Card numbers never come here: cards pay on Paystack's
page.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from polytill.domain.contacts import Phone, stored_phone
from polytill.domain.secret import Secret
from polytill.providers.contract import (
    ChargeSavedMethodParams,
    ContinuePaymentParams,
    CreatePaymentParams,
    CustomerFields,
    Detachment,
)
from polytill.providers.http import Answer, Answered
from polytill.providers.merchant_reference import noted, shown
from polytill.providers.outcomes import (
    Declined,
    JsonObject,
    NeedsAction,
    NotSent,
    Outcome,
    Pending,
    Reason,
    Unknown,
    Wants,
)
from polytill.providers.paystack.disputes import WIRE_EXPONENT
from polytill.providers.paystack.reading import DIRECT, asked_the_bank, bank_silent, read_charge
from polytill.providers.wire_amounts import to_wire
from polytill.providers.wire_json import object_in, text_in

# ── Facts ──

LONGEST_REFERENCE = 200

# Methods for direct charges: by currency and method, the details that Paystack requires.
DETAILS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("NGN", "ussd"): ("type",),  # the bank's own code: 737, 919, 822, 966
    ("NGN", "bank_transfer"): (),
    ("NGN", "bank"): ("code", "account_number"),
    ("GHS", "mobile_money"): ("provider",),  # mtn, atl, vod
    ("KES", "mobile_money"): ("provider",),  # mpesa, mpesa_offline
}
ALSO_TAKEN = {"bank_transfer": ("account_expires_at",), "mobile_money": ("phone",)}

# For each payment input: where it is sent, and the names of its parts (ours, Paystack's).
STEPS: Mapping[Wants, tuple[str, Mapping[str, str]]] = {
    Wants.pin: ("/charge/submit_pin", {"pin": "pin"}),
    Wants.otp: ("/charge/submit_otp", {"otp": "otp"}),
    Wants.phone: ("/charge/submit_phone", {"phone": "phone"}),
    Wants.birthday: ("/charge/submit_birthday", {"birthday": "birthday"}),
    Wants.address: (
        "/charge/submit_address",
        {"address": "address", "city": "city", "state": "state", "zipCode": "zip_code"},
    ),
}

PHONES = {"GHS": ("GH",), "KES": ("KE",)}  # the countries of mobile money

# ── Request builders ──


def charged_fields(currency: str) -> CustomerFields:
    """The customer fields of a direct charge of mobile money."""
    return CustomerFields(("phone", "email"), phone_countries=PHONES.get(currency, ()))


def wire_phone(phone: Phone, currency: str) -> str:
    """The number as Paystack's own examples write it: ``0551234987`` in Ghana, ``+254710000000`` elsewhere."""
    return phone.national if currency == "GHS" and phone.country_code == "233" else phone.e164


def metadata_of(params: CreatePaymentParams | ChargeSavedMethodParams, marks: Mapping[str, str]) -> JsonObject:
    """The host's metadata with our own ``marks``, and with the merchant's reference, which Paystack's dashboard shows as
    a separate field."""
    told_as = shown(params.merchant_reference, LONGEST_REFERENCE)
    kept: JsonObject = dict(noted(dict(params.metadata), told_as))
    if told_as and "custom_fields" not in kept:
        kept["custom_fields"] = [{"display_name": "Reference", "variable_name": "reference", "value": told_as}]
    return {**kept, "payment_id": params.payment_id, **marks}


def order_of(params: CreatePaymentParams | ChargeSavedMethodParams) -> JsonObject:
    """The fields that begin every request for a payment. Raises ``InvalidAmount`` if the amount is too fine."""
    return {
        "email": params.customer.email,
        "amount": to_wire(params.amount, WIRE_EXPONENT),
        "currency": params.amount.currency,
        "reference": params.reference,
    }


def charge_body(params: CreatePaymentParams) -> JsonObject | NotSent:
    """The body of POST /charge. ``NotSent`` if the method cannot be charged directly. Raises ``InvalidAmount`` as for
    any payment."""
    details, method, currency = params.method_details or {}, params.method or "", params.amount.currency
    needed = DETAILS.get((currency, method))
    if needed is None:
        return NotSent(
            Reason.validation, "method", f"Paystack charges no {method or 'payment'} directly in {currency}."
        )
    taken = (*needed, *ALSO_TAKEN.get(method, ()))
    way = {name: details[name] for name in taken if details.get(name)}
    if method == "mobile_money" and params.phone:
        way["phone"] = wire_phone(params.phone, currency)
    needed = (*needed, "phone") if method == "mobile_money" else needed
    missing = [name for name in needed if name not in way]
    if missing:
        return NotSent(Reason.validation, missing[0], f"Paystack needs the {missing[0]} to charge {method}.")
    return {**order_of(params), method: way, "metadata": metadata_of(params, DIRECT)}


def saved_body(params: ChargeSavedMethodParams) -> JsonObject:
    """The body of POST /transaction/charge_authorization. Raises ``InvalidAmount`` as for any payment."""
    code = params.token.reveal()
    return {"authorization_code": code, **order_of(params), "metadata": metadata_of(params, DIRECT)}


def step(params: ContinuePaymentParams) -> tuple[str, JsonObject] | NotSent:
    """Where the customer's input is sent, and its body."""
    path, names = STEPS[params.wants]
    missing = [ours for ours in names if not params.values.get(ours, Secret(""))]
    if missing:
        return NotSent(Reason.validation, missing[0], f"Paystack asks for the {missing[0]}.")
    values = {theirs: params.values[ours].reveal() for ours, theirs in names.items()}
    if params.wants is Wants.phone and (phone := stored_phone(values["phone"], params.amount.currency)):
        values["phone"] = (
            phone.national if phone.country_code == "234" else phone.digits
        )  # as Paystack's examples write it
    return path, {**values, "reference": params.reference}


# ── Response readers ──


def read_step(answer: Answer, reference: str) -> Outcome:
    """The outcome in the answer of a charge: its next step, or its end."""
    data = object_in(answer.data, "data")
    if answer.status < 400 and text_in(data, "reference") not in ("", reference):
        return Unknown(Reason.unreadable, detail="Paystack answered about another charge.")
    if asked_the_bank(answer):
        return bank_silent(answer)
    outcome = read_charge(answer)
    # There is no link on which this charge could be tried again.
    return replace(outcome, final=True) if isinstance(outcome, Declined) else outcome


def read_progress(outcome: Outcome) -> Outcome:
    """The outcome of ``GET /charge/{reference}`` before a decision: ``pending`` does not invalidate the customer's
    code."""
    if isinstance(outcome, Pending):
        return NeedsAction(None, outcome.amount, outcome.provider_transaction_id, response=outcome.response)
    return outcome


def read_detached(answer: Answered) -> Detachment:
    """The result of POST /customer/authorization/deactivate. An authorization that is inactive is already detached."""
    if not isinstance(answer, Answer):
        return Detachment("unknown", answer.code)
    message = text_in(answer.data, "message").lower()
    if (answer.status == 200 and answer.data.get("status") is True) or "inactive" in message:
        return Detachment("detached")
    code = text_in(answer.data, "code") or str(answer.status)
    return Detachment("refused" if answer.status in (400, 404) else "unknown", code)
