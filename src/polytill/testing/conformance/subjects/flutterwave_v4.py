"""Flutterwave v4's fixture: an access token before each call, major units as numbers, signed webhooks."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from polytill.domain.money import Money
from polytill.domain.secret import Secret
from polytill.domain.states import Environment
from polytill.providers.contract import ProviderConfig
from polytill.providers.flutterwave.v4 import TOKEN_PATH, FlutterwaveV4Provider
from polytill.testing.conformance.fixture import Delivery, Example, Json, ProviderFixture, Sample, Signature


def _account(letter: str) -> ProviderConfig:
    return ProviderConfig(
        Environment.sandbox,
        "https://developersandbox-api.flutterwave.com",
        f"client{letter}" * 5,
        Secret(f"secret{letter}" * 5),
        webhook_secrets=(Secret(f"hash-of-{letter * 12}"),),
    )


def _charge(status: str, **more: Any) -> Json:
    return {
        "id": "<transaction>",
        "amount": "<amount>",
        "currency": "<Currency>",
        "reference": "<reference>",
        "status": status,
        "processor_response": {"type": "approved", "code": "00"},
        **more,
    }


def _ok(data: Any) -> Json:
    return {"status": "success", "message": "Done", "data": data}


def _found(status: str, **more: Any) -> Sample:
    return Sample(_ok(_charge(status, **more)), to="/charges/")


NOTE = {"type": "payment_instruction", "payment_instruction": {"note": "Transfer to 0123456789, Test Bank"}}
TOKEN = {"access_token": "eyJhbGciOi.a-token", "expires_in": 600, "token_type": "Bearer"}
REFUND = {
    "id": "<refund id>",
    "charge_id": "<transaction>",
    "amount_refunded": "<amount>",
    "status": "completed",
    "meta": {"polytill_refund": "<refund>"},
}


def _failed(status: int, code: str, message: str) -> Sample:
    return Sample(
        {"status": "failed", "error": {"type": "X", "code": code, "message": message}}, status, to="flutterwave"
    )


def _delivery(data: Json, kind: str, number: str) -> Delivery:
    return Delivery({"webhook_id": f"wbk_<transaction>_{number}", "timestamp": 1, "type": kind, "data": data})


CHARGEBACK = {"id": 1, "charge_id": "<transaction>", "amount": "<amount>", "stage": "new", "status": "initiated"}

FLUTTERWAVE_V4 = ProviderFixture(
    handler=FlutterwaveV4Provider,
    accounts=(_account("a"), _account("b")),
    examples=(
        Example(Money(500_050, "NGN"), "5000.50", Decimal("5000.5")),
        Example(Money(7_529, "NGN"), "75.29", "75.29"),
        Example(Money(2_000, "KES"), "20.00", 20),
        Example(Money(1_500, "XOF"), "1500", 1500),
    ),
    amount_field="amount",
    token_at=TOKEN_PATH,
    answers={
        "identified": Sample(
            {
                "id": "<transaction>",
                "order_id": "ord_1",
                "processor_response": {"reference": "NIP-1"},
                "payment_method": {"type": "card", "card": {"last4": "4081"}},
            }
        ),
        "token": Sample(TOKEN, to=TOKEN_PATH),
        "created": Sample(_ok(_charge("pending", next_action=NOTE)), to="/orchestration/direct-charges"),
        "paid": _found("succeeded"),
        "declined": _found("failed", processor_response={"type": "insufficient_funds"}),
        "declined_newly": _found("failed", processor_response={"type": "levitation"}),
        "pending": _found("pending", next_action={"type": "requires_requery"}),
        "strange": _found("levitating"),
        "missing": _failed(404, "10404", "Charge not found"),
        "keys_good": (Sample(TOKEN, to=TOKEN_PATH), Sample(_ok([]), to="/refunds")),
        "keys_bad": Sample({"error": "invalid_client"}, 401, to=TOKEN_PATH),
        "refunded": Sample(_ok(REFUND), 201, to="/refunds"),
        "disputes": Sample(_ok([CHARGEBACK]), to="/chargebacks"),
        "refund_missing": Sample(_ok([{**REFUND, "meta": {"polytill_refund": "<refund>9"}}]), to="/refunds"),
    },
    deliveries={
        "paid": _delivery(_charge("succeeded"), "charge.completed", "1"),
        "later": _delivery(_charge("failed"), "charge.completed", "2"),
        "unrelated": _delivery({"id": "trf_1", "status": "SUCCESSFUL"}, "transfer.disburse", "3"),
    },
    signature=Signature("flutterwave-signature", encoding="base64"),
    transaction_id="chg_9Xk2LmQ7aB",
    refund_id="rfd_01",
)
