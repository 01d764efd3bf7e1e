"""Webhooks: registration, signatures, retries, and the webhook faults."""

from __future__ import annotations

import hashlib
import hmac
import json

import pytest
import stripe

from tests.simulator.conftest import FLUTTERWAVE_KEY, KEYS, PAYSTACK_KEY, STRIPE_KEY, Client, Delivered, Receiver


async def hook(client: Client, provider: str, url: str, secret: str = "whsec_test_secret") -> None:
    body = {"provider": provider, "account": KEYS[provider], "url": url, "secret": secret}
    assert (await client.control("POST", "/webhooks", body)).status == 201


def genuine(item: Delivered) -> bool:
    expected = hmac.new(PAYSTACK_KEY.encode(), item.body, hashlib.sha512).hexdigest()
    return item.headers["X-Paystack-Signature"] == expected


async def settle(client: Client, *references: str) -> None:
    for reference in references:
        await client.new_paystack(reference)
        await client.pay(reference)


async def state_of(client: Client) -> list[tuple[str, int | None, int]]:
    rows = (await client.control("GET", "/deliveries")).json
    return [(row["state"], row["statusCode"], row["tries"]) for row in rows]


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.1/hook",
        "https://example.com/hook",
        "http://127.0.0.1.example.com/hook",
        "http://127.0.0.1@example.com/",
        "http://169.254.169.254/",
        "http://[::ffff:10.0.0.1]/",
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "127.0.0.1/hook",
        "http://0.0.0.0/",
        "http://127.0.0.1:99999/",
    ],
)
async def test_other_machines_are_refused(client: Client, url: str) -> None:
    body = {"provider": "stripe", "account": STRIPE_KEY, "url": url, "secret": "whsec_x"}
    reply = await client.control("POST", "/webhooks", body)
    assert (reply.status, reply.json["code"]) == (400, "not_loopback")
    assert (await client.control("GET", "/webhooks")).json == []


async def test_this_machine_is_accepted(client: Client) -> None:
    for url in ("http://127.0.0.1:9/a", "http://localhost:9/b", "http://[::1]:9/c", "http://127.8.8.8/d"):
        await hook(client, "stripe", url)
    rows = (await client.control("GET", "/webhooks")).json
    assert len(rows) == 4
    assert "whsec_test_secret" not in json.dumps(rows)
    assert all(row["secretSet"] for row in rows)


async def test_registering_again_replaces_the_secret(client: Client, receiver: Receiver) -> None:
    await hook(client, "flutterwave", receiver.url, "old")
    await hook(client, "flutterwave", receiver.url, "new")
    await hook(client, "flutterwave", receiver.url + "/second", "other")
    await client.new_flutterwave("h")
    await client.pay("h")
    got = await receiver.of("charge.completed", 2)
    assert sorted((item.path, item.headers["Verif-Hash"]) for item in got) == [("/", "new"), ("/second", "other")]


async def test_accounts_do_not_hear_each_other(client: Client, receiver: Receiver) -> None:
    body = {"provider": "paystack", "account": "sk_test_" + "z" * 30, "url": receiver.url + "/z"}
    await client.control("POST", "/webhooks", body)
    await hook(client, "paystack", receiver.url + "/mine")
    await settle(client, "mine")
    assert [item.path for item in await receiver.of("charge.success")] == ["/mine"]
    assert len((await client.control("GET", "/deliveries")).json) == 1


async def test_retries_are_signed_anew(client: Client, receiver: Receiver) -> None:
    await hook(client, "stripe", receiver.url)
    receiver.answers = [500, 404]
    await client.new_intent("retry")
    await receiver.until(lambda got: len(got) == 1)
    while (await state_of(client))[0][2] < 3:
        await client.control("POST", "/clock", {"advanceSeconds": 1})
    got = await receiver.until(lambda got: len(got) == 3)
    assert len({item.body for item in got}) == 1
    for item in got:
        header = item.headers["Stripe-Signature"]
        stripe.Webhook.construct_event(item.body, header, "whsec_test_secret")
    while (await state_of(client))[0][0] == "queued":
        await client.control("POST", "/clock", {"advanceSeconds": 0})
    assert await state_of(client) == [("delivered", 200, 3)]


