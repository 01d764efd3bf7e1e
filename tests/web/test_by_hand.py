"""Cash over the API: configured without keys, shown to the payer, confirmed by staff with a note."""

from __future__ import annotations

import pytest

from tests.installation import Installation
from tests.web.support import Practice, is_problem

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_cash(shared: Installation) -> None:
    practice = await Practice.make(shared, currency="NGN")
    body = {
        "providerCode": "manual",
        "environment": "sandbox",
        "isEnabled": True,
        "supportedCurrencies": ["NGN"],
        "config": {"instructions": "We are open until six."},
    }
    made = await practice.call("POST", "/payment-providers", body)
    assert made.status == 201, made.body
    tested = await practice.call("POST", "/payment-providers/manual/test")
    assert tested.status == 200, tested.body
    created = await practice.create(500_000, paymentMethod="cash")
    assert created.status == 201, created.body
    payment = created.body
    assert payment["status"] == "requires_action"
    action = payment["nextAction"]
    assert action["type"] == "instructions"
    assert action["instructions"].startswith("We are open until six. Pay NGN 5,000.00 at the desk")
    assert action["offline"]["transferReference"] == payment["number"]
    page = await shared.call("GET", f"/pay/{payment['clientToken']}")
    assert "We are open until six." in page.body
    path = f"/payments/{payment['id']}/confirm-manually"
    is_problem(await practice.call("POST", path, {"amount": 500_000}), 422)
    is_problem(await practice.call("POST", path, {"amount": 1, "note": "x"}), 422)
    for _ in range(2):
        paid = await practice.call("POST", path, {"amount": 500_000, "note": "Two notes and a coin", "proof": "R-1"})
        assert (paid.status, paid.body["status"], paid.body["amountCaptured"]) == (200, "succeeded", 500_000)
    hook = made.body["webhookUrl"].removeprefix(shared.url)
    assert (await shared.call("POST", hook, raw=b'{"paid": true}')).status == 401


async def test_only_what_staff_can_know(shared: Installation) -> None:
    practice = await Practice.make(shared, "paystack")
    payment = (await practice.create(500_000)).body
    path = f"/payments/{payment['id']}/confirm-manually"
    is_problem(await practice.call("POST", path, {"amount": 500_000, "note": "I am sure"}), 409, "not_manual")
    assert (await practice.payment(payment["id"]))["amountCaptured"] == 0
