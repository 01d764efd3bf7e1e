"""Stripe's fixture: form bodies, exponents of its own, a lookup that repeats the create or reads the list."""

from __future__ import annotations

from typing import Any

from polytill.domain.money import Money
from polytill.domain.secret import Secret
from polytill.domain.states import Environment
from polytill.providers.contract import ProviderConfig
from polytill.providers.stripe.handler import StripeProvider
from polytill.testing.conformance.fixture import Delivery, Example, Json, ProviderFixture, Sample, Signature


def _account(letter: str) -> ProviderConfig:
    return ProviderConfig(
        Environment.sandbox,
        "https://api.stripe.com",
        f"pk_test_{letter * 24}",
        Secret(f"sk_test_{letter * 24}"),
        webhook_secrets=(Secret(f"whsec_{letter * 32}"),),
    )


def _intent(status: str, **more: Any) -> Json:
    return {
        "id": "<transaction>",
        "object": "payment_intent",
        "amount": "<amount>",
        "currency": "<currency>",
        "status": status,
        "livemode": False,
        "client_secret": "pi_1_secret_of_the_payer",
        "metadata": {"polytill_payment": "p-1", "polytill_attempt": "<reference>"},
        "last_payment_error": None,
        "latest_charge": {"id": "ch_1", "balance_transaction": {"fee": 59, "currency": "usd"}},
        **more,
    }


def _list(*items: Any) -> Sample:
    return Sample({"object": "list", "data": list(items), "has_more": False})


DECLINE = {"type": "card_error", "code": "card_declined", "decline_code": "insufficient_funds", "message": "No."}
NEW_DECLINE = {"type": "card_error", "code": "card_declined", "decline_code": "levitation", "message": "No."}
CARD = {"brand": "visa", "last4": "4242", "exp_month": 8, "exp_year": 2031, "fingerprint": "fp_1"}
KEPT = {
    "customer": "cus_1",
    "payment_method": "<token>",
    "setup_future_usage": "off_session",
    "latest_charge": {"id": "ch_1", "payment_method_details": {"type": "card", "card": CARD}},
}
REFUND = {
    "id": "<refund id>",
    "object": "refund",
    "amount": "<amount>",
    "currency": "<currency>",
    "status": "succeeded",
    "payment_intent": "<transaction>",
    "metadata": {"polytill_refund": "<refund>"},
}
DISPUTE = {
    "id": "dp_1",
    "object": "dispute",
    "amount": "<amount>",
    "currency": "<currency>",
    "status": "needs_response",
    "charge": "ch_1",
    "payment_intent": "<transaction>",
}
BALANCE = {"object": "balance", "livemode": False, "available": [{"amount": "<amount>", "currency": "<currency>"}]}


def _event(kind: str, data: Any, event_id: str) -> Delivery:
    return Delivery(
        {
            "id": event_id,
            "object": "event",
            "type": kind,
            "created": 1,
            "livemode": False,
            "api_version": "2026-10-28.endive",
            "data": {"object": data},
        }
    )


STRIPE = ProviderFixture(
    handler=StripeProvider,
    accounts=(_account("a"), _account("b")),
    examples=(
        Example(Money(12_345, "USD"), "12345", 12_345),
        Example(Money(99, "USD"), "99", 99),
        Example(Money(500, "JPY"), "500", 500),
        Example(Money(5_120, "KWD"), "5120", 5_120),
        Example(Money(5, "UGX"), "500", 500),  # no minor unit in ISO 4217, two decimals here
        Example(Money(700, "MGA"), "7", 7),  # two decimals in ISO 4217, none here
    ),
    amount_field="amount",
    answers={
        "identified": (
            Sample({"id": "cs_test_a1", "object": "checkout.session"}),
            Sample(
                {
                    "id": "<transaction>",
                    "object": "payment_intent",
                    "latest_charge": {
                        "id": "ch_1",
                        "balance_transaction": "txn_1",
                        "receipt_number": "1230-7299",
                        "payment_method_details": {"type": "card", "card": {"last4": "4242"}},
                    },
                }
            ),
        ),
        "created": Sample(_intent("requires_payment_method")),
        "paid": Sample(_intent("succeeded")),
        "declined": Sample(_intent("requires_payment_method", last_payment_error=DECLINE)),
        "declined_newly": Sample(_intent("requires_payment_method", last_payment_error=NEW_DECLINE)),
        "pending": Sample(_intent("processing")),
        "strange": Sample(_intent("levitating")),
        "missing": _list(_intent("succeeded", metadata={"polytill_attempt": "<reference>9"})),
        "keys_good": Sample({**BALANCE, "pending": []}),
        "keys_bad": Sample({"error": {"type": "invalid_request_error", "message": "Invalid API Key provided"}}, 401),
        "refunded": Sample(REFUND),
        "refund_missing": _list({**REFUND, "metadata": {"polytill_refund": "<refund>9"}}),
        "authorized": Sample(_intent("requires_capture", amount_capturable="<amount>")),
        "captured": Sample(_intent("succeeded", amount_received="<amount>")),
        "canceled": Sample(_intent("canceled", cancellation_reason="requested_by_customer")),
        "saved": Sample(_intent("succeeded", **KEPT)),
        "charged": (Sample(_intent("succeeded"), to="POST"), Sample(_intent("succeeded"))),
        "charge_declined": Sample({"error": {**DECLINE, "payment_intent": _intent("requires_payment_method")}}, 402),
        "transactions": _list(_intent("succeeded")),
        "refunds": _list(REFUND),
        "disputes": _list(DISPUTE),
        "balance": Sample({**BALANCE, "pending": []}),
    },
    deliveries={
        "paid": _event("payment_intent.succeeded", _intent("succeeded"), "evt_<transaction>"),
        "later": _event("payment_intent.processing", _intent("processing"), "evt_later"),
        "unrelated": _event("payout.paid", {"id": "po_1", "object": "payout"}, "evt_unrelated"),
    },
    signature=Signature("Stripe-Signature", message="{time}.{body}", value="t={time},v1={signature}", tolerance_s=300),
    too_fine=Money(5_124, "KWD"),
    transaction_id="pi_3conformance0001",
    refund_id="re_3conformance0001",
)
