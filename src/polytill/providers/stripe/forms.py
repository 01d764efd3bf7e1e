"""The forms sent to Stripe. Their fields have a fixed order, because a lookup sends the same bytes again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from urllib.parse import urlencode

from polytill.domain.money import Money
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
    capture = params.capture.value  # never automatic_async: the fee is in the answer
    form = [*_amount(params.amount), ("capture_method", capture), *_told(params)]
    method = WALLETS_THROUGH_CARD.get(params.method, params.method) if params.method is not None else None
    form += optional("allowed_payment_method_types[0]", method)
    if method in (None, "card"):  # shown on statements of cards only; not rejected if the method is not known yet
        form += _suffix(params)
    return form + _metadata(params)


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
    return [
        *_amount(params.amount),
        ("capture_method", "automatic"),
        *optional("customer", params.provider_customer_id),
        ("payment_method", params.token.reveal()),
        ("off_session", "true"),
        ("confirm", "true"),
        *_told(params),
        *_suffix(params),
        *_metadata(params),
        *EXPAND,
    ]


def _amount(amount: Money) -> Form:
    return [("amount", str(wire_amount(amount))), ("currency", amount.currency.lower())]


def _told(params: CreatePaymentParams | ChargeSavedMethodParams) -> Form:
    description = params.description or shown(params.merchant_reference, LONGEST_TEXT)
    return optional("description", description) + optional("receipt_email", params.customer.email)


def _suffix(params: CreatePaymentParams | ChargeSavedMethodParams) -> Form:
    return optional("statement_descriptor_suffix", statement_suffix(params.merchant_reference))


def _metadata(params: CreatePaymentParams | ChargeSavedMethodParams) -> Form:
    hosts = noted(dict(params.metadata), shown(params.merchant_reference, LONGEST_TEXT))
    return metadata({**hosts, OUR_PAYMENT: params.payment_id, OUR_ATTEMPT: params.reference})


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
