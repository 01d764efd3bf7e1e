"""Facts that originate at the provider: they are booked, send an event, and open a review case if a person must decide."""

from __future__ import annotations

import copy
import json

import pytest

from polytill.background import sweep
from polytill.flows.reconciliation.payments import reconcile
from tests.installation import Installation
from tests.web.support import CURRENCY, PROVIDERS, Clock, Practice, books_balance, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

A_WEEK_S, AN_HOUR_S = 7 * 86400.0, 3600.0


async def told(house: Installation, payment_id: str) -> list[str]:
    """The kinds of events about a payment, in order."""
    await sweep(house.till.context, everyone=True)
    kinds: list[str] = []
    after = 0
    while (page := (await house.call("GET", f"/api/owner/events?after={after}", house.owner_key)).body)["data"]:
        kinds += [event["type"] for event in page["data"] if event["data"].get("paymentId") == payment_id]
        after = page["nextCursor"]
    return kinds


async def cases(practice: Practice, payment_id: str) -> list[str]:
    """The kinds of open cases about a payment."""
    found = await practice.call("GET", "/cases?status=open")
    return [case["kind"] for case in found.body if case["paymentId"] == payment_id]


async def test_a_second_success_is_a_duplicate_and_is_given_back(shared: Installation) -> None:
    practice = await Practice.make(shared, "paystack")
    await practice.fault("create", "lose_answer")
    made = await practice.create()
    payment_id = made.body["id"]
    found = await practice.call("POST", f"/payments/{payment_id}/confirm")
    first, second = (attempt["reference"] for attempt in found.body["attempts"])
    await practice.act(second)
    await practice.settled(payment_id, status="succeeded")
    await practice.act(first)  # the link that nobody should have
    await until(lambda: cases(practice, payment_id), lambda kinds: kinds == ["duplicate_payment"])
    books_balance(await practice.ledger(), await practice.books(), "paystack")
    assert (await practice.payment(payment_id))["amountCaptured"] == 500_000
    assert (await told(shared, payment_id))[-2:] == ["payment.succeeded", "payment.duplicate_payment"]
    [case] = (await practice.call("GET", "/cases?status=open")).body
    given = await practice.call("POST", f"/cases/{case['id']}/resolve", {"action": "refund_duplicate"})
    assert given.status == 200, given.body
    rows = await until(practice.books, lambda rows: sum(row["refunded"] for row in rows) == 500_000)
    assert {row["reference"]: row["refunded"] for row in rows} == {first: 500_000, second: 0}


@pytest.mark.parametrize("code", ["stripe", "paystack"])
async def test_a_refund_made_in_the_dashboard(shared: Installation, code: str) -> None:
    practice = await Practice.make(shared, code)
    payment = await practice.paid()
    reference = payment["attempts"][-1]["reference"]
    await shared.network(
        "POST", f"/refund/{reference}", {"amount": 120_000, "provider": code, "account": practice.keys["secretKey"]}
    )
    await practice.settled(payment["id"], amountRefunded=120_000)
    [refund] = (await practice.call("GET", f"/payments/{payment['id']}/refunds")).body
    assert (refund["amount"], refund["status"]) == (120_000, "succeeded")
    await practice.call("POST", f"/payments/{payment['id']}/confirm")  # Stripe says its fee only when asked
    books_balance(await practice.ledger(), await practice.books(), code)
    assert "refund.succeeded" in await told(shared, payment["id"])
    assert await cases(practice, payment["id"]) == []


@pytest.mark.parametrize("code", ["stripe", "paystack"])
async def test_a_lost_dispute(shared: Installation, code: str) -> None:
    practice = await Practice.make(shared, code)
    payment = await practice.paid()
    body = {"provider": code, "account": practice.keys["secretKey"]}
    path = f"/dispute/{payment['attempts'][-1]['reference']}"
    await shared.network("POST", path, {**body, "outcome": "open"})
    await until(lambda: cases(practice, payment["id"]), lambda kinds: kinds == ["dispute_open"])
    await shared.network("POST", path, {**body, "outcome": "lost"})
    await practice.settled(payment["id"], amountLost=500_000)
    assert await cases(practice, payment["id"]) == ["dispute_lost"], "the case of the open dispute has ended"
    assert (await practice.ledger())[CURRENCY[code]]["disputes"] == 500_000
    kinds = [
        kind for kind in await told(shared, payment["id"]) if kind != "dispute.updated"
    ]  # Stripe's funds_withdrawn
    assert kinds[-2:] == ["dispute.opened", "dispute.lost"]


