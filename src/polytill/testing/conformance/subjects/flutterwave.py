"""Flutterwave v3's fixture: major units, several transactions for one reference, webhooks with a shared secret."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from polytill.domain.money import Money
from polytill.domain.secret import Secret
from polytill.domain.states import Environment
from polytill.providers.contract import ProviderConfig
from polytill.providers.flutterwave.v3 import FlutterwaveProvider
from polytill.testing.conformance.fixture import Delivery, Example, Json, ProviderFixture, Sample, Signature


def _account(letter: str) -> ProviderConfig:
    return ProviderConfig(
        Environment.sandbox,
        "https://api.flutterwave.com/v3",
        f"FLWPUBK_TEST-{letter * 32}-X",
        Secret(f"FLWSECK_TEST-{letter * 32}-X"),
        webhook_secrets=(Secret(f"word-of-{letter * 12}"),),
    )


def _transaction(status: str, **more: Any) -> Json:
    return {
        "id": "<transaction>",
        "tx_ref": "<reference>",
        "flw_ref": "FLW-1",
        "amount": "<amount>",
        "currency": "<Currency>",
        "charged_amount": "<amount>",
        "app_fee": Decimal("1.4"),
        "status": status,
        "processor_response": "Approved",
        "card": {"token": "flw-t1nf-secret", "last_4digits": "4081"},
        "created_at": "2026-11-22T10:00:00.000Z",
        **more,
    }


def _ok(data: Any) -> Json:
    return {"status": "success", "message": "Done", "data": data}


def _answer(status: str, to: str = "", **more: Any) -> Sample:
    return Sample(_ok(_transaction(status, **more)), to=to)


def _found(status: str, **more: Any) -> tuple[Sample, Sample]:
    """The answers of a lookup by id, and by our reference."""
    listed = Sample(_ok([_transaction(status)]), to="/transactions?tx_ref=")
    return _answer(status, to="/verify", **more), listed


CHARGE = "FLW-MOCK-0a1b2c3d"
KEPT = {"token": "<token>", "last_4digits": "2950", "type": "MASTERCARD", "expiry": "09/32"}
REFUND = {
    "id": "<refund id>",
    "tx_id": "<transaction>",
    "amount_refunded": "<amount>",
    "status": "completed",
    "comments": "polytill refund <refund>",
}
NOT_FOUND = Sample({"status": "error", "message": "No transaction was found for this id", "data": None}, 400)
KEY_REFUSED = Sample({"status": "error", "message": "Invalid authorization key", "data": None}, 401)

CHARGEBACK = {
    "id": 1390,
    "amount": "<amount>",
    "flw_ref": "URF_1600800139900_3999635",
    "status": "initiated",
    "stage": "new",
    "transaction_id": "<transaction>",
    "tx_ref": "<reference>",
    "due_date": "2026-09-23T15:59:59.000Z",
}

FLUTTERWAVE = ProviderFixture(
    handler=FlutterwaveProvider,
    accounts=(_account("a"), _account("b")),
    examples=(
        Example(Money(500_050, "NGN"), "5000.50", Decimal("5000.5")),
        Example(Money(7_529, "NGN"), "75.29", "75.29"),
        Example(Money(2_000, "KES"), "20.00", 20),
        Example(Money(1_500, "XOF"), "1500", 1500),
    ),
    amount_field="amount",
    answers={
        "created": Sample(_ok({"link": "https://checkout.flutterwave.com/v3/hosted/pay/abc"})),
        "paid": _found("successful"),
        "declined": _found("failed", processor_response="Insufficient Funds"),
        "declined_newly": _found("failed", processor_response="Levitation is not allowed"),
        "pending": _found("pending"),
        "strange": _answer("levitating"),
        "missing": NOT_FOUND,
        "keys_good": Sample(_ok([{"currency": "NGN", "available_balance": 1}])),
        "keys_bad": KEY_REFUSED,
        "refunded": (_answer("successful", to="/verify"), Sample(_ok(REFUND), to="/refund")),
        "refund_missing": (
            _answer("successful", to="/verify"),
            Sample(
                {
                    **_ok([{**REFUND, "comments": "polytill refund <refund>9"}]),
                    "meta": {"page_info": {"total_pages": 1}},
                },
                to="/refunds",
            ),
        ),
        "saved": _answer("successful", card=KEPT),
        "charged": _answer("successful"),
        "charge_declined": _answer("failed", processor_response="Insufficient Funds"),
        "asked": Sample({**_ok(_transaction("pending", flw_ref=CHARGE)), "meta": {"authorization": {"mode": "otp"}}}),
        "continued": _answer("successful", flw_ref=CHARGE),
        "transactions": Sample(_ok([_transaction("successful")])),
        "refunds": Sample(_ok([REFUND])),
        "disputes": Sample(_ok([CHARGEBACK])),
        "balance": Sample(_ok([{"currency": "<Currency>", "available_balance": "<amount>"}])),
    },
    deliveries={
        "paid": Delivery({"event": "charge.completed", "data": _transaction("successful")}),
        "later": Delivery({"event": "charge.completed", "data": _transaction("failed")}),
        "unrelated": Delivery(
            {
                "event": "transfer.completed",
                "data": {"id": 1, "reference": "<reference>", "amount": "<amount>", "status": "SUCCESSFUL"},
            }
        ),
    },
    signature=Signature("verif-hash", digest=""),
    transaction_id="288200108",
    refund_id="75923",
    continuation={"flw_ref": CHARGE},
)
