"""Answers and webhooks have the members and types of the providers' real samples."""

from __future__ import annotations

from typing import Any

import pytest

from tests.simulator.conftest import FLUTTERWAVE_KEY, PAYSTACK_KEY, PREFIX, STRIPE_KEY, Client, Receiver
from tests.simulator.shapes import differences, sample

MERCHANTS = ("data.metadata", "data.meta", "metadata", "data.object.metadata")


async def _hook(client: Client, provider: str, key: str, receiver: Receiver, **more: Any) -> None:
    body = {"provider": provider, "account": key, "url": receiver.url, "secret": "whsec_secret", **more}
    assert (await client.control("POST", "/webhooks", body)).status == 201


def test_the_comparison_notices() -> None:
    real = {"a": 1, "b": {"c": "x"}, "d": [{"e": True}]}
    assert differences(real, real) == []
    assert differences(real, {"a": "1", "b": {}, "d": []}) == ["a: number became str"]
    assert differences(real, {"a": 1, "b": {"c": "x", "f": 0}, "d": [{"e": 1}]}) == [
        "b.f: too much",
        "d[].e: boolean became number",
    ]
    assert differences(real, {"a": 1, "b": {"c": "x"}}) == ["d: missing"]


async def test_paystack_answers(client: Client) -> None:
    made = await client.paystack(
        "POST", "/transaction/initialize", {"email": "a@example.com", "amount": 40333, "reference": "aband-1"}
    )
    assert differences(sample("paystack/responses/transaction.initialize"), made.json) == []
    unpaid = (await client.paystack("GET", "/transaction/verify/aband-1")).json
    assert differences(sample("paystack/responses/transaction.verify.abandoned"), unpaid) == []
    assert unpaid["data"]["status"] == "abandoned"
    again = await client.paystack(
        "POST", "/transaction/initialize", {"email": "a@example.com", "amount": 40333, "reference": "aband-1"}
    )
    assert (again.status, again.json) == (400, sample("paystack/responses/error.duplicate_reference"))
    none = await client.paystack("GET", "/transaction/verify/none")
    assert (none.status, none.json) == (404, sample("paystack/responses/transaction.verify.not_found"))
    await client.pay("aband-1")
    paid = (await client.paystack("GET", "/transaction/verify/aband-1")).json
    assert differences(sample("paystack/responses/transaction.verify.success"), paid) == []
    refund = await client.paystack("POST", "/refund", {"transaction": "aband-1", "amount": 333})
    assert differences(sample("paystack/responses/refund.create"), refund.json) == []
    await client.control("POST", "/clock", {"advanceSeconds": 5})
    fetched = await client.paystack("GET", f"/refund/{refund.json['data']['id']}")
    assert differences(sample("paystack/responses/refund.fetch.processed"), fetched.json) == []
    listed = await client.paystack("GET", f"/refund?transaction={paid['data']['id']}")
    assert differences(sample("paystack/responses/refund.list"), listed.json, ("meta",)) == []
    balance = await client.paystack("GET", "/balance")
    assert differences(sample("paystack/responses/balance"), balance.json) == []


async def test_paystack_charges(client: Client) -> None:
    await client.new_paystack("first")
    await client.pay("first")
    saved = (await client.paystack("GET", "/transaction/verify/first")).json["data"]["authorization"]
    body = {"email": "ada@example.com", "amount": 90_000, "authorization_code": saved["authorization_code"]}
    again = await client.paystack("POST", "/transaction/charge_authorization", body)
    assert differences(sample("paystack/responses/charge_authorization.success"), again.json) == []
    ussd = await client.paystack(
        "POST", "/charge", {"email": "a@example.com", "amount": 9_000, "ussd": {"type": "737"}}
    )
    assert differences(sample("paystack/responses/charge.ussd.pay_offline"), ussd.json) == []
    pending = await client.paystack("GET", f"/charge/{ussd.json['data']['reference']}")
    assert differences(sample("paystack/responses/charge.pending"), pending.json) == []
    await client.pay(ussd.json["data"]["reference"], "decline")
    failed = await client.paystack("GET", f"/charge/{ussd.json['data']['reference']}")
    assert differences(sample("paystack/responses/charge.check.failed"), failed.json) == []