async def test_a_late_success_after_expiry(shared: Installation, clock: Clock) -> None:
    practice = await Practice.make(shared, "paystack")
    made = await practice.create()
    clock.advance(A_WEEK_S)
    try:
        await sweep(shared.till.context, everyone=True)
        expired = await practice.payment(made.body["id"])
        assert (expired["status"], expired["cancelReason"]) == ("canceled", "expired")
        await practice.act(made.body["attempts"][0]["reference"])  # Paystack's link cannot be closed
        late = await practice.settled(made.body["id"], status="succeeded")
        assert late["amountCaptured"] == 500_000
        books_balance(await practice.ledger(), await practice.books(), "paystack")
        assert (await told(shared, made.body["id"]))[-2:] == ["payment.expired", "payment.succeeded"]
    finally:
        clock.advance(-A_WEEK_S)


@pytest.mark.parametrize("code", PROVIDERS)
async def test_a_dashboard_refund_that_nobody_told_us_of_is_found_in_the_listing(
    shared: Installation, clock: Clock, code: str
) -> None:
    """Flutterwave delivers refunds only to those who switched that on; and every delivery may be lost."""
    practice = await Practice.make(shared, code)
    payment = await practice.paid()
    made = await practice.refund(payment["id"], 30_000)
    await practice.fault("webhook", "drop", count=None)
    body = {"amount": 120_000, "provider": code, "account": practice.keys["secretKey"]}
    await shared.network("POST", f"/refund/{payment['attempts'][-1]['reference']}", body)
    await until(practice.books, lambda rows: sum(row["refunded"] for row in rows) == 150_000)
    await practice.call("POST", f"/payments/{payment['id']}/confirm")  # Stripe says its fee only when asked
    clock.advance(AN_HOUR_S)
    try:
        for _ in range(2):  # the second time it is known
            await reconcile(shared.till.context, practice.id)
            clock.advance(AN_HOUR_S)
    finally:
        clock.advance(-3 * AN_HOUR_S)
    await practice.settled(payment["id"], amountRefunded=150_000)
    found = (await practice.call("GET", f"/payments/{payment['id']}/refunds")).body
    assert {(refund["amount"], refund["status"]) for refund in found} == {(30_000, "succeeded"), (120_000, "succeeded")}
    assert made.body["id"] in {refund["id"] for refund in found}
    books_balance(await practice.ledger(), await practice.books(), code)


@pytest.mark.parametrize("news", ["delivery", "listing"])
async def test_a_link_that_was_paid_twice(shared: Installation, clock: Clock, news: str) -> None:
    """Flutterwave lets one reference have several transactions: a second one that went through is a duplicate."""
    practice = await Practice.make(shared, "flutterwave")
    payment = await practice.paid()
    body, headers = practice.delivery()
    account = shared.simulator.network.account("flutterwave", practice.keys["secretKey"])
    [first] = account.transactions
    second = copy.deepcopy(first)
    second.wire.number += 500
    second.id = str(second.wire.number)
    account.transactions.append(second)
    flutterwave = shared.simulator.network.providers["flutterwave"]
    flutterwave.attempts(account)[second.id] = second
    flutterwave.attempts_of(account, first.reference).append(second)
    event = json.loads(body)
    event["data"]["id"] = int(second.id)
    if news == "delivery":
        told_twice = json.dumps(event).encode()
        for _ in range(2):
            assert (await practice.deliver(told_twice, headers)).status == 200
        failed = {**event, "data": {**event["data"], "id": int(second.id) + 1}}  # nobody knows that one
        assert (await practice.deliver(json.dumps(failed).encode(), headers)).status == 200
    else:
        clock.advance(AN_HOUR_S)
        try:
            for _ in range(2):
                await reconcile(shared.till.context, practice.id)
                clock.advance(AN_HOUR_S)
        finally:
            clock.advance(-3 * AN_HOUR_S)
    await until(lambda: cases(practice, payment["id"]), lambda kinds: kinds == ["duplicate_payment"])
    now = await practice.payment(payment["id"])
    assert (now["amountCaptured"], now["providerTransactionId"]) == (500_000, first.id)
    assert [a["providerTransactionId"] for a in now["attempts"]] == [first.id, second.id]
    books_balance(await practice.ledger(), await practice.books(), "flutterwave")
    [case] = (await practice.call("GET", "/cases?status=open")).body
    given = await practice.call("POST", f"/cases/{case['id']}/resolve", {"action": "refund_duplicate"})
    assert given.status == 200, given.body
    rows = await until(practice.books, lambda rows: sum(row["refunded"] for row in rows) == 500_000)
    assert {row["id"]: row["refunded"] for row in rows} == {first.id: 0, second.id: 500_000}
    assert (await practice.payment(payment["id"]))["amountRefunded"] == 0
