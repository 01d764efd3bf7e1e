"""The platform is told: events in the transaction that makes them true, one feed in order, signed deliveries."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from standardwebhooks import Webhook

from polytill import background
from polytill.domain.errors import NotNow
from polytill.flows import lease, presence
from polytill.flows.worker import sweep
from polytill.storage import leases, payments
from tests.installation import Installation


class Platform:
    """A platform's own endpoint: keeps what it is sent, and answers as it is told to."""

    def __init__(self) -> None:
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[int] = []
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        status = self.answers.pop(0) if self.answers else 204
        if status < 300:
            self.received.append((dict(request.headers), body))
        return web.Response(status=status)


@pytest.fixture
async def platform() -> AsyncIterator[Platform]:
    found = Platform()
    app = web.Application()
    app.router.add_post("/events", found.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}/events"
    yield found
    await runner.cleanup()


async def _paid(installation: Installation, practice_id: int, key: str, idempotency: str) -> str:
    base = f"/api/practices/{practice_id}/payments"
    body = {"amount": 500_000, "currency": "NGN", "customer": {"email": "ada@example.com"}, "reference": idempotency}
    made = await installation.call("POST", base, key, body, idempotency=idempotency)
    assert made.status == 201, made.body
    await installation.network("POST", f"/pay/{made.body['attempts'][0]['reference']}", {"outcome": "success"})
    confirmed = await installation.call("POST", f"{base}/{made.body['id']}/confirm", key)
    assert confirmed.body["status"] == "succeeded"
    return str(made.body["id"])


async def _feed(installation: Installation, after: int = 0) -> Any:
    return (await installation.call("GET", f"/api/owner/events?after={after}", installation.owner_key)).body


async def test_a_success_reaches_the_platform_once_signed(installation: Installation, platform: Platform) -> None:
    practice_id, key = await installation.practice("Clinic", "NGN")
    await installation.configure(practice_id, key, "paystack", ["NGN"])
    put = await installation.call("PUT", "/api/owner/event-destination", installation.owner_key, {"url": platform.url})
    payment_id = await _paid(installation, practice_id, key, "one")
    platform.answers = [500]
    await background.sweep(installation.till.context)  # the first try is answered 500 …
    assert platform.received == []
    await _due_now(installation)
    await background.sweep(installation.till.context)  # … the second arrives …
    await background.sweep(installation.till.context)  # … and there is no third
    [(headers, body)] = platform.received
    event = Webhook(put.body["secret"]).verify(body.decode(), {k.lower(): v for k, v in headers.items()})
    assert event["type"] == "payment.succeeded"
    assert event["data"]["paymentId"] == payment_id
    assert event["data"]["reference"] == "one"
    assert event["data"]["amountCaptured"] == 500_000
    assert event["environment"] == "sandbox"
    feed = await _feed(installation)
    assert [e["id"] for e in feed["data"]] == [headers["webhook-id"]]
    assert (await _feed(installation, feed["nextCursor"]))["data"] == []


async def _due_now(installation: Installation) -> None:
    owner = installation.till.context.owner
    async with owner.transaction() as tx:
        tx.add("UPDATE event_deliveries SET next_try_at = $1", installation.till.context.world.after(-1))


async def test_a_payments_events_keep_their_order(installation: Installation, platform: Platform) -> None:
    practice_id, key = await installation.practice("Clinic", "NGN")
    await installation.configure(practice_id, key, "flutterwave", ["NGN"])
    await installation.call("PUT", "/api/owner/event-destination", installation.owner_key, {"url": platform.url})
    payment_id = await _paid(installation, practice_id, key, "one")
    path = f"/api/practices/{practice_id}/payments/{payment_id}/refunds"
    for number in (1, 2):
        back = await installation.call("POST", path, key, {"amount": 1000 * number}, idempotency=f"r{number}")
        assert back.body["status"] == "succeeded", back.body
    platform.answers = [503]  # the first is refused: the later ones of this payment must wait for it
    for _ in range(6):
        await background.sweep(installation.till.context)
        await _due_now(installation)
    kinds = [(e["type"], e["data"].get("amount")) for e in (await _feed(installation))["data"]]
    assert [kind for kind, _ in kinds] == ["payment.succeeded", "refund.succeeded", "refund.succeeded"]
    assert [amount for _, amount in kinds[1:]] == [1000, 2000]
    assert len(platform.received) == 3
    ids = [headers["webhook-id"] for headers, _ in platform.received]
    assert ids == [e["id"] for e in (await _feed(installation))["data"]]


