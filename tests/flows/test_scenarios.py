"""The fixtures' own sequences of deliveries and calls, each through the running service with the real handlers.

What must hold at the end stands in ``scenarios.json``; a driver here plays a sequence and says the same. A sequence that
is added there fails until there is a driver for it.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import inspect
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from polytill.background import sweep
from polytill.providers.stripe.reading import OUR_ATTEMPT
from tests.installation import Installation, running
from tests.web.support import CURRENCY, PROVIDERS, Clock, Practice, fresh, fresh_keys, is_problem, snapshot, until

ROOT = Path(__file__).parents[1] / "fixtures" / "providers"
SCENARIOS = {entry["id"]: entry for entry in json.loads((ROOT / "scenarios.json").read_text())}
INTENT = "payment_intent.succeeded.2020-08-27"
Driver = Callable[[Installation, Clock], Awaitable[None]]
DRIVERS: dict[str, Driver] = {}


def drives(name: str) -> Callable[[Driver], Driver]:
    """Put a driver under the name of its sequence."""

    def put(driver: Driver) -> Driver:
        DRIVERS[name] = driver
        return driver

    return put


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def house(tmp_path: Path, engine_url: str | None, clock: Clock) -> AsyncIterator[Installation]:
    async with running(tmp_path, engine_url, world=clock.world(), provider_timeout_s=1.0) as found:
        yield found


@pytest.mark.parametrize("name", SCENARIOS)
async def test_scenario(house: Installation, clock: Clock, name: str) -> None:
    driver = DRIVERS.get(name)
    assert driver is not None, f"nothing plays the sequence {name}: {SCENARIOS[name]['steps']}"
    assert inspect.getdoc(driver) == SCENARIOS[name]["then"], "the driver holds to another end than the file"
    await driver(house, clock)


def test_every_driver_has_its_sequence() -> None:
    assert DRIVERS.keys() == SCENARIOS.keys()


# ── Deliveries ──


def body_of(code: str, name: str, **changed: str) -> bytes:
    """A fixture's bytes; of the made-up names in it, those are changed that must be ours to mean anything here."""
    body = (ROOT / code / "webhooks" / f"{name}.body").read_text()
    for old, new in changed.items():
        assert old in body, f"{name} has no {old}"
        body = body.replace(old, new)
    return body.encode()


