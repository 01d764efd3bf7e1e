"""Events reach the host at the same time: whatever hangs or fails delays no other, and what never arrives is seen.

Sources: https://github.com/getsentry/sentry/pull/110215, https://onfido.statuspage.io/incidents/gln2wqcrc8wq,
https://github.com/fazer-ai/agents/issues/325, and the review of operations, D13 and "Integrate".
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web
from standardwebhooks import Webhook, WebhookVerificationError

from polytill.app import Polytill
from polytill.background import beside
from polytill.doctor import Finding, _events
from polytill.domain.states import Environment
from polytill.flows.admin.event_destination import current, remove_destination, set_destination
from polytill.flows.context import Context
from polytill.flows.worker import event_delivery
from polytill.flows.worker.event_delivery import RETRY_S, EventSender
from polytill.storage import event_deliveries, events
from polytill.storage.events import Event
from polytill.web.admission import Admission
from polytill.web.metrics import RequestMetrics
from tests.installation import Installation


async def examined(context: Context) -> list[Finding]:
    """What doctor finds about event deliveries."""
    return [finding async for finding in _events(context)]


class Host:
    """The host's endpoint. ``hanging`` practices are never answered, ``answers`` says a status for a practice."""

    def __init__(self) -> None:
        self.received: list[tuple[dict[str, str], dict[str, Any], float]] = []
        self.hanging: set[int] = set()
        self.answers: dict[int, int] = {}
        self.pause_s = 0.0
        self.open = self.most_open = 0
        self.open_of: Counter[str] = Counter()  # of each payment; more than one breaks its order
        self.most_open_of_one = 0
        self.body = b""
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        event = json.loads(body)
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.received.append((headers, {**event, "raw": body.decode()}, time.monotonic()))
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        payment_id = event["data"]["paymentId"]
        self.open_of[payment_id] += 1
        self.most_open_of_one = max(self.most_open_of_one, self.open_of[payment_id])
        try:
            await asyncio.sleep(3600 if event["practiceId"] in self.hanging else self.pause_s)
        finally:
            self.open -= 1
            self.open_of[payment_id] -= 1
        return web.Response(status=self.answers.get(event["practiceId"], 204), body=self.body or None)

    def ids(self, practice_id: int | None = None) -> list[str]:
        return [e["id"] for _, e, _ in self.received if practice_id in (None, e["practiceId"])]


@contextlib.asynccontextmanager
async def a_host() -> AsyncIterator[Host]:
    found = Host()
    app = web.Application()
    app.router.add_post("/events", found.take)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}/events"
    try:
        yield found
    finally:
        await runner.cleanup()


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    async with a_host() as found:
        yield found


def settle_for(till: Polytill, **more: Any) -> None:
    """Other settings for this process."""
    till.context.settings = till.context.settings.model_copy(update=more)


_count = iter(range(1_000_000))


async def happen(till: Polytill, practice_id: int, payments: int, each: int = 1) -> list[str]:
    """Events of a practice in the feed, due: so many of each payment."""
    made = []
    async with till.context.owner.transaction() as tx:
        await events.open_feed(tx, till.context.owner, till.context.feed_seen, till.context.world.now())
        for _ in range(payments):
            payment_id = f"p{next(_count)}"
            for _ in range(each):
                event = Event(
                    f"e{next(_count):06}",
                    practice_id,
                    Environment.sandbox,
                    "payment.succeeded",
                    payment_id,
                    {"paymentId": payment_id},
                    till.context.world.now(),
                )
                position = await events.feed(tx, event)
                assert position is not None
                event_deliveries.plan(tx, replace(event, position=position), till.context.shared_after(-1))
                made.append(event.event_id)
    return made


async def states(till: Polytill) -> Counter[str]:
    found = await event_deliveries.listed(till.context.owner, None, None, None, 100_000)
    return Counter(one.state for one in found)


async def until(done: Any, within_s: float = 10.0) -> None:
    end = time.monotonic() + within_s
    while not done():
        assert time.monotonic() < end, "this did not become true"
        await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def delivering(till: Polytill) -> AsyncIterator[EventSender]:
    """A worker that delivers beside the block."""
    worker = EventSender(till.context)

    async def work() -> None:
        while True:
            await event_delivery.turn(worker, till.context)
            await asyncio.sleep(0.1)

    async with beside(work()):
        yield worker
    await worker.leave()


# ── Nothing delays another ──


