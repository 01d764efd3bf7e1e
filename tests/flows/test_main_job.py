"""The main job end to end over HTTP, the same test on both engines."""

from __future__ import annotations

import asyncio

from tests.installation import Installation


async def test_paystack_payment_webhook_refund(installation: Installation) -> None:
    practice_id, key = await installation.practice("Lagos Clinic", "NGN")
    await installation.configure(practice_id, key, "paystack", ["NGN"])
    base = f"/api/practices/{practice_id}"
    made = await installation.call(
        "POST",
        f"{base}/payments",
        key,
        {"amount": 500_000, "currency": "NGN", "customer": {"email": "ada@example.com"}},
        idempotency="first",
    )
    assert made.status == 201, made.body
    assert made.body["status"] == "requires_action"
    assert made.body["nextAction"]["type"] == "redirect"
    reference = made.body["attempts"][0]["reference"]
    await installation.network("POST", f"/pay/{reference}", {"outcome": "success"})
    payment = made.body
    for _ in range(100):
        payment = (await installation.call("GET", f"{base}/payments/{made.body['id']}", key)).body
        if payment["status"] == "succeeded":
            break
        await asyncio.sleep(0.05)
    assert payment["status"] == "succeeded"
    assert payment["providerFee"] == 17_500
    assert payment["providerTransactionId"]
    back = await installation.call(
        "POST", f"{base}/payments/{made.body['id']}/refunds", key, {"amount": 250_000}, idempotency="half"
    )
    assert back.status == 201, back.body
    for _ in range(100):
        payment = (await installation.call("GET", f"{base}/payments/{made.body['id']}", key)).body
        if payment["amountRefunded"] == 250_000:
            break
        await asyncio.sleep(0.05)
    assert payment["amountRefunded"] == 250_000
    [books] = await installation.network("GET", "/transactions")
    assert (books["captured"], books["refunded"]) == (500_000, 250_000)
