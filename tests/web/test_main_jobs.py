"""The main job with every provider, and the payer's return visit, which settles a payment without any webhook."""

from __future__ import annotations

import asyncio

import pytest

from tests.installation import Installation
from tests.web.support import CURRENCY, PROVIDERS, Page, Practice, books_balance, until
from tests.wording import to_payer

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("code", PROVIDERS)
async def test_pay_webhook_refund(shared: Installation, code: str) -> None:
    practice = await Practice.make(shared, code)
    made = await practice.create(123_456)
    assert made.status == 201, made.body
    payment = made.body
    assert (payment["status"], payment["providerCode"], payment["environment"]) == ("requires_action", code, "sandbox")
    action = payment["nextAction"]
    if code == "stripe":
        assert action["type"] == "client_token"
        assert action["publicKey"] == practice.keys["publicKey"]
        assert "_secret_" in action["providerToken"]
    else:
        assert action["type"] == "redirect"
        assert action["url"].startswith(shared.simulator.url)
    [attempt] = payment["attempts"]
    await practice.act(attempt["reference"])
    payment = await practice.settled(payment["id"], status="succeeded")
    [books] = await practice.books()
    assert books["reference"] == attempt["reference"]
    assert (payment["amountCaptured"], payment["providerTransactionId"]) == (123_456, books["id"])
    # Stripe's fee is learnt by asking once more; the others say it in the delivery.
    if payment["providerFee"] is None:
        payment = (await practice.call("POST", f"/payments/{payment['id']}/confirm")).body
    assert (payment["providerFee"], payment["providerFeeCurrency"]) == (books["fee"], CURRENCY[code])
    assert payment["nextAction"] is None
    refund = await practice.refund(payment["id"], 61_728)
    assert refund.status == 201, refund.body
    await practice.settled(payment["id"], amountRefunded=61_728)
    [books] = await practice.books()
    assert (books["captured"], books["refunded"]) == (123_456, 61_728)
    books_balance(await practice.ledger(), [books], code)
    events = (await practice.call("GET", "/webhook-events?status=parked")).body
    assert events == []


@pytest.mark.parametrize("code", PROVIDERS)
async def test_decline_then_success_on_the_same_link(shared: Installation, code: str) -> None:
    practice = await Practice.make(shared, code)
    made = await practice.create()
    reference = made.body["attempts"][0]["reference"]
    await practice.act(reference, "decline")
    confirmed = await practice.call("POST", f"/payments/{made.body['id']}/confirm")
    assert (confirmed.status, confirmed.body["status"]) == (200, "requires_action")
    await practice.act(reference)
    payment = await practice.settled(made.body["id"], status="succeeded")
    assert payment["failureReason"] is None
    assert [row["captured"] for row in await practice.books() if row["captured"]] == [500_000]


@pytest.mark.parametrize("code", PROVIDERS)
async def test_return_visit_alone_settles(shared: Installation, code: str) -> None:
    """Every delivery is dropped: the payer's way back is enough, at once."""
    practice = await Practice.make(shared, code)
    await practice.fault("webhook", "drop", count=None)
    made = await practice.create(returnUrl="https://shop.example/thanks?basket=7", reference="INV 1/2")
    await practice.act(made.body["attempts"][0]["reference"])
    assert (await practice.payment(made.body["id"]))["status"] == "requires_action"
    back = await shared.call("GET", f"/pay/{made.body['clientToken']}/return")
    assert back.status == 303
    assert back.headers["Location"] == (
        f"https://shop.example/thanks?basket=7&paymentId={made.body['id']}&status=succeeded&reference=INV%201%2F2"
    )
    payment = await practice.payment(made.body["id"])
    assert (payment["status"], payment["amountCaptured"]) == ("succeeded", 500_000)
    assert (await practice.call("GET", "/webhook-events")).body == []
    books_balance(await practice.ledger(), await practice.books(), code)


@pytest.mark.parametrize("code", PROVIDERS)
async def test_return_visit_before_paying_changes_nothing(shared: Installation, code: str) -> None:
    """The address is forgeable: somebody who opens it without having paid gets a page that asks for payment."""
    practice = await Practice.make(shared, code)
    made = await practice.create()
    token = made.body["clientToken"]
    for query in ("", "?status=success&trxref=x", "?status=successful&tx_ref=x&transaction_id=1"):
        back = await shared.call("GET", f"/pay/{token}/return{query}")
        assert (back.status, back.headers["Location"]) == (303, f"/pay/{token}?back=unfinished")
    page = Page((await shared.call("GET", f"/pay/{token}?back=unfinished")).body)
    assert to_payer("returned.title") in page.text
    assert (await practice.payment(made.body["id"]))["status"] == "requires_action"


@pytest.mark.parametrize("code", PROVIDERS)
async def test_webhook_return_and_confirm_at_once(shared: Installation, code: str) -> None:
    """The three ways to learn of one success, all at the same time: booked once."""
    practice = await Practice.make(shared, code)
    await practice.fault("webhook", "duplicate", count=None)
    made = await practice.create()
    await practice.act(made.body["attempts"][0]["reference"])
    answers = await asyncio.gather(
        *(shared.call("GET", f"/pay/{made.body['clientToken']}/return") for _ in range(3)),
        *(practice.call("POST", f"/payments/{made.body['id']}/confirm") for _ in range(3)),
    )
    assert {found.status for found in answers} == {200, 303}
    await practice.settled(made.body["id"], status="succeeded")
    # The deliveries of this account have all come through.
    await until(
        lambda: shared.network("GET", "/deliveries"),
        lambda rows: all(r["state"] == "delivered" for r in rows if r["url"] == practice.configuration["webhookUrl"]),
    )
    await practice.call("POST", f"/payments/{made.body['id']}/confirm")
    balances = await practice.ledger()
    assert balances[CURRENCY[code]]["payments"] == -500_000
    books_balance(balances, await practice.books(), code)


async def test_every_practice_pays_apart(shared: Installation) -> None:
    """Two practices at one provider under two accounts: neither sees anything of the other."""
    one, two = [await Practice.make(shared, "paystack") for _ in range(2)]
    first, second = await one.paid(100_000), await two.paid(200_000)
    assert [row["captured"] for row in await one.books()] == [100_000]
    assert [row["captured"] for row in await two.books()] == [200_000]
    assert [p["id"] for p in (await one.call("GET", "/payments")).body["data"]] == [first["id"]]
    assert [p["id"] for p in (await two.call("GET", "/payments")).body["data"]] == [second["id"]]
    assert (await two.call("GET", f"/payments/{first['id']}")).status == 404