async def test_paystack_deliveries(client: Client, receiver: Receiver) -> None:
    await _hook(client, "paystack", PAYSTACK_KEY, receiver)
    await client.new_paystack("told")
    await client.pay("told")
    await client.paystack("POST", "/refund", {"transaction": "told", "amount": 5000})
    await client.control("POST", "/clock", {"advanceSeconds": 5})
    refund = (await client.book(reference="told"))[0]["refunds"][0]["id"]
    await client.control("POST", f"/refunds/{refund}/fail")
    await client.control("POST", "/dispute/told", {"outcome": "open"})
    await client.control("POST", "/dispute/told", {"outcome": "lost"})
    # The authentication of a card and the origin of a transfer depend on the channel.
    channel = ("data.log", "data.authorization", "data.customer", "data.metadata", "data.source")
    for event, file in (
        ("charge.success", "charge.success.customer_bears_fee"),
        ("refund.pending", "refund.pending"),
        ("refund.processed", "refund.processed"),
        ("refund.failed", "refund.failed"),
        ("charge.dispute.create", "charge.dispute.create"),
        ("charge.dispute.resolve", "charge.dispute.resolve.auto_accepted"),
    ):
        delivered = (await receiver.of(event))[0].json
        assert differences(sample(f"paystack/webhooks/{file}"), delivered, channel) == [], event


async def test_flutterwave_answers(client: Client) -> None:
    made = await client.flutterwave(
        "POST",
        "/payments",
        {
            "tx_ref": "flw-1",
            "amount": 100,
            "currency": "NGN",
            "redirect_url": "http://127.0.0.1:9/x",
            "customer": {"email": "a@example.com"},
        },
    )
    assert differences(sample("flutterwave/responses/payments.hosted_link"), made.json) == []
    missing = await client.flutterwave("GET", "/transactions/1/verify")
    assert (missing.status, missing.json) == (400, sample("flutterwave/responses/error.not_found"))
    paid = await client.pay("flw-1")
    one = await client.flutterwave("GET", f"/transactions/{paid['id']}/verify")
    assert differences(sample("flutterwave/responses/transactions.verify.success"), one.json) == []
    two = await client.flutterwave("GET", "/transactions/verify_by_reference?tx_ref=flw-1")
    assert differences(sample("flutterwave/responses/transactions.verify_by_reference"), two.json, MERCHANTS) == []
    assert one.json == two.json
    listed = await client.flutterwave("GET", "/transactions")
    real = sample("flutterwave/responses/transactions.list")
    real["data"] = [row for row in real["data"] if row["payment_type"] == "card"]
    assert differences(real, listed.json) == []
    refund = await client.flutterwave("POST", f"/transactions/{paid['id']}/refund", {"amount": 10})
    assert differences(sample("flutterwave/responses/refund.create"), refund.json) == []
    fee = await client.flutterwave("GET", "/transactions/fee?amount=10000&currency=NGN")
    assert fee.json == sample("flutterwave/responses/transactions.fee")
    balance = await client.flutterwave("GET", "/balances/NGN")
    assert differences(sample("flutterwave/responses/balances.ngn"), balance.json) == []


@pytest.mark.parametrize(
    ("kind", "file", "more"),
    [
        ("mpesa", "charge.mpesa.pending", {"currency": "KES"}),
        ("ussd", "charge.ussd.pending", {"currency": "NGN", "account_bank": "057"}),
        ("mobile_money_ghana", "charge.momo_gh.redirect", {"currency": "GHS", "network": "MTN"}),
    ],
)
async def test_flutterwave_charges(client: Client, kind: str, file: str, more: dict[str, str]) -> None:
    body = {"tx_ref": "direct", "amount": 10, "email": "a@example.com", "phone_number": "0540000000", **more}
    made = await client.flutterwave("POST", f"/charges?type={kind}", body)
    assert differences(sample(f"flutterwave/responses/{file}"), made.json) == []
    assert (await client.book(reference="direct"))[0]["status"] == "requires_action"
    assert (await client.pay("direct"))["status"] == "succeeded"


