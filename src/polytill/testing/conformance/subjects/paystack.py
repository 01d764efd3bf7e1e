"""Paystack's fixture: every amount times 100, webhooks signed with the API key."""

from __future__ import annotations

from typing import Any

from polytill.domain.money import Money
from polytill.domain.secret import Secret
from polytill.domain.states import Environment
from polytill.providers.contract import ProviderConfig
from polytill.providers.paystack.handler import PaystackProvider
from polytill.testing.conformance.fixture import Delivery, Example, Json, ProviderFixture, Sample, Signature


def _account(letter: str) -> ProviderConfig:
    key = Secret(f"sk_test_{letter * 40}")
    return ProviderConfig(
        Environment.sandbox, "https://api.paystack.co", f"pk_test_{letter * 40}", key, webhook_secrets=(key,)
    )


def _transaction(status: str, **more: Any) -> Json:
    return {
        "id": "<transaction>",
        "domain": "test",
        "status": status,
        "reference": "<reference>",
        "amount": "<amount>",
        "currency": "<Currency>",
        "fees": 100,
        "metadata": {"payment_id": "p-1"},
        "gateway_response": "Approved",
        "authorization": {"authorization_code": "AUTH_x", "last4": "4081", "reusable": True},
        **more,
    }


def _ok(data: Any) -> Json:
    return {"status": True, "message": "Done", "data": data}


def _answer(status: str, **more: Any) -> Sample:
    return Sample(_ok(_transaction(status, **more)))


KEPT = {
    "authorization_code": "<token>",
    "reusable": True,
    "channel": "card",
    "brand": "visa",
    "last4": "4081",
    "exp_month": "12",
    "exp_year": "2030",
    "signature": "SIG_x",
}
REFUND = {
    "id": "<refund id>",
    "domain": "test",
    "status": "pending",
    "amount": "<amount>",
    "currency": "<Currency>",
    "transaction": {"id": "<transaction>", "reference": "<reference>"},
    "merchant_note": "polytill refund <refund>",
}
KEY_REFUSED = Sample({"status": False, "message": "Invalid key", "code": "invalid_Key"}, 401)

PAYSTACK = ProviderFixture(
    handler=PaystackProvider,
    accounts=(_account("a"), _account("b")),
    examples=(
        Example(Money(500_000, "NGN"), "500000", 500_000),
        Example(Money(12_345, "NGN"), "12345", 12_345),
        Example(Money(1_234, "GHS"), "1234", "1234"),  # numbers can arrive as text
        Example(Money(500, "XOF"), "50000", 50_000),  # no minor unit in ISO 4217, times 100 here nevertheless
        Example(Money(29, "USD"), "29", 29),
    ),
    amount_field="amount",
    answers={
        "identified": Sample({"reference": "<reference>", "receipt_number": "10101"}),
        "created": Sample(
            _ok(
                {
                    "authorization_url": "https://checkout.paystack.com/abc",
                    "access_code": "secret-access-code",
                    "reference": "<reference>",
                }
            )
        ),
        "paid": _answer("success"),
        "declined": _answer("failed", gateway_response="Insufficient Funds"),
        "declined_newly": _answer("failed", gateway_response="Levitation is not allowed"),
        "pending": _answer("ongoing"),
        "strange": _answer("levitating"),
        "missing": Sample(
            {"status": False, "message": "Transaction reference not found.", "code": "transaction_not_found"}, 404
        ),
        "keys_good": Sample(_ok([{"currency": "NGN", "balance": 1}])),
        "keys_bad": KEY_REFUSED,
        "refunded": Sample(_ok(REFUND)),
        "refund_missing": Sample(_ok([{**REFUND, "merchant_note": "polytill refund <refund>9"}])),
        "saved": _answer("success", authorization=KEPT),
        "charged": _answer("success"),
        "charge_declined": _answer("failed", gateway_response="Insufficient Funds"),
        "asked": Sample(_ok({"reference": "<reference>", "status": "send_phone", "display_text": "Please send it"})),
        "continued": _answer("success"),
        "transactions": Sample(_ok([_transaction("success")])),
        "refunds": Sample(_ok([REFUND])),
        "disputes": Sample(
            _ok(
                [
                    {
                        "id": 7,
                        "status": "pending",
                        "currency": "<Currency>",
                        "refund_amount": None,
                        "transaction": {"id": "<transaction>", "reference": "<reference>", "amount": "<amount>"},
                    }
                ]
            )
        ),
        "balance": Sample(_ok([{"currency": "<Currency>", "balance": "<amount>"}])),
    },
    deliveries={
        "paid": Delivery({"event": "charge.success", "data": _transaction("success")}),
        "later": Delivery(
            {
                "event": "refund.pending",
                "data": {
                    "status": "pending",
                    "transaction_reference": "<reference>",
                    "refund_reference": None,
                    "amount": "<amount>",
                    "currency": "<Currency>",
                    "domain": "test",
                },
            }
        ),
        "unrelated": Delivery(
            {
                "event": "transfer.success",
                "data": {
                    "id": 1,
                    "reference": "<reference>",
                    "amount": "<amount>",
                    "status": "success",
                    "domain": "test",
                },
            }
        ),
    },
    signature=Signature("x-paystack-signature", digest="sha512"),
    too_fine=None,  # accepts every currency of the list
)
