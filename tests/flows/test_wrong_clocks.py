"""Clocks that are set back or were ahead: no key is used after its time, and no payment is made behind a lease that is over.

``elapsed_s`` never jumps, the time of the day does.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from polytill.background import sweep
from polytill.domain.clock import World
from polytill.domain.money import Money
from polytill.domain.secret import Secret
from polytill.domain.states import Environment, PaymentStatus
from polytill.flows import lease
from polytill.flows.admin import provider_configs
from polytill.flows.admin.credentials import Keys
from polytill.flows.admin.provider_configs import Wish
from polytill.flows.command import Command
from polytill.flows.payments.create import create_payment
from polytill.flows.payments.request import PaymentRequest
from polytill.flows.refunds.create import refresh_by_id
from polytill.providers.contract import Customer
from polytill.providers.http import AnswerLost
from polytill.providers.outcomes import Reason, Unknown
from polytill.storage import leases
from tests import calls
from tests.flows.scenes import Clock, Scene
from tests.installation import TEST_KEYS, fresh_settings, opened

HOUR = 3600.0
LOST = Unknown(Reason.timeout)


@dataclass
class Stripe:
    """Keeps idempotency keys for 24 hours, by its own clock, and its answers about refunds are always lost."""

    clock: Clock
    refunds: list[str] = field(default_factory=list)
    kept: dict[str, float] = field(default_factory=dict)

    async def send(self, method: str, url: str, headers: Any, body: bytes | None) -> Any:
        path = urlsplit(url).path
        if method == "POST" and path == "/v1/refunds":
            key = headers["Idempotency-Key"]
            if key not in self.kept or self.clock() - self.kept[key] >= 24 * HOUR:
                self.refunds.append(parse_qs((body or b"").decode())["amount"][0])
                self.kept[key] = self.clock()
        if path == "/v1/refunds":
            raise AnswerLost("trouble on the way back")
        intent = {
            "id": "pi_0",
            "object": "payment_intent",
            "status": "succeeded",
            "livemode": False,
            "amount": 50_000,
            "amount_received": 50_000,
            "currency": "usd",
            "client_secret": "pi_0_secret_x",
            "metadata": {},
        }
        return 200, {}, json.dumps(intent).encode()


@pytest.mark.parametrize("back_h", [0, 2])
async def test_a_refund_is_not_repeated_under_a_key_that_is_forgotten(
    tmp_path: Path, engine_url: str | None, back_h: int
) -> None:
    clock, back_s = Clock(), [0.0]
    provider, world = Stripe(clock), World(lambda: clock() - back_s[0], elapsed_s=clock)
    settings = fresh_settings(tmp_path, engine_url)
    async with opened(settings, ["stripe"], world=world, transport=provider) as till:
        entry, _ = await calls.create_practice(till, "Clinic", "USD")
        given = TEST_KEYS["stripe"]
        keys = Keys(given["publicKey"], Secret(given["secretKey"]), Secret(given["webhookSecret"]))
        wish = Wish("stripe", Environment.sandbox, keys, is_enabled=True, supported_currencies=["USD"])
        await provider_configs.configure(till.context, entry.id, wish, "test")
        request = PaymentRequest(Money(50_000, "USD"), customer=Customer("a@example.com"))
        made = await create_payment(till.context, entry.id, request, Command("k", "test"))
        paid = (
            made
            if made.payment.status is PaymentStatus.succeeded
            else await calls.confirm(till, entry.id, made.payment.id)
        )
        assert paid.payment.status is PaymentStatus.succeeded
        await calls.refund(till, entry.id, paid.payment.id, key="back", amount=20_000)
        for half_hour in range(60):
            back_s[0] = back_h * HOUR if half_hour >= 44 else 0.0
            clock.at_s += HOUR / 2
            await sweep(till.context)
        assert provider.refunds == ["20000"]


@pytest.mark.parametrize("verb", ["lookup", "lookup_refund"])
async def test_how_old_a_call_is_does_not_go_back(scene: Scene, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    await scene.configure()
    scene.wire.always(verb, LOST)
    if verb == "lookup":
        scene.wire.says("create", LOST)
        await scene.pay()
    else:
        payment = await scene.succeeded()
        scene.wire.says("refund", LOST)
        await calls.refund(scene.till, scene.practice_id, payment.id, key="back", amount=400)
    for _ in range(3):
        await scene.later(22 * HOUR / 3)
    right = scene.context.world
    monkeypatch.setattr(scene.context, "world", replace(right, time_s=lambda: scene.clock.at_s - 2 * HOUR))
    for _ in range(8):
        await scene.later(HOUR / 2)
    ages = [call.params.age_s for call in scene.wire.of(verb)]
    assert ages == sorted(ages)
    assert ages[-1] >= 23 * HOUR
    monkeypatch.setattr(scene.context, "world", replace(right, time_s=lambda: scene.clock.at_s - 48 * HOUR))
    await sweep(scene.till.context)
    for payment in await scene.db.fetch("SELECT id FROM payments WHERE status = 'processing'"):
        await calls.confirm(scene.till, scene.practice_id, payment["id"])
    for row in await scene.db.fetch("SELECT id, payment_id FROM refunds"):
        await refresh_by_id(scene.context, scene.practice_id, row["payment_id"], row["id"])
    assert [call.params.age_s for call in scene.wire.of(verb)][-1] > 23 * HOUR, "it is not made yet, by such a clock"


async def test_a_lease_is_not_longer_because_the_clock_was_set_back(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    await scene.configure()
    await lease.ensure(scene.context, scene.practice_id)
    right = scene.context.world
    await scene.later(lease.LEASE_S + 70)  # a worker whose clock is right: nothing is open, and the lease ends
    assert await leases.all_held(scene.context.owner) == {}
    monkeypatch.setattr(scene.context, "world", replace(right, time_s=lambda: scene.clock.at_s - HOUR))
    scene.wire.says("create", LOST)
    await scene.pay()
    assert scene.practice_id in await leases.all_held(scene.context.owner)
