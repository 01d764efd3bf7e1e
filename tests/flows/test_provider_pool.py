"""What all practices learn together of providers: each attempt once, through the owner database, and without it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest

from polytill.app import Polytill
from polytill.background import learn
from polytill.domain.audit_actions import AuditAction
from polytill.domain.clock import World
from polytill.domain.errors import NotNow, Stale
from polytill.domain.money import PPM
from polytill.domain.routing import HealthState, Verdict
from polytill.domain.states import Environment
from polytill.flows import provider_pool
from polytill.flows.payments import previews
from polytill.flows.payments.previews import Hypothetical
from polytill.flows.pool_exchange import ALONE_AFTER_S, exchange
from polytill.flows.provider_health import ProvidersHealth
from polytill.flows.provider_pool import OUTCOMES_HALVED_S, SMALLEST_POOL
from polytill.flows.recovery import checkout
from polytill.flows.routing.health import FIRST_PAUSE, IN_A_ROW, PROBES, RARE, Witness, availability, verdict
from polytill.providers.outcomes import Declined, NotSent, Reason, Unknown
from polytill.storage import audit, routing_health
from polytill.storage.databases import OwnerDb
from polytill.storage.routing_health import Stored
from polytill.storage.routing_pool import SCALE, OutcomeKey
from polytill.storage.units import MOST_STEPS, Unit
from tests.flows.scenes import REFUSED, Scene, paid

DOWN = NotSent(Reason.unreachable, "connect", "No connection.")
SCRIPTED, OTHER = ("scripted", "sandbox"), ("other", "sandbox")
_numbers = count(1)
KEY = OutcomeKey("scripted", "sandbox", "NGN", "card")


@asynccontextmanager
async def second(scene: Scene) -> AsyncIterator[Polytill]:
    """Another process of the same installation."""
    world = World(scene.clock, elapsed_s=scene.clock)
    async with Polytill.open(scene.context.settings, world=world, transport=scene.wire) as till:
        yield till


def known(till: Polytill, key: tuple[str, str] = SCRIPTED) -> HealthState:
    found = till.context.provider_health.all_known().get(key)
    return found.state if found else HealthState.closed


async def two(scene: Scene) -> None:
    """Two providers, the scripted one first."""
    await scene.configure("scripted", priority=2)
    await scene.configure("other", priority=1)


async def fail(scene: Scene, times: int) -> None:
    """Payments whose first provider cannot be reached, and whose second one takes them."""
    for number in range(times):
        scene.wire.says("create", DOWN, paid(transaction=f"other-{scene.clock.at_s}-{number}"))
        found = await scene.pay(payment_method="card")
        assert [one.provider_code for one in found.attempts] == ["scripted", "other"]


async def test_each_attempt_is_counted_once_and_faded(scene: Scene) -> None:
    await scene.configure("scripted")
    scene.wire.says("create", paid(transaction="a", fee=15), REFUSED, Unknown(Reason.timeout, "t", "?"))
    scene.wire.says("create", Declined(Reason.config, True, "key", "?"))
    for _ in range(4):
        await scene.pay(payment_method="card")
    pool = scene.context.pool
    assert pool.counted == {KEY: (1, 1)}  # the third is not decided, and the fourth is about this practice's keys
    assert [(key.band, counts) for key, counts in pool.charged.items()] == [(10, (1, 15_000))]
    pool.counted[KEY] = 60, 20
    pool.charged = {key: (100, 100 * 15_000) for key in pool.charged}
    async with second(scene) as there:
        there.context.pool.counted[KEY] = 20, 0
        for till in (scene.till, there, scene.till):
            await exchange(till.context)
        now_s = scene.clock.at_s
        at = provider_pool.outcomes_period(now_s)
        assert pool.counted == {} == there.context.pool.counted
        for till in (scene.till, there):
            found = till.context.pool.statistics(Environment.sandbox, "NGN", 1000, now_s)
            assert found.traffic["scripted", "NGN", "card"].paid == 80_000
            assert found.traffic["scripted", "NGN", None].declined == 20_000
            charged = found.charged["scripted", "NGN", "card"]
            assert charged.payments == 100
            assert charged.fees * 1_000_000 // charged.amount == 15_000
        # After a half-life each counts half, also in a row that is written again.
        scene.clock.at_s = (at + 1) * OUTCOMES_HALVED_S + 1.0
        there.context.pool.counted[KEY] = 0, 5
        await exchange(there.context)
        await exchange(scene.context)
        found = pool.statistics(Environment.sandbox, "NGN", 1000, scene.clock.at_s)
        assert found.traffic["scripted", "NGN", "card"].paid == 40_000
        assert found.traffic["scripted", "NGN", "card"].declined == 15_000
    assert pool.statistics(Environment.production, "NGN", 1000, now_s).traffic == {}


async def test_any_number_of_keys_is_exchanged_and_a_failure_loses_none(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, keys = scene.context.pool, [KEY._replace(method=f"m{number}") for number in range(MOST_STEPS + 2)]
    for key in keys:
        pool.count(key, True)
    pool.charge(KEY, 1000, 20)
    commit, done = OwnerDb.commit, count()

    async def fails(db: OwnerDb, unit: Unit) -> list[int]:
        if next(done) == 3:
            raise NotNow
        return await commit(db, unit)

    with monkeypatch.context() as patch:
        patch.setattr(OwnerDb, "commit", fails)
        with pytest.raises(NotNow):
            await exchange(scene.context)
    await exchange(scene.context)
    assert pool.counted == {}
    stored = await scene.context.owner.fetch("SELECT DISTINCT paid FROM routing_outcomes")
    assert [row["paid"] for row in stored] == [SCALE], "each once"
    assert len(await scene.context.owner.fetch("SELECT 1 FROM routing_outcomes")) == len(keys)
    assert len(await scene.context.owner.fetch("SELECT 1 FROM routing_fees")) == 1


async def test_a_small_pool_is_not_used(scene: Scene) -> None:
    pool = scene.context.pool
    pool.counted[KEY] = SMALLEST_POOL - 1, 0
    for _ in range(SMALLEST_POOL - 1):
        pool.charge(KEY, 1000, 20)
    await exchange(scene.context)
    assert pool.statistics(Environment.sandbox, "NGN", 1000, scene.clock.at_s).traffic == {}
    assert pool.statistics(Environment.sandbox, "NGN", 1000, scene.clock.at_s).charged == {}
    pool.counted[KEY] = 1, 0
    pool.charge(KEY, 1000, 20)
    await exchange(scene.context)
    found = pool.statistics(Environment.sandbox, "NGN", 1000, scene.clock.at_s)
    assert (len(found.traffic), len(found.charged)) == (2, 2)  # of the method, and of all methods
    # Amounts of another size have fees of their own.
    assert pool.statistics(Environment.sandbox, "NGN", 100_000, scene.clock.at_s).charged == {}


async def test_a_failing_provider_is_skipped_and_comes_back_by_one_probe_of_all_processes(scene: Scene) -> None:
    await two(scene)
    await fail(scene, IN_A_ROW)
    assert known(scene.till) is HealthState.open
    assert scene.context.provider_health.skipped == 1
    scene.wire.says("create", paid(transaction="skipped"))
    found = await scene.pay()
    assert [one.provider_code for one in found.attempts] == ["other"]
    [detail] = await audit.details(scene.db, found.payment.id, AuditAction.payment_created)
    assert (detail["health"], detail["later"]) == ({"scripted": "failing"}, {"scripted": "failing"})
    async with second(scene) as there:
        await exchange(scene.context)
        await exchange(there.context)
        tills = scene.till, there
        assert known(there) is HealthState.open
        assert await taken_by(there, scene) == "scripted", "only the network of the other process may be broken"
        scene.till = there
        await fail(scene, IN_A_ROW)
        scene.till = tills[0]
        for till in (there, scene.till):
            await exchange(till.context)
            assert await taken_by(till, scene) == "other"
        scene.clock.at_s += FIRST_PAUSE.total_seconds() + 1.0
        for till in tills:  # each would probe it now, and has to ask
            assert await taken_by(till, scene) == "other"
        for number in range(PROBES):
            for till in tills:
                await exchange(till.context)
            again = tills if number + 1 < PROBES else ()  # after the last one, the process knows that it works
            taken = [await taken_by(till, scene) for till in (*tills, *again)]
            assert sorted(taken) == ["other"] * (len(taken) - 1) + ["scripted"], number  # one probe of them all
        for till in (*tills, *tills):
            await exchange(till.context)
        assert known(scene.till) is known(there) is HealthState.closed
    scene.wire.says("create", paid(transaction="back"))
    assert (await scene.pay()).attempts[0].provider_code == "scripted"


@pytest.mark.parametrize("gap_s", [150.0, 400.0])
async def test_a_provider_comes_back_also_if_payments_are_rare(scene: Scene, gap_s: float) -> None:
    """A permit ends before the next payment can use it."""
    await two(scene)
    await fail(scene, IN_A_ROW)
    taken = []
    for _ in range(8):
        await exchange(scene.context)
        scene.clock.at_s += gap_s
        taken.append(await taken_by(scene.till, scene))
    await exchange(scene.context)
    assert taken[-1] == "scripted"
    assert known(scene.till) is HealthState.closed


async def test_a_provider_that_only_follows_others_comes_back_too(scene: Scene) -> None:
    await two(scene)
    await fail(scene, IN_A_ROW)
    await scene.configure("other", priority=3)
    for number in range(PROBES):
        scene.clock.at_s += FIRST_PAUSE.total_seconds() + 1.0
        assert await taken_by(scene.till, scene) == "other"
        await exchange(scene.context)
        scene.wire.says("create", REFUSED, paid(transaction=f"followed-{number}"))
        assert [one.provider_code for one in (await scene.pay()).attempts] == ["other", "scripted"]
        await exchange(scene.context)
    assert known(scene.till) is HealthState.closed


async def test_a_probe_that_nobody_was_asked_for_is_told_to_the_others(scene: Scene) -> None:
    await two(scene)
    await fail(scene, IN_A_ROW)
    async with second(scene) as there:
        await exchange(scene.context)
        here, scene.till = scene.till, there
        await fail(scene, IN_A_ROW)
        scene.till = here
        await exchange(there.context)
        await exchange(here.context)
        scene.clock.at_s += (FIRST_PAUSE + RARE).total_seconds() + 1.0
        assert await taken_by(here, scene) == "scripted"
        await exchange(here.context)
        await exchange(there.context)
        assert there.context.provider_health.all_known()[SCRIPTED].probes_worked == 1
        assert await taken_by(there, scene) == "other", "the next probe has to be asked for"


async def test_a_retry_that_goes_elsewhere_keeps_no_probe_from_others(scene: Scene) -> None:
    """The payment was tried at the provider that waits for a probe, so its retry goes to another one."""
    await scene.configure("scripted", priority=2)
    scene.wire.says("create", REFUSED)
    failed = await scene.pay()
    await scene.configure("other", priority=1)
    await fail(scene, IN_A_ROW)
    await exchange(scene.context)
    scene.clock.at_s += FIRST_PAUSE.total_seconds() + 1.0
    assert await taken_by(scene.till, scene) == "other"  # asks for the permit
    await exchange(scene.context)
    scene.wire.says("create", paid(transaction="retried"))
    found = await checkout.try_again(scene.context, scene.practice_id, failed.payment.id)
    assert [one.provider_code for one in found.attempts] == ["scripted", "other"]
    assert await taken_by(scene.till, scene) == "scripted"


async def taken_by(till: Polytill, scene: Scene) -> str:
    """The provider of a payment that one of the processes makes."""
    here, scene.till = scene.till, till
    scene.wire.says("create", paid(transaction=f"taken-{next(_numbers)}"))
    try:
        return (await scene.pay()).attempts[0].provider_code
    finally:
        scene.till = here


async def test_of_two_processes_one_stores_a_health(scene: Scene) -> None:
    for version, is_next in ((1, True), (1, False), (3, False), (2, True)):
        unit = Unit()
        routing_health.put(unit, *SCRIPTED, Stored(version, "{}"), scene.context.world.now())
        with contextlib.nullcontext() if is_next else pytest.raises(Stale):
            await scene.context.owner.commit(unit)


def test_a_permit_is_for_one_payment() -> None:
    at, health = datetime(2026, 1, 1, tzinfo=UTC), ProvidersHealth()
    first, other = (1, "first"), (1, "other")

    def may_probe(holder: tuple[int, str]) -> bool:
        return verdict(health.seen(SCRIPTED, later, holder), later) is Verdict.probe

    for number in range(IN_A_ROW):
        health.observe(SCRIPTED, (1, str(number)), True, at)
    later = at + FIRST_PAUSE
    assert not may_probe(first)
    health.permit_alone("token", later)
    assert may_probe(first)
    health.reserve(SCRIPTED, first)
    assert may_probe(first)  # of the same payment, decided again
    assert not may_probe(other)
    with health.holding(*first):
        pass
    assert may_probe(other)
    with health.holding(*other):
        health.reserve(SCRIPTED, other)
        health.call(SCRIPTED, other)
    assert not may_probe(other)  # it is being made
    assert not may_probe(first)
    health.unobserved(SCRIPTED, other)
    assert may_probe(first)
    health.observe(SCRIPTED, first, False, later)  # late news of a call without the permit
    assert health.skipped == 1


def test_failures_of_one_practice_change_no_order_of_another() -> None:
    at, health = datetime(2026, 1, 1, tzinfo=UTC), ProvidersHealth()
    for number in range(IN_A_ROW):
        health.observe(SCRIPTED, (1, str(number)), True, at, Witness("here", "a"))
        assert availability(health.seen(SCRIPTED, at, witness=Witness("here", "b")), at) == PPM
        assert availability(health.seen(SCRIPTED, at, witness=Witness("here", "a")), at) < PPM


async def test_without_the_owner_database_a_process_counts_and_probes_alone(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    await two(scene)
    await exchange(scene.context)
    await learn(scene.context)
    scene.context.announced_until_s = scene.clock.at_s + 900.0  # as ``serve`` does

    async def away(*_: Any) -> Any:
        raise NotNow

    with monkeypatch.context() as patch:
        patch.setattr(OwnerDb, "commit", away)
        patch.setattr(OwnerDb, "fetch", away)
        await fail(scene, IN_A_ROW)
        with pytest.raises(NotNow):
            await exchange(scene.context)
        assert known(scene.till) is HealthState.open
        scene.clock.at_s += max(FIRST_PAUSE.total_seconds(), ALONE_AFTER_S) + 1.0
        scene.wire.says("create", *(paid(transaction=f"alone-{n}") for n in range(2)))
        taken = [(await scene.pay()).attempts[0].provider_code for _ in range(2)]
        assert taken == ["other", "scripted"]  # the first one asks for a permit, and the second one gets it
        tried = await previews.preview(scene.context, scene.practice_id, Hypothetical("NGN", 1000))
        assert {one.code: one.verdict for one in tried.decision.ranked}["other"] is Verdict.healthy
        counted = dict(scene.context.pool.counted)
    await exchange(scene.context)
    assert counted
    assert scene.context.pool.counted == {}
