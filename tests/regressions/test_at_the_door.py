"""Data that passed our checks and failed at the provider, or was refused although it is usual.

Source: a second look at issue 18, items 1 and 3, with the kinds of faults-public, cases 1, 3 and 33, on every handler.
"""

from __future__ import annotations

from typing import Any

import pytest

from polytill.providers.contract import CreatePaymentParams
from polytill.providers.flutterwave.v3 import FlutterwaveProvider
from polytill.providers.outcomes import NotSent, Reason
from tests.installation import Installation
from tests.regressions.test_customer_data import kenyan, send, sent
from tests.web.support import Json, Page, Practice, fresh, is_problem, snapshot

__all__ = ["sent"]

pytestmark = pytest.mark.asyncio(loop_scope="module")


# ── Blank is absent ──

OPTIONAL = (
    "paymentMethod",
    "description",
    "reference",
    "providerCode",
    "returnUrl",
    "environment",
    "savedMethod",
    "capture",
    "metadata",
    "methodDetails",
)


async def test_a_blank_optional_field_is_absent(shared: Installation) -> None:
    practice = await Practice.make(shared, "paystack")
    for blank in ("", " ", "\u200b"):
        made = await practice.create(**dict.fromkeys(OPTIONAL, blank))
        assert made.status == 201, (blank, made.body)
        assert (made.body["reference"], made.body["description"], made.body["paymentMethod"]) == (None, None, None)
        assert made.body["environment"] == "sandbox"
    link = {"amount": 500_000, "currency": "NGN", "description": "Visit"}
    made = await practice.call("POST", "/payment-links", {**link, "reference": " ", "expiresAt": "", "environment": ""})
    assert (made.status, made.body["reference"]) == (201, None), made.body
    paid = (await practice.paid())["id"]
    refund = {"amount": 100, "reason": "  "}
    made = await practice.call("POST", f"/payments/{paid}/refunds", refund, idempotency=fresh())
    assert (made.status, made.body["reason"]) == (201, None), made.body


async def test_what_is_required_cannot_be_blank(shared: Installation) -> None:
    practice = await Practice.make(shared, "paystack")
    for blank in ("", "  ", "\u200b\u00a0"):
        body = {"amount": 500_000, "currency": "NGN", "description": blank}
        found = is_problem(await practice.call("POST", "/payment-links", body), 422)
        assert [error["pointer"] for error in found["errors"]] == ["/description"]


# ── Amounts that a provider cannot take ──


@pytest.mark.parametrize(
    ("code", "currency", "amount", "whole", "example"),
    [
        ("mpesa", "KES", 150_050, 150_000, "1.00 KES"),
        ("paypal", "HUF", 500_001, 500_000, "1.00 HUF"),
        ("paypal", "TWD", 50_001, 50_000, "1.00 TWD"),
        ("stripe", "MGA", 1_000_050, 1_000_000, "1.00 MGA"),
    ],
)
async def test_an_amount_that_the_provider_has_not_is_refused_before_anything_is_written(
    shared: Installation, code: str, currency: str, amount: int, whole: int, example: str
) -> None:
    practice = await Practice.make(shared, None, currency)
    config = {"shortCode": "174379", "passkey": "passkey0123456789abcdef"}
    await practice.configure(code, [currency], **({"config": config} if code == "mpesa" else {}))
    customer = {"email": "ada@example.com", **({"phone": "0712345678"} if code == "mpesa" else {})}
    before, key = await snapshot(shared, practice.id), fresh()
    found = is_problem(await practice.create(amount, key, currency=currency, customer=customer), 422)
    assert [error["pointer"] for error in found["errors"]] == ["/amount"]
    assert f"whole multiples of {example}" in found["errors"][0]["detail"]
    link = {"amount": amount, "currency": currency, "description": "Visit"}
    is_problem(await practice.call("POST", "/payment-links", link), 422)
    is_problem(await practice.call("GET", f"/payment-providers/for-currency/{currency}?amount={amount}"), 404)
    assert await snapshot(shared, practice.id) == before
    made = await practice.create(whole, key, currency=currency, customer=customer)
    assert (made.status, made.body["failureReason"]) == (201, None), "the refused request left its key free"


async def test_another_provider_takes_what_one_cannot(shared: Installation) -> None:
    practice = await kenyan(shared, "paystack", "mpesa")
    customer = {"email": "ada@example.com", "phone": "0712345678"}
    made = await practice.create(150_050, currency="KES", customer=customer)
    assert (made.status, made.body["providerCode"]) == (201, "paystack")
    assert len(made.body["attempts"]) == 1