async def test_retries_end(client: Client, receiver: Receiver) -> None:
    await hook(client, "stripe", receiver.url)
    receiver.answers = [503] * 20
    await client.new_intent("refused")
    while (await state_of(client))[0][0] == "queued":
        await client.control("POST", "/clock", {"advanceSeconds": 10})
    assert await state_of(client) == [("given_up", 503, 6)]
    assert len(receiver.got) == 6


async def test_redirects_are_not_followed(client: Client, receiver: Receiver) -> None:
    await hook(client, "paystack", receiver.url)
    receiver.answers, receiver.location = [307], receiver.url + "/elsewhere"
    await settle(client, "moved")
    await receiver.until(lambda got: len(got) == 1)
    receiver.location = None
    while (await state_of(client))[0][0] == "queued":
        await client.control("POST", "/clock", {"advanceSeconds": 1})
    assert {item.path for item in receiver.got} == {"/"}
    assert await state_of(client) == [("delivered", 200, 2)]


async def test_a_dead_address_does_not_hold_up_others(client: Client, receiver: Receiver) -> None:
    await hook(client, "paystack", "http://127.0.0.1:9/dead")
    await hook(client, "paystack", receiver.url)
    await settle(client, "a-1", "a-2")
    got = await receiver.of("charge.success", 2)
    assert [item.json["data"]["reference"] for item in got] == ["a-1", "a-2"]


async def test_duplicate(client: Client, receiver: Receiver) -> None:
    await hook(client, "paystack", receiver.url)
    await client.fault("paystack", "webhook", "duplicate", count=1)
    await settle(client, "two")
    got = await receiver.of("charge.success", 2)
    assert got[0].body == got[1].body
    assert all(genuine(item) for item in got)


async def test_late(client: Client, receiver: Receiver) -> None:
    await hook(client, "paystack", receiver.url)
    await client.fault("paystack", "webhook", "late", count=1, delaySeconds=3600)
    await settle(client, "late", "quick")
    assert [item.json["data"]["reference"] for item in await receiver.of("charge.success")] == ["quick"]
    await client.control("POST", "/clock", {"advanceSeconds": 3600})
    got = await receiver.of("charge.success", 2)
    assert [item.json["data"]["reference"] for item in got] == ["quick", "late"]


async def test_reorder(client: Client, receiver: Receiver) -> None:
    await hook(client, "paystack", receiver.url)
    await client.fault("paystack", "webhook", "reorder", count=1)
    await settle(client, "first", "second")
    got = await receiver.of("charge.success", 2)
    assert [item.json["data"]["reference"] for item in got] == ["second", "first"]


async def test_reorder_does_not_keep_the_last_one(client: Client, receiver: Receiver) -> None:
    await hook(client, "paystack", receiver.url)
    await client.fault("paystack", "webhook", "reorder")
    await settle(client, "only")
    await client.control("POST", "/clock", {"advanceSeconds": 3})
    assert len(await receiver.of("charge.success")) == 1


async def test_drop(client: Client, receiver: Receiver) -> None:
    await hook(client, "paystack", receiver.url)
    await client.fault("paystack", "webhook", "drop", count=1)
    await settle(client, "dropped", "kept")
    got = await receiver.of("charge.success")
    assert [item.json["data"]["reference"] for item in got] == ["kept"]
    assert (await state_of(client))[0][0] == "dropped"


