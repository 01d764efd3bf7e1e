"""Flutterwave v4 through the whole house, chosen by configuring it; v3 stays beside it."""

from __future__ import annotations

import pytest

from tests.installation import Installation
from tests.web.support import Practice, books_balance, is_problem

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_pay_by_transfer_and_refund(shared: Installation) -> None:
    practice = await Practice.make(shared, currency="NGN")
    await practice.configure("flutterwave", ["NGN"])
    await practice.configure("flutterwave_v4", ["NGN"], isDefault=True)
    made = await practice.create(123_456)
    assert (made.body["status"], made.body["providerCode"]) == ("requires_action", "flutterwave_v4")
    assert "Transfer to account" in made.body["nextAction"]["instructions"]
    await practice.act(made.body["attempts"][0]["reference"])
    payment = await practice.settled(made.body["id"], status="succeeded", amountCaptured=123_456)
    refund = await practice.refund(payment["id"], 23_456)
    assert refund.status == 201, refund.body
    await practice.settled(payment["id"], amountRefunded=23_456)
    [books] = await practice.books()
    assert (books["captured"], books["refunded"]) == (123_456, 23_456)
    body, headers = practice.delivery()
    is_problem(await practice.deliver(body + b" ", headers), 401, "bad_signature")
    assert (await practice.call("GET", "/webhook-events?status=parked")).body == []


@pytest.mark.parametrize("fault", ["lose_answer", "error_500", "error_500_after"])
async def test_a_lost_answer_is_had_again_under_its_key(shared: Installation, fault: str) -> None:
    practice = await Practice.make(shared, currency="NGN")
    await practice.configure("flutterwave_v4", ["NGN"])
    await practice.fault("create", fault)
    made = await practice.create(5_000)
    if fault != "lose_answer":
        made = await practice.call("POST", f"/payments/{made.body['id']}/confirm")
        assert made.body["status"] == "requires_action"
    reference = made.body["attempts"][0]["reference"]
    await practice.act(reference)
    await practice.settled(made.body["id"], status="succeeded")
    assert [row["captured"] for row in await practice.books()] == [5_000]


async def test_a_declined_charge_ends_the_payment(shared: Installation) -> None:
    practice = await Practice.make(shared, currency="NGN")
    await practice.configure("flutterwave_v4", ["NGN"])
    made = await practice.create(5_000)
    await practice.act(made.body["attempts"][0]["reference"], "decline")
    payment = await practice.settled(made.body["id"], status="failed")
    assert payment["failureReason"] == "insufficient_funds"
    books_balance(await practice.ledger(), await practice.books(), "flutterwave_v4")
