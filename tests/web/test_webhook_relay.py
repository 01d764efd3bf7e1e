"""Old code and polytill on one Paystack account: each webhook reaches whom it belongs to, byte for byte."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from polytill.background import sweep
from tests.installation import Installation, running
from tests.web.browsing import Browser, person
from tests.web.support import Clock, Practice, fresh, is_problem, until
from tests.wording import part, said

pytestmark = pytest.mark.asyncio(loop_scope="module")
PAYMENTS = 8


@dataclass
class OldCode:
    """A tiny server, as the host's old code: knows its own references, verifies the signature, and may be down."""

    secret: str = ""
    references: set[str] = field(default_factory=set)
    got: list[tuple[str, bytes]] = field(default_factory=list)
    refused: list[bytes] = field(default_factory=list)
    is_down: bool = False
    url: str = ""

    async def receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        if self.is_down:
            return web.Response(status=500)
        tag = hmac.new(self.secret.encode(), body, hashlib.sha512).hexdigest()
        if tag != request.headers.get("x-paystack-signature"):
            return web.Response(status=401)
        reference = json.loads(body)["data"].get("reference")
        if reference not in self.references:
            self.refused.append(body)
            return web.Response(status=404)
        self.got.append((reference, body))
        return web.Response(text="ok")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def both(
    file_engine_url: str | None, tmp_path_factory: pytest.TempPathFactory, clock: Clock
) -> AsyncIterator[tuple[Installation, OldCode]]:
    """A service that may relay to the old code on this machine."""
    old = OldCode()
    app = web.Application()
    app.router.add_post("/hooks", old.receive)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    origin = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"  # type: ignore[union-attr]
    old.url = f"{origin}/hooks"
    folder = tmp_path_factory.mktemp("relay")
    async with running(
        folder, file_engine_url, world=clock.world(), allowed_relay_origins=frozenset({origin})
    ) as found:
        yield found, old
    await runner.cleanup()


@pytest_asyncio.fixture(loop_scope="module")
async def shared_account(both: tuple[Installation, OldCode]) -> tuple[Practice, OldCode]:
    """A practice with an account that the old code uses, too."""
    house, old = both
    practice = await Practice.make(house, "paystack")
    old.secret, old.is_down, old.got, old.refused = practice.keys["secretKey"], False, [], []
    path = "/payment-providers/paystack/webhook-relay/sandbox"
    answered = await practice.call("PUT", path, {"url": old.url})
    assert answered.body["webhookRelays"] == {"sandbox": old.url}
    return practice, old


async def paid_by_old_code(practice: Practice, old: OldCode) -> str:
    """The old code takes a payment with the same keys, without polytill."""
    reference = fresh("order-")
    old.references.add(reference)
    async with practice.house.http.post(
        f"{practice.house.simulator.url}/paystack/transaction/initialize",
        json={"email": "ada@example.com", "amount": "250000", "currency": "NGN", "reference": reference},
        headers={"Authorization": f"Bearer {practice.keys['secretKey']}"},
    ) as answered:
        assert answered.status == 200, await answered.text()
    await practice.act(reference)
    return reference


def sent_about(practice: Practice, reference: str) -> bytes:
    """The body that Paystack has sent about a payment."""
    log = practice.house.simulator.network.deliverer.log
    return next(one.body for one in log if reference.encode() in one.body)


async def test_each_webhook_reaches_whom_it_belongs_to(shared_account: tuple[Practice, OldCode], clock: Clock) -> None:
    practice, old = shared_account
    theirs: list[str] = []
    ours: list[Any] = []
    for number in range(PAYMENTS):
        old.is_down = PAYMENTS // 4 <= number < PAYMENTS // 2
        theirs.append(await paid_by_old_code(practice, old))
        ours.append(await practice.paid())
        if old.is_down:  # ours do not wait for the old code
            assert (await practice.payment(ours[-1]["id"]))["status"] == "succeeded"
    waiting = (await practice.call("GET", "/webhook-events?status=relaying")).body
    assert {one["relay"]["lastStatus"] for one in waiting} == {500}
    assert len(waiting) == PAYMENTS // 4
    old.is_down = False
    clock.advance(11)
    await sweep(practice.house.till.context)
    assert sorted(old.got) == sorted((reference, sent_about(practice, reference)) for reference in theirs)
    assert old.refused == [], "nothing that belongs here was sent away"
    webhooks = (await practice.call("GET", "/webhook-events?limit=500")).body
    assert sorted(one["status"] for one in webhooks) == ["applied"] * PAYMENTS + ["relayed"] * PAYMENTS
    left = await practice.house.till.context.opening.practice(practice.id)
    assert await left.value("SELECT count(*) FROM webhook_relays WHERE sealed_request IS NOT NULL") == 0