async def test_a_practice_that_hangs_delays_no_other(till: Polytill, host: Host) -> None:
    """Six payments of practice A, whose events hang; then one of B. It took 117 seconds."""
    host.hanging = {1}
    await set_destination(till.context, host.url, "test")
    await happen(till, 1, 6)
    async with delivering(till):
        await until(lambda: len(host.ids(1)) == 6)
        [event_id] = await happen(till, 2, 1)
        began_s = time.monotonic()
        await until(lambda: host.ids(2) == [event_id], 5)
        assert time.monotonic() - began_s < 3


async def test_ten_thousand_events_of_one_practice_do_not_starve_others(till: Polytill, host: Host) -> None:
    host.hanging = {1}
    settle_for(till, event_deliveries_at_once=20, event_timeout_s=2.0)
    await set_destination(till.context, host.url, "test")
    await happen(till, 1, 3000)
    async with delivering(till):
        await until(lambda: len(host.ids(1)) >= 10)
        for practice_id in range(2, 12):
            await happen(till, practice_id, 3)
        began_s = time.monotonic()
        await until(lambda: all(len(host.ids(n)) == 3 for n in range(2, 12)), 8)
        assert time.monotonic() - began_s < 5
        hung = len(host.ids(1))
        await asyncio.sleep(3)
        assert len(host.ids(1)) - hung <= 20, "a practice that fails is tried a few at a time"


async def test_a_slow_host_is_sent_many_at_once(till: Polytill, host: Host) -> None:
    """One practice has 100 events at a host that answers in one second: two seconds, not a hundred."""
    host.pause_s = 1.0
    await set_destination(till.context, host.url, "test")
    await happen(till, 1, 100)
    began_s = time.monotonic()
    assert await event_delivery.deliver(till.context) == 100
    assert time.monotonic() - began_s < 5
    assert host.most_open >= 80
    assert (await states(till)) == {"delivered": 100}


async def test_deliveries_have_a_time_limit_of_their_own(till: Polytill, host: Host) -> None:
    host.hanging = {1}
    settle_for(till, event_timeout_s=0.5, provider_timeout_s=30.0)
    await set_destination(till.context, host.url, "test")
    await happen(till, 1, 3)
    began_s = time.monotonic()
    assert await event_delivery.deliver(till.context) == 3
    assert time.monotonic() - began_s < 3
    found = await event_deliveries.listed(till.context.owner, "pending", None, None, 10)
    assert [(one.tries, one.last_status) for one in found] == [(1, None)] * 3
    assert all(one.last_error for one in found)


@pytest.mark.parametrize("size", [10, 3_000_000])
async def test_an_answer_is_its_status(till: Polytill, host: Host, size: int) -> None:
    host.body = b"x" * size
    await set_destination(till.context, host.url, "test")
    await happen(till, 1, 2)
    assert await event_delivery.deliver(till.context) == 2
    assert (await states(till)) == {"delivered": 2}


# ── Order ──


async def test_the_order_of_a_payment_is_kept(till: Polytill, host: Host) -> None:
    host.pause_s = 0.05
    await set_destination(till.context, host.url, "test")
    made = await happen(till, 1, 5, each=4)
    workers = [EventSender(till.context) for _ in range(3)]
    for _ in range(60):
        await asyncio.gather(*(worker.turn() for worker in workers))
        await asyncio.sleep(0.05)
    assert sorted(host.ids()) == sorted(made), "each once"
    assert host.most_open_of_one == 1, "the next event of a payment waits for the answer to the one before it"
    of_payment: dict[str, list[str]] = {}
    for _, event, _ in host.received:
        of_payment.setdefault(event["data"]["paymentId"], []).append(event["id"])
    assert all(ids == sorted(ids) and len(ids) == 4 for ids in of_payment.values())


async def test_a_later_event_waits_for_a_refused_one_and_not_for_an_abandoned_one(till: Polytill, host: Host) -> None:
    host.answers[1] = 500
    await set_destination(till.context, host.url, "test")
    first, second = await happen(till, 1, 1, each=2)
    [other] = await happen(till, 1, 1)
    await event_delivery.deliver(till.context)
    assert sorted(host.ids()) == [first, other]
    await _used_up(till)
    await event_delivery.deliver(till.context)
    assert (await states(till))["abandoned"] == 2
    host.answers.clear()
    await event_delivery.deliver(till.context)
    assert host.ids()[-1] == second


async def _used_up(till: Polytill) -> None:
    async with till.context.owner.transaction() as tx:
        tx.add(
            "UPDATE event_deliveries SET tries = $1, next_try_at = $2 WHERE state = 'pending' AND tries > 0",
            len(RETRY_S),
            till.context.shared_after(-1),
        )


# ── Tries ──


