"""Deliveries over HTTP: forged, stale, repeated, from elsewhere, for nobody. Only what is proven changes anything."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import Iterator
from typing import Any

import pytest

from polytill.flows.webhooks import unsigned
from tests.installation import TEST_KEYS, Installation
from tests.web.support import CURRENCY, PROVIDERS, Clock, Practice, books_balance, fresh, is_problem, snapshot

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(autouse=True)
def real_time(clock: Clock) -> Iterator[None]:
    """A test that moves the clock moves it for itself alone."""
    yield
    clock.offset_s = 0.0


async def silent(shared: Installation, code: str) -> Practice:
    """A practice whose deliveries are dropped, so that a test can deliver them itself."""
    practice = await Practice.make(shared, code)
    await practice.fault("webhook", "drop", count=None)
    return practice


async def paid_silently(practice: Practice) -> str:
    """A payment that was paid at the provider, without a webhook."""
    made = await practice.create()
    await practice.act(made.body["attempts"][0]["reference"])
    assert (await practice.payment(made.body["id"]))["status"] == "requires_action"
    return str(made.body["id"])


def stripe_signed(secret: str, event: Any, at: float) -> tuple[bytes, dict[str, str]]:
    body = json.dumps(event).encode()
    tag = hmac.new(secret.encode(), f"{int(at)}.".encode() + body, hashlib.sha256).hexdigest()
    return body, {"Stripe-Signature": f"t={int(at)},v1={tag}"}


def paystack_signed(secret: str, event: Any) -> tuple[bytes, dict[str, str]]:
    body = json.dumps(event).encode()
    return body, {"x-paystack-signature": hmac.new(secret.encode(), body, hashlib.sha512).hexdigest()}


@pytest.mark.parametrize("code", PROVIDERS)
async def test_forged(shared: Installation, code: str) -> None:
    practice = await silent(shared, code)
    await paid_silently(practice)
    body, headers = practice.delivery()
    [name] = [n for n in headers if n.lower() in ("stripe-signature", "x-paystack-signature", "verif-hash")]
    wrong = headers[name][:-1] + ("0" if headers[name][-1] != "0" else "1")
    bad: list[tuple[bytes, dict[str, str]]] = [
        (body, {}),
        (body, {**headers, name: ""}),
        (body, {**headers, name: wrong}),
        (body, {**headers, name: "é"}),
        (body, {**headers, name: headers[name][:-8] + "0" * 4_000}),
        (b"", {**headers, name: "x"}),
    ]
    if code != "flutterwave":  # whose word says nothing about the body: what it says is asked for instead
        bad += [
            (body + b" ", headers),
            (body.replace(b"500000", b"5000000"), headers),
            (b"", headers),
            (b"{}", headers),
        ]
    before = await snapshot(shared, practice.id)
    for forged, with_headers in bad:
        is_problem(await practice.deliver(forged, with_headers), 401, "bad_signature")
    assert await snapshot(shared, practice.id) == before
    assert (await practice.deliver(body, headers)).status == 200


async def test_a_raised_amount_is_not_believed(shared: Installation) -> None:
    """Flutterwave's word admits any body: the amount that counts is the one that Flutterwave answers."""
    practice = await silent(shared, "flutterwave")
    payment_id = await paid_silently(practice)
    body, headers = practice.delivery()
    event = json.loads(body)
    event["data"]["amount"] = event["data"]["charged_amount"] = 50_000
    assert (await practice.deliver(json.dumps(event).encode(), headers)).status == 200
    payment = await practice.settled(payment_id, status="succeeded")
    assert payment["amountCaptured"] == 500_000
    # And one that nobody paid stays unpaid, whatever a delivery says.
    unpaid = (await practice.create()).body
    event["data"] |= {"tx_ref": unpaid["attempts"][0]["reference"], "id": 999_999_999, "amount": 5_000}
    assert (await practice.deliver(json.dumps(event).encode(), headers)).status == 200
    assert (await practice.payment(unpaid["id"]))["status"] == "requires_action"
    books_balance(await practice.ledger(), await practice.books(), "flutterwave")


async def test_stale(shared: Installation, clock: Clock) -> None:
    practice = await silent(shared, "stripe")
    payment_id = await paid_silently(practice)
    body, headers = practice.delivery()
    for seconds in (400, -800):
        clock.advance(seconds)
        before = await snapshot(shared, practice.id)
        is_problem(await practice.deliver(body, headers), 401, "bad_signature")
        assert await snapshot(shared, practice.id) == before
    clock.offset_s = 200
    assert (await practice.deliver(body, headers)).status == 200
    await practice.settled(payment_id, status="succeeded")