async def test_a_refund_or_capture_of_such_an_amount_is_refused(shared: Installation) -> None:
    practice = await Practice.make(shared, None, "HUF")
    await practice.configure("paypal", ["HUF"])
    payment = await practice.paid(500_000, currency="HUF")
    key = fresh()
    found = is_problem(await practice.refund(payment["id"], 100_001, key), 422)
    assert [error["pointer"] for error in found["errors"]] == ["/amount"]
    assert (await practice.refund(payment["id"], 100_000, key)).status == 201
    held = await practice.create(500_000, currency="HUF", capture="manual")
    await practice.act(held.body["attempts"][0]["reference"])
    await practice.settled(held.body["id"], status="authorized")
    path, key = f"/payments/{held.body['id']}/capture", fresh()
    is_problem(await practice.call("POST", path, {"amount": 100_001}, idempotency=key), 422)
    captured = await practice.call("POST", path, {"amount": 500_000}, idempotency=key)
    assert (captured.status, captured.body["amountCaptured"]) == (200, 500_000), captured.body


# ── Phone numbers ──


@pytest.mark.parametrize(
    ("code", "currency", "more", "landline", "mobile"),
    [
        ("flutterwave_v4", "KES", {}, "+254 20 271 2345", "0712345678"),
        (
            "flutterwave",
            "GHS",
            {"paymentMethod": "mobile_money", "methodDetails": {"provider": "mtn"}},
            "030 212 3456",
            "0244123456",
        ),
        (
            "paystack",
            "GHS",
            {"paymentMethod": "mobile_money", "methodDetails": {"provider": "mtn"}},
            "030 212 3456",
            "0244123456",
        ),
    ],
)
async def test_mobile_money_is_not_asked_of_a_landline(
    shared: Installation, code: str, currency: str, more: Json, landline: str, mobile: str
) -> None:
    practice = await Practice.make(shared, None, currency)
    await practice.configure(code, [currency])
    key, before = fresh(), await snapshot(shared, practice.id)
    customer = {"email": "ada@example.com", "phone": landline}
    found = is_problem(await practice.create(5_000, key, currency=currency, customer=customer, **more), 422)
    assert [error["pointer"] for error in found["errors"]] == ["/customer/phone"]
    assert await snapshot(shared, practice.id) == before
    customer["phone"] = mobile
    made = await practice.create(5_000, key, currency=currency, customer=customer, **more)
    assert (made.status, made.body["failureReason"]) == (201, None), made.body


# ── Corrections ──


async def test_a_corrected_phone_is_charged_whatever_the_details_said(
    shared: Installation, sent: list[tuple[str, Json]], monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = FlutterwaveProvider.create_payment_intent

    async def picky(self: FlutterwaveProvider, params: CreatePaymentParams) -> Any:
        if params.phone is not None and params.phone.digits == "254712000000":
            return NotSent(Reason.validation, "phone_number", "phone_number is not valid")
        return await sound(self, params)

    monkeypatch.setattr(FlutterwaveProvider, "create_payment_intent", picky)
    practice = await kenyan(shared, "flutterwave")
    for known in (None, "0722000111"):  # the number that is typed may be the one that the customer had all along
        sent.clear()
        customer = {"email": "ada@example.com", **({"phone": known} if known else {})}
        made = await practice.create(
            150_000, currency="KES", customer=customer, paymentMethod="mpesa", methodDetails={"phone": "0712000000"}
        )
        assert (made.body["status"], made.body["failureReason"]) == ("failed", "validation")
        path = f"/pay/{made.body['clientToken']}"
        [(_, fields)] = Page((await shared.call("GET", path)).body).forms
        assert "phone" in fields
        assert (await send(practice, f"{path}/retry", phone="0722 000 111")).status == 303
        payment = await practice.payment(made.body["id"])
        assert (payment["status"], payment["customer"]["phone"]) == ("processing", "+254722000111")
        assert [body["phone_number"] for _, body in sent if "phone_number" in body] == ["254722000111"]


# ── Identifiers ──


async def test_our_own_reference_is_on_the_receipt(shared: Installation) -> None:
    """Flutterwave's list and its customer's mail show ``tx_ref``, which is the attempt's id."""
    for code, currency in (("flutterwave", "NGN"), ("paypal", "USD")):
        practice = await Practice.make(shared, None, currency)
        await practice.configure(code, [currency])
        paid = await practice.paid(500_000, currency=currency, reference="INV-2044")
        receipt = Page((await shared.call("GET", f"/pay/{paid['clientToken']}/receipt")).body).text
        [attempt] = paid["attempts"]
        named = [value for kind, values in attempt["identifiers"].items() for value in values if kind != "session"]
        assert [value for value in (*named, attempt["reference"], "INV-2044") if value not in receipt] == []
