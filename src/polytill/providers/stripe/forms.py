"""The forms sent to Stripe. Their fields have a fixed order, because a lookup sends the same bytes again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from urllib.parse import urlencode

from polytill.providers.contract import ChargeSavedMethodParams, CreatePaymentParams
from polytill.providers.merchant_reference import noted, shown, statement_suffix
from polytill.providers.stripe.reading import OUR_ATTEMPT, OUR_PAYMENT
from polytill.providers.stripe.terms import wire_amount

LONGEST_TEXT = 500
Form = list[tuple[str, str]]

WALLETS_THROUGH_CARD = {"apple_pay": "card", "google_pay": "card"}
EXPAND: Form = [("expand[]", "latest_charge.balance_transaction")]


def create_form(params: CreatePaymentParams) -> Form:
    """A payment that the customer confirms. Raises ``InvalidAmount`` if Stripe cannot express the amount.

    Stripe rejects ``payment_method_types`` since 2026-09-30; without it the account's own settings decide. Only a
    requested method is named, in the filter of the API version that we pin: a customer who chose a card must not get a
    bank debit that takes days. Older versions know every other field here.
    """
    capture = "manual" if params.capture == "manual" else "automatic"  # not automatic_async: the fee is in the answer
    form: Form = [
        ("amount", str(wire_amount(params.amount))),
        ("currency", params.amount.currency.lower()),
        ("capture_method", capture),
        *optional("description", params.description or shown(params.merchant_reference, LONGEST_TEXT)),
        *optional("receipt_email", params.customer.email),
    ]
    if params.method is not None:
        method = WALLETS_THROUGH_CARD.get(params.method, params.method)
        form.append(("allowed_payment_method_types[0]", method))
        if method == "card":
            form += optional("statement_descriptor_suffix", statement_suffix(params.merchant_reference))
    else:  # shown on statements of cards only; not rejected for any other method
        form += optional("statement_descriptor_suffix", statement_suffix(params.merchant_reference))
    ours = {OUR_PAYMENT: params.payment_id, OUR_ATTEMPT: params.reference}
    return form + metadata({**_noted(params), **ours})


def customer_form(params: CreatePaymentParams) -> Form:
    """The customer for whom the method of a payment is saved."""
    payer = params.customer
    told = [*optional("email", payer.email), *optional("name", payer.name), *optional("phone", payer.phone)]
    return told + metadata({OUR_PAYMENT: params.payment_id})


def keeping(customer_id: str) -> Form:
    """The fields of a payment whose method is saved."""
    return [("customer", customer_id), ("setup_future_usage", "off_session")]


def charge_form(params: ChargeSavedMethodParams) -> Form:
    """A payment that is charged immediately while the customer is absent. Raises ``InvalidAmount`` as above."""
    form: Form = [
        ("amount", str(wire_amount(params.amount))),
        ("currency", params.amount.currency.lower()),
        ("capture_method", "automatic"),
        *optional("customer", params.provider_customer_id),
        ("payment_method", params.token.reveal()),
        ("off_session", "true"),
        ("confirm", "true"),
        *optional("description", params.description or shown(params.merchant_reference, LONGEST_TEXT)),
        *optional("receipt_email", params.customer.email),
        *optional("statement_descriptor_suffix", statement_suffix(params.merchant_reference)),
    ]
    ours = {OUR_PAYMENT: params.payment_id, OUR_ATTEMPT: params.reference}
    return form + metadata({**_noted(params), **ours}) + EXPAND


def _noted(params: CreatePaymentParams | ChargeSavedMethodParams) -> dict[str, str]:
    return noted(dict(params.metadata), shown(params.merchant_reference, LONGEST_TEXT))


def metadata(values: Mapping[str, str]) -> Form:
    """Names and values, sorted, because a database may return the keys in another order. An empty value would mean
    "remove"."""
    return [(f"metadata[{name}]", values[name]) for name in sorted(values) if values[name] != ""]


def optional(name: str, value: str | None) -> Form:
    """The field, if it has a value."""
    return [(name, value)] if value else []


def encoded(form: Iterable[tuple[str, str]]) -> str:
    """The form, encoded for a body or a query."""
    return urlencode(list(form), safe="[]")