@pytest.mark.parametrize("code", PROVIDERS)
async def test_repeated_and_at_once(shared: Installation, code: str) -> None:
    practice = await silent(shared, code)
    payment_id = await paid_silently(practice)
    body, headers = practice.delivery()
    answers = await asyncio.gather(*(practice.deliver(body, headers) for _ in range(10)))
    assert {a.status for a in answers} == {200}
    await practice.settled(payment_id, status="succeeded")
    state = await practice.ledger()
    repeat = (await practice.deliver(body, headers)).body
    kept = (await practice.call("GET", "/webhook-events")).body
    if code == "flutterwave":  # nothing is signed: a repeat may tell a later state, so it is asked about once more
        assert repeat["received"]
        assert len(kept) <= 2 * (unsigned.AT_ONCE + 1)  # the pause may end while they arrive
    else:
        assert repeat == {"received": True, "status": "applied"}
        assert len(kept) == 1
    assert await practice.ledger() == state
    assert state[CURRENCY[code]]["payments"] == -500_000
    booked = [line for line in (await practice.call("GET", f"/audit-log?subject={payment_id}")).body]
    assert [line["action"] for line in booked].count("payment.succeeded") == 1


@pytest.mark.parametrize("code", PROVIDERS)
async def test_another_practices_signature(shared: Installation, code: str) -> None:
    mine, theirs = await silent(shared, code), await silent(shared, code)
    if code != "paystack":  # whose deliveries are signed with the API key, which is another one for each account
        for practice in (mine, theirs):
            keys = {**practice.keys, "webhookSecret": f"whsec_{fresh('own')}000000"}
            await practice.configure(code, [CURRENCY[code]])
            practice.configuration = await shared.configure(
                practice.id,
                practice.key,
                code,
                [CURRENCY[code]],
                {**practice.keys, "webhookSecret": keys["webhookSecret"]},
            )
            await practice.fault("webhook", "drop", count=None)
    payment_id = await paid_silently(mine)
    body, headers = mine.delivery()
    before = await snapshot(shared, mine.id, theirs.id)
    is_problem(await mine.deliver(body, headers, to=theirs), 401, "bad_signature")
    assert await snapshot(shared, mine.id, theirs.id) == before
    assert (await mine.deliver(body, headers)).status == 200
    await mine.settled(payment_id, status="succeeded")


async def test_unknown_token(shared: Installation) -> None:
    practice = await silent(shared, "paystack")
    await paid_silently(practice)
    body, headers = practice.delivery()
    hook = practice.configuration["webhookUrl"].removeprefix(shared.url)
    token = (await practice.create()).body["clientToken"]
    before = await snapshot(shared, practice.id)
    other_end = hook[:-1] + ("a" if hook[-1] != "a" else "b")
    for path in (
        other_end,
        hook.upper().replace("/HOOKS", "/hooks"),
        hook + "a",
        hook[:-1],
        "/hooks/x",
        f"/hooks/{token}",
    ):
        is_problem(await shared.call("POST", path, raw=body, headers=headers), 404, "not_found")
    is_problem(await shared.call("GET", hook), 405)
    # The token of a hook opens no payment page, and the other way round.
    is_problem(await shared.call("GET", hook.replace("/hooks/", "/pay/")), 404)
    assert await snapshot(shared, practice.id) == before


async def test_another_environment_is_parked(shared: Installation, clock: Clock) -> None:
    stripe = await silent(shared, "stripe")
    payment_id = await paid_silently(stripe)
    event = {**json.loads(stripe.delivery()[0]), "livemode": True}
    body, headers = stripe_signed(stripe.keys["webhookSecret"], event, clock.now())
    assert (await stripe.deliver(body, headers)).body == {"received": True, "status": "parked"}
    paystack = await silent(shared, "paystack")
    other_id = await paid_silently(paystack)
    event = json.loads(paystack.delivery()[0])
    event["data"]["domain"] = "live"
    body, headers = paystack_signed(paystack.keys["secretKey"], event)
    assert (await paystack.deliver(body, headers)).body == {"received": True, "status": "parked"}
    for practice, found in ((stripe, payment_id), (paystack, other_id)):
        [parked] = (await practice.call("GET", "/webhook-events?status=parked")).body
        assert parked["reason"] == "environment_mismatch"
        again = await practice.call("POST", f"/webhook-events/{parked['id']}/replay")
        assert (again.status, again.body["status"]) == (200, "parked")
        assert (await practice.payment(found))["status"] == "requires_action"
        assert await practice.ledger() == {}