async def test_what_is_neither_ours_nor_theirs_is_parked_and_dismissed_in_bulk(
    shared_account: tuple[Practice, OldCode],
) -> None:
    practice, old = shared_account
    for _ in range(3):
        old.references.discard(await paid_by_old_code(practice, old))
        old.references.clear()
    parked = await until(
        lambda: practice.call("GET", "/webhook-events?status=parked"), lambda found: len(found.body) == 3
    )
    assert {(one["reason"], one["relay"]["state"]) for one in parked.body} == {("unknown_reference", "not_theirs")}
    path, note = "/webhook-events/dismiss", "Nobody knows them"
    for body in ({}, {"all": True}, {"note": " ", "all": True}, {"note": note}, {"note": note, "ids": []}):
        is_problem(await practice.call("POST", path, body), 422)
    dry = await practice.call("POST", path, {"note": note, "reason": "unknown_reference", "dryRun": True})
    assert dry.body == {"count": 3, "dryRun": True}
    one = await practice.call("POST", path, {"note": note, "ids": [parked.body[0]["id"]]})
    none = await practice.call("POST", path, {"note": note, "providerCode": "stripe"})
    rest = await practice.call("POST", path, {"note": note, "providerCode": "paystack", "eventType": "charge.success"})
    assert [answered.body["count"] for answered in (one, none, rest)] == [1, 0, 2]
    dismissed = (await practice.call("GET", "/webhook-events?status=dismissed")).body
    assert [each["dismissedNote"] for each in dismissed] == [note] * 3
    again = await practice.call("POST", f"/webhook-events/{dismissed[0]['id']}/replay")
    assert (again.status, again.body["status"]) == (200, "dismissed")
    lines = (await practice.call("GET", "/audit-log?subject=webhooks")).body
    assert [(line["action"], line["detail"]["count"]) for line in lines] == [("webhooks.dismissed", n) for n in (2, 1)]


async def test_staff_dismiss_what_the_page_has_shown(shared_account: tuple[Practice, OldCode]) -> None:
    practice, old = shared_account
    door, here = f"/practice/{practice.id}", f"/practice/{practice.id}/webhooks"

    async def parked(number: int) -> None:
        await paid_by_old_code(practice, old)
        old.references.clear()
        await until(lambda: practice.call("GET", "/webhook-events?status=parked"), lambda a: len(a.body) == number)

    await parked(1)
    await person(practice.house, await practice.db, "pat@example.com")
    async with Browser(practice.house) as browser:
        await browser.sign_in(door, "pat@example.com")
        shown = await browser.get(f"{here}?provider=paystack&reason=unknown_reference")
        assert said("relay.not_theirs") in shown.text
        given = shown.forms[here]
        await parked(2)
        for change, key in (({"note": "old"}, "webhooks.tick_box"), ({"sure": "yes"}, "fault.say_why_dismissed")):
            wrong = await browser.post(here, {**given, **change})
            assert (wrong.status, part(key) in wrong.text) == (422, True)
        done = await browser.post(here, {**given, "note": "old", "sure": "yes"})
        assert (done.status, done.done) == (303, "webhooks_dismissed")
        left = (await practice.call("GET", "/webhook-events?status=parked")).body
        assert len(left) == 1, "the one that arrived since stays"
        assert "old" in (await browser.get(f"{here}?state=dismissed")).text
        replayed = await browser.post(f"{here}/{left[0]['id']}", {**given})
        assert replayed.done == "still_parked"


async def test_the_relay_is_set_on_the_providers_page(shared_account: tuple[Practice, OldCode]) -> None:
    practice, old = shared_account
    door = f"/practice/{practice.id}"
    page, form = f"{door}/providers/paystack", f"{door}/webhooks/relay/paystack/sandbox"
    await person(practice.house, await practice.db, "pat@example.com")
    await person(practice.house, await practice.db, "vic@example.com", role="viewer")
    async with Browser(practice.house) as browser:
        await browser.sign_in(door, "pat@example.com")
        assert (await browser.send(page, form, url="http://169.254.169.254/latest")).done == "relay_refused"
        assert (await browser.get(page)).forms[form]["url"] == [old.url]
        assert (await browser.send(page, form, url="")).done == "saved"
        assert (await practice.call("GET", "/payment-providers/paystack")).body["webhookRelays"] == {}
    is_problem(await practice.call("PUT", "/payment-providers/paystack/webhook-relay/sandbox", {"url": "x"}), 422)
    is_problem(
        await practice.call("PUT", "/payment-providers/stripe/webhook-relay/sandbox", {"url": "https://a.example"}), 404
    )