async def test_flutterwave_deliveries(client: Client, receiver: Receiver) -> None:
    await _hook(client, "flutterwave", FLUTTERWAVE_KEY, receiver, refundEvents=True)
    await client.new_flutterwave("told")
    await client.pay("told", "decline")
    await client.pay("told")
    await client.control("POST", "/refund/told", {"amount": 100})
    failed, good = await receiver.of("charge.completed", 2)
    late = ("meta_data", "event.type")
    assert differences(sample("flutterwave/webhooks/charge.completed.failed"), failed.json, late) == []
    assert differences(sample("flutterwave/webhooks/charge.completed.card"), good.json, late) == []
    assert (failed.json["data"]["status"], good.json["data"]["status"]) == ("failed", "successful")
    flat = (await receiver.of("flat"))[0]
    assert differences(sample("flutterwave/webhooks/refund.flat.completed"), flat.json) == []


@pytest.mark.parametrize(
    ("provider", "path", "key"),
    [
        ("stripe", "/balance", "sk_test_invalid000000000000000000"),
        ("paystack", "/balance", "sk_test_invalid000000000000000000"),
        ("flutterwave", "/balances/NGN", "FLWSECK_TEST-invalid0000-X"),
    ],
)
async def test_the_answer_to_a_bad_key(client: Client, provider: str, path: str, key: str) -> None:
    for bad in (key, "nonsense"):
        client.keys[provider] = bad
        reply = await client.api(provider, "GET", path)
        name = "invalid_api_key" if provider == "stripe" else "invalid_key"
        assert reply.status == 401
        assert differences(sample(f"{provider}/responses/error.{name}"), reply.json, more=True) == []
        assert bad not in reply.text
    bare = await client.send("GET", PREFIX[provider] + path)
    assert bare.status == 401


async def test_stripe_objects(client: Client, receiver: Receiver) -> None:
    await _hook(client, "stripe", STRIPE_KEY, receiver)
    await client.paid_intent("shape")
    await client.control("POST", "/refund/shape", {"amount": 1500})
    # The sample was recorded before these members existed, or with another API version.
    newer = (
        "data.object.allowed_payment_method_types",
        "data.object.next_action",
        "data.object.payment_method_options",
    )
    real = sample("stripe/webhooks/payment_intent.succeeded.2026-10-28.endive")
    ours = (await receiver.of("payment_intent.succeeded"))[0].json
    assert differences(real, ours, (*MERCHANTS, *newer, "data.object.automatic_payment_methods")) == []
    charge = (await receiver.of("charge.succeeded"))[0].json
    old = ("data.object.invoice", "data.object.refunds", "data.object.shipping", "data.object.order")
    assert differences(sample("stripe/webhooks/charge.succeeded"), charge, old, more=True) == []
    real = sample("stripe/webhooks/refund.updated.succeeded.partial")
    refund = (await receiver.of("refund.created"))[0].json
    assert differences(real, refund, ("data.object.destination_details",)) == []
    balance = await client.stripe("GET", "/balance")
    assert differences(sample("stripe/responses/balance"), balance.json) == []


async def test_stripe_refusals(client: Client) -> None:
    form = {"amount": "2000", "currency": "usd", "payment_method_types[]": "card"}
    removed = await client.stripe("POST", "/payment_intents", form)
    assert removed.status == 400
    real = sample("stripe/responses/error.payment_method_types_removed")
    assert {name: removed.json["error"][name] for name in real["error"]} == real["error"]
    await client.paid_intent("done")
    done = (await client.book(reference="done"))[0]["id"]
    late = await client.stripe("POST", f"/payment_intents/{done}/cancel")
    real = sample("stripe/responses/error.cancel_succeeded_intent")
    inside = ("error.payment_intent",)
    assert (late.status, differences(real, late.json, inside)) == (400, [])
    form = {"amount": "2000", "currency": "usd", "confirm": "true", "return_url": "http://127.0.0.1:9/"}
    declined = await client.stripe("POST", "/payment_intents", {**form, "payment_method": "pm_card_chargeDeclined"})
    real = sample("stripe/responses/error.card_declined")
    assert (declined.status, differences(real, declined.json, inside, more=True)) == (402, [])