async def test_forge(client: Client, receiver: Receiver) -> None:
    await hook(client, "paystack", receiver.url)
    await client.fault("paystack", "webhook", "forge", count=8)
    references = [f"g-{number}" for number in range(8)]
    await settle(client, *references)
    got = await receiver.of("charge.success", 16)
    true = [item for item in got if genuine(item)]
    assert [item.json["data"]["reference"] for item in true] == references
    forged = [item for item in got if not genuine(item)]
    # There are both kinds: a wrong signature with the true body, and the true signature with a larger amount.
    assert {item.json["data"]["amount"] for item in forged} == {500_000, 5_000_000}


async def test_forge_where_the_body_is_not_signed(client: Client, receiver: Receiver) -> None:
    await hook(client, "flutterwave", receiver.url, "shared word")
    await client.fault("flutterwave", "webhook", "forge", count=8)
    for number in range(8):
        await client.new_flutterwave(f"g-{number}", 100)
        await client.pay(f"g-{number}")
    got = await receiver.of("charge.completed", 16)
    kinds = {(item.headers["Verif-Hash"] == "shared word", item.json["data"]["amount"]) for item in got}
    assert kinds == {(True, 100), (True, 1000), (False, 100)}


async def test_a_refused_forgery_is_not_tried_again(client: Client, receiver: Receiver) -> None:
    await hook(client, "paystack", receiver.url)
    await client.fault("paystack", "webhook", "forge", count=1)
    receiver.answers = [200, 401]
    await settle(client, "g")
    await receiver.until(lambda got: len(got) == 2)
    while any(state == "queued" for state, _, _ in await state_of(client)):
        await client.control("POST", "/clock", {"advanceSeconds": 10})
    assert await state_of(client) == [("delivered", 200, 1), ("given_up", 401, 1)]


async def test_stripe_tells_of_disputes_and_refunds(client: Client, receiver: Receiver) -> None:
    await hook(client, "stripe", receiver.url)
    await client.paid_intent("w", capture_method="manual")
    await client.stripe(
        "POST", f"/payment_intents/{(await client.book())[0]['id']}/capture", {"amount_to_capture": "1500"}
    )
    await client.control("POST", "/refund/w", {"amount": 500})
    refund = (await client.book())[0]["refunds"][0]["id"]
    await client.control("POST", f"/refunds/{refund}/fail")
    await client.control("POST", "/dispute/w", {"outcome": "won"})
    await client.control("POST", "/dispute/w", {"outcome": "lost"})
    await receiver.until(lambda got: sum(item.event == "charge.dispute.closed" for item in got) == 2)
    assert [item.event for item in receiver.got] == [
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.amount_capturable_updated",
        "charge.captured",
        "payment_intent.succeeded",
        "refund.created",
        "charge.refunded",
        "refund.updated",
        "refund.failed",
        "charge.refund.updated",
        "charge.dispute.created",
        "charge.dispute.funds_withdrawn",
        "charge.dispute.funds_reinstated",
        "charge.dispute.closed",
        "charge.dispute.created",
        "charge.dispute.funds_withdrawn",
        "charge.dispute.closed",
    ]
    closed = [item.json["data"]["object"]["status"] for item in await receiver.of("charge.dispute.closed", 2)]
    assert closed == ["won", "lost"]
    refused = await client.stripe("POST", "/refunds", {"payment_intent": (await client.book())[0]["id"]})
    assert (refused.status, refused.json["error"]["code"]) == (400, "charge_disputed")
    assert len({item.json["id"] for item in receiver.got}) == len(receiver.got)


async def test_flutterwave_books_disputes_only(client: Client, receiver: Receiver) -> None:
    await hook(client, "flutterwave", receiver.url)
    await client.new_flutterwave("d")
    await client.pay("d")
    await receiver.of("charge.completed")
    await client.control("POST", "/dispute/d", {"outcome": "lost"})
    assert (await client.book())[0]["disputes"][0]["status"] == "lost"
    assert len((await client.control("GET", "/deliveries")).json) == 1
    assert KEYS["flutterwave"] == FLUTTERWAVE_KEY
