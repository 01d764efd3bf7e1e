"""Deliveries that are signed rightly and say something odd, through the whole house: nothing is booked by a guess."""

from __future__ import annotations

import json
from typing import Any

import pytest

from polytill.storage import webhook_events
from tests.installation import Installation
from tests.web.support import Json, Practice, books_balance
from tests.web.test_hooks import paid_silently, paystack_signed, silent

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def open_cases(practice: Practice) -> list[str]:
    return [case["kind"] for case in (await practice.call("GET", "/cases?status=open")).body]


async def parked(practice: Practice) -> list[tuple[str, str]]:
    found = (await practice.call("GET", "/webhook-events?status=parked")).body
    return [(event["eventType"], event["reason"]) for event in found]


@pytest.mark.parametrize("change", [{"amount": 400_000}, {"amount": 0}, {"currency": "GHS"}, {"requested_amount": 1}])
async def test_who_pays_something_else_has_not_paid(shared: Installation, change: Json) -> None:
    practice = await silent(shared, "paystack")
    payment_id = await paid_silently(practice)
    event = json.loads(practice.delivery()[0])
    event["data"] |= change
    assert (await practice.deliver(*paystack_signed(practice.keys["secretKey"], event))).status == 200
    payment = await practice.payment(payment_id)
    assert (payment["status"], payment["amountCaptured"]) == ("requires_action", 0)
    assert await open_cases(practice) == ["amount_mismatch"]


@pytest.mark.parametrize("amount", ["-5000", -1, "5_000", None, "NaN"])
async def test_a_refund_of_no_amount_is_put_aside(shared: Installation, amount: Any) -> None:
    practice, payment = await refunded(shared, amount)
    [(kind, reason)] = await parked(practice)
    assert kind == "unreadable"
    assert reason == "unreadable: InvalidAmount"
    assert payment["amountRefunded"] == 0
    [stored] = await webhook_events.listed(await practice.db, state="parked")
    assert stored.body["data"]["refund_reference"] == "R-1", "a person and a later version can read it"


@pytest.mark.parametrize("amount", [0, "0"])
async def test_a_refund_of_nothing_gives_nothing_back(shared: Installation, amount: Any) -> None:
    practice, payment = await refunded(shared, amount)
    assert await parked(practice) == []
    assert {event["status"] for event in (await practice.call("GET", "/webhook-events")).body} == {"applied"}
    assert payment["amountRefunded"] == 0
    assert (await practice.call("GET", f"/payments/{payment['id']}/refunds")).body == []
    books_balance(await practice.ledger(), await practice.books(), "paystack")


async def refunded(house: Installation, amount: Any) -> tuple[Practice, Json]:
    """A payment, after a webhook that reports a refund of this amount."""
    practice = await silent(house, "paystack")
    payment_id = await paid_silently(practice)
    await practice.deliver(*practice.delivery())
    payment = await practice.settled(payment_id, status="succeeded")
    data = {
        "status": "processed",
        "transaction_reference": payment["attempts"][0]["reference"],
        "refund_reference": "R-1",
        "amount": amount,
        "currency": "NGN",
        "domain": "test",
    }
    event = {"event": "refund.processed", "data": data}
    assert (await practice.deliver(*paystack_signed(practice.keys["secretKey"], event))).status == 200
    return practice, await practice.payment(payment_id)


async def test_a_dispute_is_decided_once_and_not_by_a_word_that_nobody_knows(shared: Installation) -> None:
    practice = await silent(shared, "paystack")
    payment_id = await paid_silently(practice)
    await practice.deliver(*practice.delivery())
    payment = await practice.settled(payment_id, status="succeeded")
    about = {"reference": payment["attempts"][0]["reference"], "amount": 500_000, "currency": "NGN"}
    for kind, resolution, lost in (
        ("create", None, 0),
        ("remind", None, 0),
        ("resolve", None, 0),
        ("resolve", "split", 0),
        ("resolve", "merchant-accepted", 500_000),
        ("resolve", "declined", 500_000),
        ("resolve", "split", 500_000),
    ):
        data = {"id": 77, "currency": "NGN", "refund_amount": 500_000, "transaction": about, "resolution": resolution}
        event = {"event": f"charge.dispute.{kind}", "data": {**data, "domain": "test"}}
        assert (await practice.deliver(*paystack_signed(practice.keys["secretKey"], event))).status == 200
        assert (await practice.payment(payment_id))["amountLost"] == lost, (kind, resolution)
    assert await open_cases(practice) == ["dispute_lost"], "the case of the open dispute has ended"
    assert (await practice.ledger())["NGN"]["disputes"] == 500_000
