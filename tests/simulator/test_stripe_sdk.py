"""Stripe's official Python SDK works with the simulator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import pytest
import stripe

from polytill.simulator import RunningSimulator
from tests.simulator.conftest import STRIPE_KEY, Client, Receiver

T = TypeVar("T")
BACK = "http://127.0.0.1:9/back"
CARD: Any = {"payment_method": "pm_card_visa", "confirm": True, "return_url": BACK}


def sdk(url: str, key: str = STRIPE_KEY) -> Any:
    """The SDK only prepends the base address to "/v1/...", so it may contain a path."""
    return stripe.StripeClient(
        key, base_addresses={"api": f"{url}/stripe"}, max_network_retries=0, http_client=stripe.RequestsClient()
    )


@pytest.fixture
async def shop(simulator: RunningSimulator) -> AsyncIterator[Any]:
    made = sdk(simulator.url)
    yield made
    made._requestor._client.close()


async def run(act: Callable[[], T]) -> T:
    return await asyncio.to_thread(act)


async def test_it_sends_the_version_that_the_facts_pin(shop: Any) -> None:
    assert stripe.api_version == "2026-10-28.endive"
    balance = await run(shop.v1.balance.retrieve)
    assert balance.livemode is False
    assert balance.available[0].currency == "usd"


async def test_a_payment_from_create_to_refund(shop: Any) -> None:
    made = await run(lambda: shop.v1.payment_intents.create({"amount": 2500, "currency": "gbp"}))
    assert (made.status, made.latest_charge, made.amount_received) == ("requires_payment_method", None, 0)
    paid = await run(lambda: shop.v1.payment_intents.confirm(made.id, {"payment_method": "pm_card_visa"}))
    assert (paid.status, paid.amount_received) == ("succeeded", 2500)
    expand: Any = {"expand": ["latest_charge.balance_transaction"]}
    seen = await run(lambda: shop.v1.payment_intents.retrieve(made.id, expand))
    assert isinstance(seen.latest_charge, stripe.Charge)
    money = seen.latest_charge.balance_transaction
    assert isinstance(money, stripe.BalanceTransaction)
    assert (money.fee, money.net, money.currency) == (103, 2397, "gbp")
    first = await run(lambda: shop.v1.refunds.create({"payment_intent": made.id, "amount": 1000}))
    assert (first.status, first.amount, first.payment_intent) == ("succeeded", 1000, made.id)
    rest = await run(lambda: shop.v1.refunds.create({"charge": seen.latest_charge.id}))
    assert rest.amount == 1500
    listed = await run(lambda: shop.v1.refunds.list({"payment_intent": made.id, "limit": 1}))
    everything = await run(lambda: list(listed.auto_paging_iter()))
    assert [refund.id for refund in everything] == [rest.id, first.id]
    assert (await run(lambda: shop.v1.refunds.retrieve(first.id))).amount == 1000
    charge = await run(lambda: shop.v1.charges.retrieve(seen.latest_charge.id))
    assert (charge.amount_refunded, charge.refunded) == (2500, True)


async def test_refunding_too_much(shop: Any) -> None:
    paid = await run(lambda: shop.v1.payment_intents.create({"amount": 2000, "currency": "usd", **CARD}))
    with pytest.raises(stripe.InvalidRequestError, match="greater than unrefunded amount") as too_much:
        await run(lambda: shop.v1.refunds.create({"payment_intent": paid.id, "amount": 2001}))
    assert too_much.value.http_status == 400
    await run(lambda: shop.v1.refunds.create({"payment_intent": paid.id}))
    with pytest.raises(stripe.InvalidRequestError) as again:
        await run(lambda: shop.v1.refunds.create({"payment_intent": paid.id}))
    assert again.value.code == "charge_already_refunded"


async def test_a_decline_leaves_the_intent_payable(shop: Any) -> None:
    bad: Any = {"payment_method": "pm_card_visa_chargeDeclinedInsufficientFunds"}
    made = await run(lambda: shop.v1.payment_intents.create({"amount": 2000, "currency": "usd"}))
    with pytest.raises(stripe.CardError) as declined:
        await run(lambda: shop.v1.payment_intents.confirm(made.id, bad))
    assert (declined.value.http_status, declined.value.code) == (402, "card_declined")
    error = declined.value.error
    assert error is not None
    assert error.decline_code == "insufficient_funds"
    assert error.payment_intent is not None
    assert error.payment_intent.status == "requires_payment_method"
    seen = await run(lambda: shop.v1.payment_intents.retrieve(made.id))
    assert seen.last_payment_error is not None
    assert seen.last_payment_error.code == "card_declined"
    paid = await run(lambda: shop.v1.payment_intents.confirm(made.id, {"payment_method": "pm_card_visa"}))
    assert (paid.status, paid.last_payment_error) == ("succeeded", None)


async def test_manual_capture_in_part_and_cancelling(shop: Any) -> None:
    held: Any = {"amount": 9000, "currency": "usd", "capture_method": "manual", **CARD}
    one = await run(lambda: shop.v1.payment_intents.create(held))
    assert (one.status, one.amount_capturable, one.amount_received) == ("requires_capture", 9000, 0)
    with pytest.raises(stripe.InvalidRequestError):
        await run(lambda: shop.v1.payment_intents.capture(one.id, {"amount_to_capture": 9001}))
    taken = await run(lambda: shop.v1.payment_intents.capture(one.id, {"amount_to_capture": 4000}))
    assert (taken.status, taken.amount_received, taken.amount_capturable) == ("succeeded", 4000, 0)
    with pytest.raises(stripe.InvalidRequestError) as late:
        await run(lambda: shop.v1.payment_intents.cancel(one.id))
    assert late.value.code == "payment_intent_unexpected_state"
    two = await run(lambda: shop.v1.payment_intents.create(held))
    gone = await run(lambda: shop.v1.payment_intents.cancel(two.id, {"cancellation_reason": "duplicate"}))
    assert (gone.status, gone.cancellation_reason) == ("canceled", "duplicate")
    assert gone.canceled_at is not None


async def test_authentication_and_off_session(shop: Any, client: Client) -> None:
    form: Any = {"amount": 2000, "currency": "eur", **CARD, "payment_method": "pm_card_authenticationRequired"}
    asked = await run(lambda: shop.v1.payment_intents.create({**form, "metadata": {"reference": "three-d"}}))
    assert asked.status == "requires_action"
    assert asked.next_action is not None
    assert asked.next_action.redirect_to_url is not None
    assert asked.next_action.redirect_to_url.return_url == BACK
    assert (await client.pay("three-d"))["status"] == "succeeded"
    away = {key: value for key, value in form.items() if key != "return_url"}
    with pytest.raises(stripe.CardError) as declined:
        await run(lambda: shop.v1.payment_intents.create({**away, "off_session": True}))
    assert declined.value.code == "authentication_required"


async def test_an_idempotency_key_repeats_the_first_answer(shop: Any, client: Client) -> None:
    form: Any = {"amount": 2000, "currency": "usd", **CARD}
    options: Any = {"idempotency_key": "order-1"}
    first = await run(lambda: shop.v1.payment_intents.create(form, options))
    again = await run(lambda: shop.v1.payment_intents.create(form, options))
    assert again.id == first.id
    assert again.last_response is not None
    assert again.last_response.headers["Idempotent-Replayed"] == "true"
    with pytest.raises(stripe.IdempotencyError) as other:
        await run(lambda: shop.v1.payment_intents.create({**form, "amount": 2001}, options))
    assert other.value.http_status == 400
    book = await client.book(provider="stripe")
    assert [(row["id"], row["reference"], row["idempotencyKey"]) for row in book] == [(first.id, "order-1", "order-1")]


async def test_lists_and_filters(shop: Any) -> None:
    customer = await run(lambda: shop.v1.customers.create({"email": "ada@example.com"}))
    mine = [
        await run(lambda: shop.v1.payment_intents.create({"amount": 500, "currency": "usd", "customer": customer.id}))
        for _ in range(3)
    ]
    await run(lambda: shop.v1.payment_intents.create({"amount": 500, "currency": "usd"}))
    listed = await run(lambda: shop.v1.payment_intents.list({"customer": customer.id, "limit": 2}))
    assert listed.has_more is True
    everything = await run(lambda: list(listed.auto_paging_iter()))
    assert [intent.id for intent in everything] == [intent.id for intent in reversed(mine)]
    created: Any = {"created": {"gte": mine[0].created + 3600}}
    assert (await run(lambda: shop.v1.payment_intents.list(created))).data == []


async def test_a_bad_key_and_a_missing_object(shop: Any, simulator: RunningSimulator) -> None:
    wrong = sdk(simulator.url, "sk_test_invalid_key_0001")
    with pytest.raises(stripe.AuthenticationError, match="Invalid API Key provided: sk_test_"):
        await run(wrong.v1.balance.retrieve)
    wrong._requestor._client.close()
    with pytest.raises(stripe.InvalidRequestError) as missing:
        await run(lambda: shop.v1.payment_intents.retrieve("pi_nothing"))
    assert (missing.value.http_status, missing.value.code) == (404, "resource_missing")


async def test_the_sdk_accepts_our_deliveries(shop: Any, client: Client, receiver: Receiver) -> None:
    form: Any = {"url": f"{receiver.url}/hook", "enabled_events": ["*"]}
    endpoint = await run(lambda: shop.v1.webhook_endpoints.create(form))
    assert endpoint.secret is not None
    await client.paid_intent("hooked")
    delivered = (await receiver.of("payment_intent.succeeded"))[0]
    header = delivered.headers["Stripe-Signature"]
    event = stripe.Webhook.construct_event(delivered.body, header, endpoint.secret)
    assert event.type == "payment_intent.succeeded"
    assert event.data.object["metadata"]["polytill_attempt"] == "hooked"
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(delivered.body + b" ", header, endpoint.secret)
    assert [item.event for item in receiver.got] == [
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.succeeded",
    ]
    events = await run(lambda: shop.v1.events.list({"type": "payment_intent.succeeded"}))
    assert [item.id for item in events.data] == [event.id]


async def test_checkout(shop: Any, client: Client) -> None:
    price = {"currency": "usd", "unit_amount": 1500, "product_data": {"name": "Visit"}}
    form: Any = {
        "mode": "payment",
        "line_items": [{"price_data": price, "quantity": 2}],
        "success_url": "http://127.0.0.1:9/done?session={CHECKOUT_SESSION_ID}",
        "cancel_url": "http://127.0.0.1:9/left",
        "client_reference_id": "checkout-1",
    }
    made = await run(lambda: shop.v1.checkout.sessions.create(form))
    assert (made.status, made.payment_status, made.payment_intent, made.amount_total) == ("open", "unpaid", None, 3000)
    assert made.url is not None
    declined = await client.send("POST", made.url, data={"outcome": "decline"})
    assert declined.status == 200
    assert "Your card was declined." in declined.text
    paid = await client.send("POST", made.url, data={"outcome": "success"})
    assert (paid.status, paid.headers["Location"]) == (303, f"http://127.0.0.1:9/done?session={made.id}")
    seen = await run(lambda: shop.v1.checkout.sessions.retrieve(made.id, {"expand": ["payment_intent"]}))
    assert (seen.status, seen.payment_status) == ("complete", "paid")
    assert isinstance(seen.payment_intent, stripe.PaymentIntent)
    assert seen.payment_intent.amount_received == 3000
    assert (await client.book(reference="checkout-1"))[0]["captured"] == 3000
    with pytest.raises(stripe.InvalidRequestError, match="Only Checkout Sessions"):
        await run(lambda: shop.v1.checkout.sessions.expire(made.id))
    other = await run(lambda: shop.v1.checkout.sessions.create(form))
    assert (await run(lambda: shop.v1.checkout.sessions.expire(other.id))).status == "expired"
    assert other.url is not None
    assert "expired" in (await client.send("GET", other.url)).text