async def test_signed_by_the_other_environments_keys(shared: Installation) -> None:
    """Live keys wait beside: what they sign is of the live environment and touches no sandbox payment."""
    practice = await silent(shared, "paystack")
    payment_id = await paid_silently(practice)
    live = {name: value.replace("_test_", "_live_") for name, value in TEST_KEYS["paystack"].items()}
    assert (await practice.call("PUT", "/payment-providers/paystack/credentials/production", live)).status == 200
    event = json.loads(practice.delivery()[0])
    event["data"]["domain"] = "live"
    answered = await practice.deliver(*paystack_signed(live["secretKey"], event))
    assert answered.body == {"received": True, "status": "received"} or answered.body["status"] == "parked"
    [parked] = (await practice.call("GET", "/webhook-events")).body
    assert (parked["status"], parked["environment"], parked["reason"]) == (
        "parked",
        "production",
        "environment_mismatch",
    )
    assert (await practice.payment(payment_id))["status"] == "requires_action"


async def test_unknown_reference_is_parked_and_replayable(shared: Installation, clock: Clock) -> None:
    """News of an intent that we do not know yet: kept, and applied once a lookup has found it."""
    practice = await silent(shared, "stripe")
    await practice.fault("create", "lose_answer")
    made = (await practice.create()).body
    assert made["status"] == "processing"
    await practice.act(made["attempts"][0]["reference"])
    [books] = await practice.books()
    event = {
        "id": f"evt_{fresh('own')}",
        "object": "event",
        "type": "payment_intent.succeeded",
        "livemode": False,
        "data": {
            "object": {
                "id": books["id"],
                "object": "payment_intent",
                "amount": 500_000,
                "amount_received": 500_000,
                "currency": "usd",
                "status": "succeeded",
                "metadata": {},
            }
        },
    }
    body, headers = stripe_signed(practice.keys["webhookSecret"], event, clock.now())
    assert (await practice.deliver(body, headers)).status == 200
    [parked] = (await practice.call("GET", "/webhook-events")).body
    assert (parked["status"], parked["reason"], parked["paymentId"]) == ("parked", "unknown_reference", None)
    replayed = await practice.call("POST", f"/webhook-events/{parked['id']}/replay")
    assert (replayed.status, replayed.body["status"]) == (200, "parked")
    assert (await practice.call("POST", f"/payments/{made['id']}/confirm")).status == 200
    replayed = await practice.call("POST", f"/webhook-events/{parked['id']}/replay")
    assert (replayed.body["status"], replayed.body["paymentId"]) == ("applied", made["id"])
    payment = await practice.settled(made["id"], status="succeeded")
    assert payment["amountCaptured"] == 500_000
    again = await practice.call("POST", f"/webhook-events/{parked['id']}/replay")
    assert (again.status, again.body["status"]) == (200, "applied")
    assert (await practice.ledger())["USD"]["payments"] == -500_000
    is_problem(await practice.call("POST", "/webhook-events/none/replay"), 404, "not_found")


@pytest.mark.parametrize("code", PROVIDERS)
async def test_a_body_that_cannot_be_read_is_kept(shared: Installation, code: str) -> None:
    """The signature is right, the body is nonsense: taken once, put aside, never a 500 that is sent for ever."""
    practice = await silent(shared, code)
    await paid_silently(practice)
    signatures = {
        "stripe": lambda body: stripe_signed(
            practice.keys["webhookSecret"], body, practice.house.till.context.world.time_s()
        ),
        "paystack": lambda body: paystack_signed(practice.keys["secretKey"], body),
        "flutterwave": lambda body: (json.dumps(body).encode(), {"verif-hash": practice.keys["webhookSecret"]}),
    }
    strange: list[Any] = [
        [],
        5,
        "x",
        None,
        {},
        {"event": "x"},
        {"event": 5, "data": []},
        {"id": 5, "type": 5},
        {"id": "evt", "type": "x"},
        {"id": "evt_\x00", "type": "payment_intent.succeeded", "data": {"object": {"id": "a\x00b"}}},
        {"event": "charge.success", "data": {"reference": "a\x00b", "amount": "x", "id": []}},
        {"event": "charge.completed", "data": {"tx_ref": "a\x00b", "amount": 10**40, "id": {}}},
        {"event": "charge.success", "data": {"reference": "\ud800"}},
        {"type": "x" * 5000, "id": "y" * 5000, "data": {}},
    ]
    for document in strange:
        answered = await practice.deliver(*signatures[code](document))
        assert answered.status == 200, (document, answered.body)
    for event in (await practice.call("GET", "/webhook-events?limit=100")).body:
        assert event["status"] in ("parked", "ignored", "applied"), event
    assert await practice.ledger() == {}