def signed(practice: Practice, clock: Clock, body: bytes) -> dict[str, str]:
    """What the provider would send beside a body."""
    if practice.code == "flutterwave":
        return {"verif-hash": practice.keys["webhookSecret"]}
    if practice.code == "paystack":
        return {"X-Paystack-Signature": hmac.new(practice.keys["secretKey"].encode(), body, hashlib.sha512).hexdigest()}
    at = int(clock.now())
    code = hmac.new(practice.keys["webhookSecret"].encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return {"Stripe-Signature": f"t={at},v1={code}"}


async def delivered(practice: Practice, clock: Clock, body: bytes) -> None:
    """Post a delivery; the provider is told that it has arrived."""
    answered = await practice.deliver(body, signed(practice, clock, body))
    assert answered.status == 200, answered.body


async def written(practice: Practice) -> tuple[int, int]:
    """How often a payment's money was booked, and how often a payment became ``succeeded``."""
    db = await practice.db
    booked = await db.fetch("SELECT DISTINCT entry_id FROM ledger_lines WHERE fact = 'payment'")
    changed = await db.fetch("SELECT id FROM audit_log WHERE action = 'payment.succeeded'")
    return len(booked), len(changed)


async def undecided(practice: Practice) -> list[Any]:
    """Webhooks that were answered and neither applied nor rightly ignored, and the open review cases."""
    db = await practice.db
    sql = "SELECT event_type, state, reason FROM webhook_events WHERE state IN ('received', 'parked')"
    left = await db.fetch(sql)
    for _ in range(100):  # one that the simulator itself sends may be on its way
        if all(row["state"] == "parked" for row in left):
            break
        await asyncio.sleep(0.05)
        left = await db.fetch(sql)
    return [dict(row) for row in [*left, *await db.fetch("SELECT kind, detail FROM operator_cases")]]


async def with_keys(house: Installation, code: str, **keys: str) -> Practice:
    """A practice with a provider, whose webhook secret no other practice has."""
    practice = await Practice.make(house, currency=CURRENCY[code])
    practice.code, practice.keys = code, fresh_keys(code)
    if code != "paystack":  # signs with the secret key
        practice.keys["webhookSecret"] = keys.get("webhookSecret") or fresh("whsec_oneofmany").replace("-", "")
    practice.configuration = await house.configure(practice.id, practice.key, code, [CURRENCY[code]], practice.keys)
    return practice


async def with_intent(house: Installation, amount: int = 2000) -> tuple[Practice, dict[str, Any], str]:
    """A practice with Stripe, its payment, and the intent's id at Stripe."""
    practice = await Practice.make(house, "stripe")
    made = (await practice.create(amount)).body
    return practice, made, made["providerTransactionId"]


# ── Stripe ──


@drives("dup")
async def dup(house: Installation, clock: Clock) -> None:
    """one state change, one ledger entry, every delivery answered 2xx"""
    delivery = json.loads((ROOT / "stripe/signed" / f"{INTENT}.valid.json").read_text())
    practice = await with_keys(house, "stripe", webhookSecret=delivery["secret"])
    made = (await practice.create(2000)).body
    await until(lambda: practice.call("GET", "/webhook-events?status=applied"), lambda told: told.body)  # of the intent
    body = base64.b64decode(delivery["body_b64"])
    db = await practice.db
    async with db.transaction() as tx:  # the bytes as they were signed: so the intent has the fixture's name
        intent = json.loads(body)["data"]["object"]["id"]
        tx.add("UPDATE payment_attempts SET provider_transaction_id = $1", intent)
    clock.stands_at = delivery["verify_at"]
    answers = [await practice.deliver(body, delivery["headers"])]
    answers += await asyncio.gather(*(practice.deliver(body, delivery["headers"]) for _ in range(2)))
    assert [answered.status for answered in answers] == [200, 200, 200]
    clock.stands_at = None
    payment = await practice.payment(made["id"])
    assert (payment["status"], payment["amountCaptured"]) == ("succeeded", 2000)
    assert await written(practice) == (1, 1)
    assert await undecided(practice) == []


@drives("order")
async def order(house: Installation, clock: Clock) -> None:
    """payment succeeded, refunded 15.00; nothing lost, nothing answered 2xx and dropped"""
    practice, made, intent = await with_intent(house)
    await delivered(practice, clock, body_of("stripe", "refund.updated.succeeded.partial", pi_3SxPartial=intent))
    assert (await practice.payment(made["id"]))["amountRefunded"] == 0
    reference = made["attempts"][0]["reference"]
    about = {"pi_3Q6201ea3a16b40e0c07a146": intent, '"order_ref": "INV-1001"': f'"{OUR_ATTEMPT}": "{reference}"'}
    await delivered(practice, clock, body_of("stripe", INTENT, **about))
    payment = await practice.payment(made["id"])
    assert (payment["status"], payment["amountCaptured"], payment["amountRefunded"]) == ("succeeded", 2000, 1500)
    assert await written(practice) == (1, 1)
    assert await undecided(practice) == []


@drives("late-failure")
async def late_failure(house: Installation, clock: Clock) -> None:
    """payment stays succeeded"""
    practice, made, intent = await with_intent(house)
    await delivered(practice, clock, body_of("stripe", INTENT, pi_3Q6201ea3a16b40e0c07a146=intent))
    before = await practice.payment(made["id"])
    assert (before["status"], before["amountCaptured"]) == ("succeeded", 2000)
    failed = body_of("stripe", "payment_intent.payment_failed", pi_3Qa8c77dc5400fd45647267b=intent)
    assert json.loads(failed)["created"] < json.loads(body_of("stripe", INTENT))["created"]
    await delivered(practice, clock, failed)
    assert await practice.payment(made["id"]) == before
    assert await undecided(practice) == []


@drives("two-events-one-payment")
async def two_events_one_payment(house: Installation, clock: Clock) -> None:
    """paid once"""
    practice, made, intent = await with_intent(house)
    reference = made["attempts"][0]["reference"]
    await delivered(practice, clock, body_of("stripe", "charge.succeeded", pi_3Qae63cf256e5b2ec641782c=intent))
    await delivered(practice, clock, body_of("stripe", INTENT, pi_3Q6201ea3a16b40e0c07a146=intent))
    session = {"pi_3Q6b664bddacab576109900e": intent, "INV-1002": reference, "25000": "2000"}
    await delivered(practice, clock, body_of("stripe", "checkout.session.completed.paid", **session))
    payment = await practice.payment(made["id"])
    assert (payment["status"], payment["amountCaptured"]) == ("succeeded", 2000)
    assert await written(practice) == (1, 1)
    assert await undecided(practice) == []


# ── Paystack ──


async def refund_news(practice: Practice, clock: Clock, name: str, payment: dict[str, Any], **changed: str) -> None:
    """News of a refund of 50.00 NGN of a payment, in the test mode that its practice is in."""
    reference = json.loads(body_of("paystack", name))["data"]["transaction_reference"]
    about = {reference: payment["attempts"][0]["reference"], '"domain":"live"': '"domain":"test"', **changed}
    await delivered(practice, clock, body_of("paystack", name, **about))


async def paid_by_paystack(house: Installation) -> tuple[Practice, dict[str, Any]]:
    """A practice with a payment of 200.00 NGN."""
    practice = await Practice.make(house, "paystack")
    return practice, await practice.paid(20_000)


@drives("paystack-refund-lifecycle")
async def paystack_refund_lifecycle(house: Installation, clock: Clock) -> None:
    """refund counted once, state succeeded, amounts given as strings"""
    practice, payment = await paid_by_paystack(house)
    await refund_news(practice, clock, "refund.pending", payment, **{'"10000"': '"5000"'})
    await refund_news(practice, clock, "refund.processed", payment)
    [refund] = (await practice.call("GET", f"/payments/{payment['id']}/refunds")).body
    assert (refund["status"], refund["amount"]) == ("succeeded", 5000)
    assert (await practice.payment(payment["id"]))["amountRefunded"] == 5000
    assert await undecided(practice) == []


@drives("paystack-refund-then-failed")
async def paystack_refund_then_failed(house: Installation, clock: Clock) -> None:
    """refunded total back to what it was"""
    practice, payment = await paid_by_paystack(house)
    await refund_news(practice, clock, "refund.processed", payment)
    assert (await practice.payment(payment["id"]))["amountRefunded"] == 5000
    await refund_news(practice, clock, "refund.failed", payment, **{'"amount":20000': '"amount":5000'})
    assert (await practice.payment(payment["id"]))["amountRefunded"] == payment["amountRefunded"] == 0
    balances = await practice.ledger()
    assert balances["NGN"].get("refunds", 0) == 0


# ── Flutterwave ──


async def silent(house: Installation) -> tuple[Practice, dict[str, Any], str]:
    """A practice whose provider sends no webhook, a payment of 100.00 NGN, and its reference."""
    practice = await Practice.make(house, "flutterwave")
    await practice.fault("webhook", "drop", count=None)
    made = (await practice.create(10_000)).body
    return practice, made, made["attempts"][0]["reference"]


async def newest_id(practice: Practice) -> str:
    """The provider's id of the last transaction that it holds."""
    return str((await practice.books())[-1]["id"])


@drives("flw-forged")
async def flw_forged(house: Installation, clock: Clock) -> None:
    """the verified amount wins; the forged one is never stored as paid"""
    practice, made, reference = await silent(house)
    await practice.act(reference)
    about = {"285959875": await newest_id(practice), "Links-616626414629": reference}
    forged = {'"amount":100,': '"amount":100000,', '"charged_amount":100,': '"charged_amount":100000,'}
    await delivered(practice, clock, body_of("flutterwave", "charge.completed.card", **about, **forged))
    payment = await practice.payment(made["id"])
    assert (payment["status"], payment["amount"], payment["amountCaptured"]) == ("succeeded", 10_000, 10_000)
    assert (await practice.ledger())["NGN"]["payments"] == -10_000
    assert await undecided(practice) == []


@drives("flw-two-attempts")
async def flw_two_attempts(house: Installation, clock: Clock) -> None:
    """payment X succeeded by transaction 2"""
    practice, made, reference = await silent(house)
    await practice.act(reference, "decline")
    first = await newest_id(practice)
    about = {"285959901": first, "fail-0001": reference}
    await delivered(practice, clock, body_of("flutterwave", "charge.completed.failed", **about))
    assert (await practice.payment(made["id"]))["status"] == "requires_action"
    clock.advance(10)
    await practice.act(reference)
    second = await newest_id(practice)
    assert first != second
    about = {"285959875": second, "Links-616626414629": reference}
    await delivered(practice, clock, body_of("flutterwave", "charge.completed.card", **about))
    payment = await practice.payment(made["id"])
    assert (payment["status"], payment["providerTransactionId"]) == ("succeeded", second)
    assert await written(practice) == (1, 1)


# ── Whose delivery, and whose call ──


@drives("cross-tenant")
async def cross_tenant(house: Installation, clock: Clock) -> None:
    """rejected, nothing written in either tenant"""
    for code in PROVIDERS:
        ours, theirs = await with_keys(house, code), await with_keys(house, code)
        await ours.create()
        await theirs.create()
        name = {"stripe": INTENT, "paystack": "charge.success.card.metadata0", "flutterwave": "charge.completed.card"}
        body = body_of(code, name[code])
        before = await snapshot(house, ours.id, theirs.id)
        is_problem(await ours.deliver(body, signed(ours, clock, body), to=theirs), 401, "bad_signature")
        assert await snapshot(house, ours.id, theirs.id) == before
        await delivered(ours, clock, body)  # where it belongs, it is heard


@drives("timeout-create")
async def timeout_create(house: Installation, clock: Clock) -> None:
    """one provider payment: same Idempotency-Key (Stripe), verify by reference first (Paystack), verify_by_reference tx_ref first (Flutterwave)"""  # noqa: E501
    for code in PROVIDERS:
        practice, key = await Practice.make(house, code), fresh()
        await practice.fault("create", "lose_answer")
        await practice.fault("webhook", "drop", count=None)  # Stripe's would tell of the intent before the call ends
        made = await practice.create(idempotency=key)
        assert (made.status, made.body["status"]) == (201, "processing")
        [books] = await practice.books()
        if code != "stripe":  # a link that nobody has paid is not known by its reference there
            await practice.act(books["reference"])
        again = await practice.create(idempotency=key)
        assert (again.body["id"], again.headers["Idempotent-Replayed"]) == (made.body["id"], "true")
        clock.advance(60)
        await sweep(house.till.context)
        payment = await practice.payment(made.body["id"])
        assert payment["status"] == ("requires_action" if code == "stripe" else "succeeded")
        assert [row["reference"] for row in await practice.books()] == [made.body["attempts"][0]["reference"]]
        assert len(payment["attempts"]) == 1