async def test_an_event_can_be_delivered_again(installation: Installation, platform: Platform) -> None:
    practice_id, key = await installation.practice("Clinic", "NGN")
    await installation.configure(practice_id, key, "paystack", ["NGN"])
    await installation.call("PUT", "/api/owner/event-destination", installation.owner_key, {"url": platform.url})
    await _paid(installation, practice_id, key, "one")
    await background.sweep(installation.till.context)
    cursor = (await _feed(installation))["nextCursor"]
    again = await installation.call("POST", f"/api/owner/events/{cursor}/replay", installation.owner_key)
    assert again.status == 202
    await background.sweep(installation.till.context)
    assert len(platform.received) == 2
    assert platform.received[0][1] == platform.received[1][1]
    missing = await installation.call("POST", f"/api/owner/events/{cursor + 9}/replay", installation.owner_key)
    assert missing.status == 404


async def test_two_workers_forward_and_deliver_once(installation: Installation, platform: Platform) -> None:
    practice_id, key = await installation.practice("Clinic", "NGN")
    await installation.configure(practice_id, key, "paystack", ["NGN"])
    await installation.call("PUT", "/api/owner/event-destination", installation.owner_key, {"url": platform.url})
    await asyncio.gather(*(_paid(installation, practice_id, key, f"p{n}") for n in range(5)))
    await asyncio.gather(*(background.sweep(installation.till.context) for _ in range(4)))
    assert len((await _feed(installation))["data"]) == 5
    assert len({headers["webhook-id"] for headers, _ in platform.received}) == len(platform.received) == 5


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/x",
        "http://127.0.0.1.example.com/x",
        "http://localhost.example/",
        "ftp://127.0.0.1/",
        "not an address",
        "https://a..example/x",  # no resolver takes it
        f"https://{'a' * 70}.example/x",
    ],
)
async def test_a_destination_must_be_https(installation: Installation, url: str) -> None:
    put = await installation.call("PUT", "/api/owner/event-destination", installation.owner_key, {"url": url})
    assert put.status == 422


async def test_no_payment_without_a_lease(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    practice_id, key = await installation.practice("Clinic", "NGN")
    await installation.configure(practice_id, key, "paystack", ["NGN"])
    context = installation.till.context

    async def down(*_: object) -> None:
        raise NotNow

    monkeypatch.setattr(lease, "_write", down)
    # Nor does an announcement of this process count as one.
    monkeypatch.setattr(presence, "LEASE_S", float("-inf"))
    context.announced_until_s = float("-inf")
    body = {"amount": 500_000, "currency": "NGN", "customer": {"email": "ada@example.com"}}
    path = f"/api/practices/{practice_id}/payments"
    refused = await installation.call("POST", path, key, body, idempotency="one")
    assert (refused.status, refused.body["code"]) == (503, "no_lease")
    assert "Retry-After" in refused.headers
    assert await payments.by_key(await context.opening.practice(practice_id), "one") is None
    monkeypatch.undo()
    assert (await installation.call("POST", path, key, body, idempotency="one")).status == 201
    # While the lease lasts, the owner database is not needed for it.
    monkeypatch.setattr(lease, "_write", down)
    assert (await installation.call("POST", path, key, body, idempotency="two")).status == 201


async def test_a_lapsed_lease_ends_only_when_nothing_is_open(installation: Installation) -> None:
    practice_id, key = await installation.practice("Clinic", "NGN")
    await installation.configure(practice_id, key, "paystack", ["NGN"])
    context = installation.till.context
    await _paid(installation, practice_id, key, "one")
    lapsed = context.world.after(-sweep.GRACE_S - 1)
    body = {"amount": 500_000, "currency": "NGN", "customer": {"email": "ada@example.com"}}
    path = f"/api/practices/{practice_id}/payments"
    waiting = await installation.call("POST", path, key, body, idempotency="two")
    async with context.owner.transaction() as tx:
        tx.add("UPDATE practice_leases SET lease_until = $1", lapsed)
    await sweep.sweep_practice(context, practice_id, lapsed)
    assert practice_id in await leases.all_held(context.owner), "a payer still holds a link here"
    await installation.call("POST", f"{path}/{waiting.body['id']}/cancel", key, {}, idempotency="off")
    practice = await context.practice(practice_id)
    async with practice.db.transaction() as tx:
        tx.add("UPDATE payment_attempts SET next_lookup_at = NULL")
    await sweep.sweep_practice(context, practice_id, lapsed)
    assert practice_id not in await leases.all_held(context.owner)