async def test_the_first_tries_are_seconds_apart_with_jitter(till: Polytill, host: Host) -> None:
    assert RETRY_S[:5] == (5, 30, 120, 600, 3600)
    host.answers[1] = 503
    await set_destination(till.context, host.url, "test")
    await happen(till, 1, 60)
    pauses = []
    for tries in range(2):
        before = till.context.shared_after(0)
        await event_delivery.deliver(till.context)
        found = await event_deliveries.listed(till.context.owner, "pending", None, None, 100)
        assert {one.tries for one in found} == {tries + 1}
        pauses.append([(one.next_try_at - before).total_seconds() for one in found if one.next_try_at])
        async with till.context.owner.transaction() as tx:
            tx.add("UPDATE event_deliveries SET next_try_at = $1", till.context.shared_after(-1))
    assert all(3.9 < pause < 12 for pause in pauses[0])
    assert all(23.9 < pause < 42 for pause in pauses[1])
    assert max(pauses[1]) - min(pauses[1]) > 3


# ── Several workers, and one that dies ──


async def test_a_claim_of_a_dead_worker_ends(till: Polytill, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.hanging = {1}
    await set_destination(till.context, host.url, "test")
    [event_id] = await happen(till, 1, 1)
    dead = EventSender(till.context)
    await dead.turn()
    await until(lambda: host.ids() == [event_id])
    living = EventSender(till.context)
    await living.turn()
    assert living.under_way == 0, "the other one has claimed it"
    host.hanging.clear()
    claim_s = till.context.settings.event_timeout_s + event_delivery.CLAIM_MARGIN_S
    now = till.context.shared_after
    monkeypatch.setattr(type(till.context), "shared_after", lambda _, seconds: now(seconds + claim_s + 1))
    await living.turn()
    await until(lambda: host.ids() == [event_id, event_id])
    await living.pause(2)
    await living.turn()
    assert (await states(till)) == {"delivered": 1}
    await dead.leave()


# ── The destination ──


async def test_a_changed_destination_takes_effect_within_seconds(till: Polytill, host: Host) -> None:
    """What hangs at the old address, and what waits for its next try, goes to the new one at once."""
    host.hanging, host.answers = {1}, {2: 500}
    await set_destination(till.context, host.url, "test")
    async with delivering(till), a_host() as new:
        hanging, waiting = await happen(till, 1, 3), await happen(till, 2, 3)
        await until(lambda: len(host.ids()) == 6)
        await asyncio.sleep(0.5)
        secret = await set_destination(till.context, new.url, "test")
        began_s = time.monotonic()
        await until(lambda: sorted(new.ids()) == sorted(hanging + waiting), 5)
        assert time.monotonic() - began_s < 4
        await until(lambda: host.open == 0, 2)
        for headers, event, _ in new.received:
            Webhook(secret).verify(event["raw"], headers)
        await asyncio.sleep(0.3)
        assert (await states(till)) == {"delivered": 6}


async def test_a_removed_destination_takes_effect_within_seconds(till: Polytill, host: Host) -> None:
    host.hanging, host.answers = {1}, {2: 500}
    await set_destination(till.context, host.url, "test")
    async with delivering(till):
        await happen(till, 1, 2)
        await happen(till, 2, 2)
        await until(lambda: len(host.ids()) == 4)
        await remove_destination(till.context, "test")
        await until(lambda: host.open == 0, 3)
        await asyncio.sleep(0.5)
        assert len(host.ids()) == 4
        assert (await states(till)) == {}
        assert len(await events.read(till.context.owner, 0, 10)) == 4, "they stay in the feed"


async def test_the_previous_secret_signs_for_a_day(till: Polytill, host: Host) -> None:
    first = await set_destination(till.context, host.url, "test")
    second = await set_destination(till.context, host.url, "test")
    await happen(till, 1, 1)
    await event_delivery.deliver(till.context)
    headers, event, _ = host.received[-1]
    assert headers["webhook-signature"].count("v1,") == 2
    for secret in (first, second):
        assert Webhook(secret).verify(event["raw"], headers)["id"] == event["id"]
    async with till.context.owner.transaction() as tx:
        tx.add("UPDATE event_previous_secrets SET signs_until = $1", till.context.shared_after(-1))
    await happen(till, 1, 1)
    await event_delivery.deliver(till.context)
    headers, event, _ = host.received[-1]
    assert Webhook(second).verify(event["raw"], headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(first).verify(event["raw"], headers)


async def test_signatures_carry_the_shared_clock(till: Polytill, host: Host) -> None:
    """A worker 30 minutes off signs with the time of the owner database's server."""
    secret = await set_destination(till.context, host.url, "test")
    await happen(till, 1, 1)
    right = time.time
    till.context.world = replace(till.context.world, time_s=lambda: right() + 1800, servers_tell=True)
    till.context.server_clock._zero_s = right() - till.context.world.elapsed_s()
    await event_delivery.deliver(till.context)
    headers, event, _ = host.received[-1]
    assert abs(int(headers["webhook-timestamp"]) - right()) < 10
    assert Webhook(secret).verify(event["raw"], headers)


async def test_the_destination_over_the_api(installation: Installation, host: Host) -> None:
    path, key, context = "/api/owner/event-destination", installation.owner_key, installation.till.context
    assert (await installation.call("GET", path, key)).status == 404
    assert (await installation.call("DELETE", path, key)).status == 404
    secret = (await installation.call("PUT", path, key, {"url": host.url})).body["secret"]
    found = await installation.call("GET", path, key)
    assert secret not in str(found.body)
    assert {name: found.body[name] for name in ("url", "secretLast4", "destination", "pending", "abandoned")} == {
        "url": host.url,
        "secretLast4": secret[-4:],
        "destination": "active",
        "pending": 0,
        "abandoned": 0,
    }
    assert found.body["previousSecretUntil"] is None
    await installation.call("PUT", path, key, {"url": host.url})
    until_text = (await installation.call("GET", path, key)).body["previousSecretUntil"]
    ends = datetime.fromisoformat(until_text) - datetime.now(UTC)
    assert timedelta(hours=23) < ends <= timedelta(hours=24)
    assert (await installation.call("DELETE", path, key)).status == 204
    assert await current(context) is None
    assert (await installation.call("GET", path, key)).status == 404


# ── Abandoned ──


async def test_an_abandoned_event_is_seen_replayed_and_resolved(installation: Installation, host: Host) -> None:
    till, key, base = installation.till, installation.owner_key, "/api/owner/event-deliveries"
    host.answers[1] = 500
    await set_destination(till.context, host.url, "test")
    made = await happen(till, 1, 2)
    await event_delivery.deliver(till.context)
    await _used_up(till)
    await event_delivery.deliver(till.context)
    listed = (await installation.call("GET", f"{base}?state=abandoned", key)).body["data"]
    assert sorted(one["id"] for one in listed) == made
    assert [(one["tries"], one["lastStatus"], one["practiceId"]) for one in listed] == [(len(RETRY_S) + 1, 500, 1)] * 2
    assert all(one["abandonedAt"] and one["nextTryAt"] is None for one in listed)
    health = (await installation.call("GET", "/api/owner/health", key)).body["events"]
    assert (health["destination"], health["abandoned"], health["pending"]) == ("failing", 2, 0)
    assert (await installation.call("GET", "/api/owner/event-destination", key)).body["abandoned"] == 2
    [finding] = await examined(till.context)
    assert finding.bad
    assert finding.sentence.startswith("2 events ")
    metrics = RequestMetrics(till, Admission(till.context.settings.most_requests))
    assert metrics.registry.get_sample_value("polytill_events_abandoned") == 2
    # One is resolved, the other delivered.
    cursor = listed[0]["cursor"]
    assert (await installation.call("POST", f"{base}/{cursor}/resolve", key)).status == 204
    assert (await installation.call("POST", f"{base}/{cursor}/resolve", key)).status == 409
    assert (await installation.call("GET", "/api/owner/health", key)).body["events"]["abandoned"] == 1
    host.answers.clear()
    assert (await installation.call("POST", f"{base}/replay", key)).body == {"count": 1}
    await event_delivery.deliver(till.context)
    assert host.ids()[-1] == listed[1]["id"]
    assert (await installation.call("GET", "/api/owner/health", key)).body["events"]["abandoned"] == 0
    assert await examined(till.context) == []


async def test_a_destination_that_fails_for_long_is_seen(installation: Installation, host: Host) -> None:
    till = installation.till
    host.answers[1] = 500
    await set_destination(till.context, host.url, "test")
    await happen(till, 1, 1)
    await event_delivery.deliver(till.context)
    path = "/api/owner/health"
    assert (await installation.call("GET", path, installation.owner_key)).body["events"]["destination"] == "active"
    async with till.context.owner.transaction() as tx:
        tx.add("UPDATE event_feed SET created_at = $1", till.context.world.after(-7500))
    found = (await installation.call("GET", path, installation.owner_key)).body["events"]
    assert (found["destination"], found["retrying"]) == ("failing", 1)
    [finding] = await examined(till.context)
    assert "more than 2 h" in finding.sentence
