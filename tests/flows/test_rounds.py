"""Workers share the practices by claims: never two for one item, and another worker continues the work of a dead one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from polytill.background import sweep
from polytill.domain.states import Environment, PaymentStatus
from polytill.flows import lease
from polytill.flows.slow_providers import FEW, REMEMBERED_S, SlowProviderLimiter, Target
from polytill.flows.worker import claims
from polytill.flows.worker.claims import CLAIM_S, PROLONG_S, WHENEVER, Sweeper
from polytill.flows.worker.sweep import GRACE_S
from polytill.providers.outcomes import Reason, Unknown
from polytill.storage import leases
from polytill.storage.units import work_is_open
from tests import calls
from tests.flows.scenes import Scene, paid


async def held(scene: Scene) -> dict[int, datetime]:
    """The scene's practice holds a lease, as one does that takes payments."""
    await lease.ensure(scene.context, scene.practice_id)
    return await leases.all_held(scene.context.owner)


async def test_nobody_counts_on_a_lease_longer_than_it_was_written_for(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = scene.context.owner.commit

    async def slow(unit: Any) -> Any:
        scene.clock.at_s += 20
        return await commit(unit)

    monkeypatch.setattr(scene.context.owner, "commit", slow)
    until = (await held(scene))[scene.practice_id]
    assert scene.context.leased_until_s[scene.practice_id] <= until.timestamp()


async def test_two_workers_never_hold_one_practice(scene: Scene) -> None:
    await held(scene)
    workers = [Sweeper(scene.context) for _ in range(8)]
    claimed = await asyncio.gather(*(worker.claim(WHENEVER, 10) for worker in workers))
    assert sorted(len(one) for one in claimed) == [0] * 7 + [1]


async def test_a_claim_ends_with_its_dead_worker_and_not_before(scene: Scene) -> None:
    await held(scene)
    dead, other = Sweeper(scene.context), Sweeper(scene.context)
    assert list(await dead.claim(WHENEVER, 10)) == [scene.practice_id]
    scene.clock.at_s += CLAIM_S - 1
    assert await other.claim(WHENEVER, 10) == {}
    scene.clock.at_s += 2
    assert list(await other.claim(WHENEVER, 10)) == [scene.practice_id]


async def test_a_claim_is_kept_while_its_visit_lasts(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    lasting = asyncio.Event()

    async def visit(*_: object) -> int:
        await lasting.wait()
        return 1

    monkeypatch.setattr(claims, "sweep_practice", visit)
    mine, other = Sweeper(scene.context), Sweeper(scene.context)
    for practice_id, until in (await held(scene)).items():
        assert practice_id in await mine.claim(WHENEVER, 1)
        mine.begin(practice_id, until)
    for _ in range(5):
        scene.clock.at_s += PROLONG_S + 1
        assert await mine.turn() == 0
        assert await other.claim(WHENEVER, 1) == {}
    lasting.set()
    await mine.pause(10)
    assert await mine.turn() == 1
    assert await other.claim(scene.context.world.now(), 1) == {}, "it is not due at once"
    assert list(await other.claim(scene.context.world.after(60), 1)) == [scene.practice_id]


async def test_a_visit_whose_claim_was_taken_over_is_stopped(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped: list[bool] = []

    async def visit(*_: object) -> int:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            stopped.append(True)
            raise
        return 0

    monkeypatch.setattr(claims, "sweep_practice", visit)
    mine, other = Sweeper(scene.context), Sweeper(scene.context)
    for practice_id, until in (await held(scene)).items():
        await mine.claim(WHENEVER, 1)
        mine.begin(practice_id, until)
    await asyncio.sleep(0)
    scene.clock.at_s += CLAIM_S + 1  # it could not be prolonged meanwhile
    assert list(await other.claim(WHENEVER, 1)) == [scene.practice_id]
    await mine.turn()
    await mine.pause(10)
    assert stopped == [True]
    await mine.turn()
    scene.clock.at_s += 1
    assert await Sweeper(scene.context).claim(WHENEVER, 1) == {}, "the other's claim was left alone"


async def test_a_practice_that_was_forgotten_is_visited_with_everyone(scene: Scene) -> None:
    assert await leases.all_held(scene.context.owner) == {}
    await claims.lease_all(scene.context)
    assert list(await leases.all_held(scene.context.owner)) == [scene.practice_id]
    scene.clock.at_s += 1
    await sweep(scene.till.context)
    assert await leases.all_held(scene.context.owner) == {}, "nothing is open there, so the lease is ended"


async def test_one_sweep_keeps_all_that_it_has_claimed(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many short visits there are; and what another worker has taken over all the same is left to it."""
    for number in range(5):
        await calls.create_practice(scene.till, f"Clinic {number}", "NGN")
    await claims.lease_all(scene.context)
    other, visited, taken_over = Sweeper(scene.context), [], []

    async def visit(_: object, practice_id: int, __: object) -> int:
        visited.append(practice_id)
        if len(visited) == 5:
            scene.clock.at_s += CLAIM_S + 1  # this process stood still
        scene.clock.at_s += PROLONG_S - 1
        taken_over.append(set(await other.claim(WHENEVER, 10)) - set(visited))
        if len(visited) < 5:
            await other.leave()
        return 0

    monkeypatch.setattr(claims, "sweep_practice", visit)
    await claims.sweep(scene.context)
    everyone = set(await leases.all_held(scene.context.owner))
    assert len(visited) == 5
    assert taken_over == [set(), set(), set(), set(), everyone - set(visited)]


async def test_a_lease_lasts_a_little_longer_than_anybody_counts_on_it(scene: Scene) -> None:
    """A payment that began in its last second may be written later, and its node's clock may be behind."""
    await held(scene)
    for more_s, kept in ((lease.LEASE_S + 1, True), (GRACE_S, False)):
        scene.clock.at_s += more_s
        await sweep(scene.till.context)
        assert (scene.practice_id in await leases.all_held(scene.context.owner)) is kept


async def test_what_cannot_be_told_keeps_nothing_from_being_found_out(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> int:
        raise ValueError("a row that cannot be read")

    await scene.configure()
    scene.wire.says("create", Unknown(Reason.timeout))
    made = await scene.pay()
    scene.wire.says("lookup", paid())
    monkeypatch.setattr("polytill.flows.worker.sweep.forward", broken)
    await scene.later(5)
    assert (await scene.payment(made.payment.id)).status is PaymentStatus.succeeded


async def test_leaving_gives_the_claims_back(scene: Scene) -> None:
    await held(scene)
    leaving = Sweeper(scene.context)
    await leaving.claim(WHENEVER, 10)
    await leaving.leave()
    assert list(await Sweeper(scene.context).claim(WHENEVER, 10)) == [scene.practice_id]


async def test_a_worker_whose_hands_were_full_can_still_ask_providers(scene: Scene) -> None:
    await held(scene)
    assert await Sweeper(scene.context).claim(WHENEVER, 0) == {}
    assert not work_is_open(), "every visit that is begun after this would refuse to call a provider"


async def _many_practices(scene: Scene, monkeypatch: pytest.MonkeyPatch, number: int, hands: int) -> Sweeper:
    """So many practices are due, and their worker has so many hands."""
    few = scene.context.settings.model_copy(update={"worker_sweeps": hands})
    monkeypatch.setattr(scene.context, "settings", few)
    for n in range(number - 1):
        await calls.create_practice(scene.till, f"Clinic {n}", "NGN")
    await claims.lease_all(scene.context)
    return Sweeper(scene.context)


async def test_one_turn_visits_all_that_is_due(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hand that is free again takes the next practice at once, not in the next turn."""
    visited: list[int] = []
    most = 0

    async def visit(_: object, practice_id: int, __: object) -> int:
        nonlocal most
        most = max(most, mine.under_way)
        await asyncio.sleep(0.01)
        visited.append(practice_id)
        return 0

    monkeypatch.setattr(claims, "sweep_practice", visit)
    mine = await _many_practices(scene, monkeypatch, 9, hands=2)
    await claims.turn(mine, scene.context)
    await mine.pause(10)
    assert sorted(visited) == sorted(await leases.all_held(scene.context.owner))
    assert most == 2


async def test_a_turn_ends_however_much_is_due(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    visited: list[int] = []

    async def visit(_: object, practice_id: int, __: object) -> int:
        visited.append(practice_id)
        scene.clock.at_s += claims.QUIET_FACTOR * 2 + 1  # by then the others are due again
        return 0

    monkeypatch.setattr(claims, "sweep_practice", visit)
    mine = await _many_practices(scene, monkeypatch, 3, hands=1)
    began_s = scene.clock.at_s
    await asyncio.wait_for(claims.turn(mine, scene.context), 30)
    assert claims.LONGEST_TURN_S <= scene.clock.at_s - began_s < 2 * claims.LONGEST_TURN_S
    assert len(visited) > 3


async def test_a_turn_does_not_wait_for_hands_that_stay_full(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    async def visit(*_: object) -> int:
        await asyncio.Event().wait()
        return 0

    monkeypatch.setattr(claims, "sweep_practice", visit)
    mine = await _many_practices(scene, monkeypatch, 3, hands=2)
    for _ in range(2):
        await asyncio.wait_for(claims.turn(mine, scene.context), 30)
        assert mine.under_way == 2
    await mine.leave()


# ── A provider that keeps us waiting ──


async def _with_a_lost_call(scene: Scene, code: str) -> tuple[Scene, str]:
    """A practice of its own, whose one payment at this provider has lost its answer."""
    entry, _ = await calls.create_practice(scene.till, code, "NGN")
    own = replace(scene, practice_id=entry.id, db=await scene.context.opening.practice(entry.id))
    await own.configure(code)
    scene.wire.says("create", Unknown(Reason.timeout))
    return own, (await own.pay()).payment.id


async def _known(scene: Scene, payment_id: str) -> bool:
    return (await scene.payment(payment_id)).status is PaymentStatus.succeeded


async def _go_round_until(mine: Sweeper, scene: Scene, met: Callable[[], Awaitable[bool]], longest_s: int) -> None:
    """Let a worker go round until something is so."""
    for _ in range(longest_s):
        scene.clock.at_s += 1
        await claims.turn(mine, scene.context)
        await mine.pause(0.02)
        if await met():
            return
    raise AssertionError("it never came about")


async def test_a_provider_that_hangs_keeps_no_other_practice_waiting(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a few visits wait for it, and those that left it out come again within seconds of its return."""
    hasty = {"worker_sweeps": 4, "provider_timeout_s": 0.1, "sweep_interval_s": 0.4}
    monkeypatch.setattr(scene.context, "settings", scene.context.settings.model_copy(update=hasty))
    at_it = [await _with_a_lost_call(scene, "scripted") for _ in range(8)]
    healthy, healthy_id = await _with_a_lost_call(scene, "other")
    waiting, let_go, is_back = [0], asyncio.Event(), [False]

    async def lookup(params: Any) -> Any:
        if params.reference == theirs.id:
            return paid(transaction="tx-o") if waiting[0] == FEW else Unknown(Reason.timeout)
        waiting[0] += 1
        await let_go.wait()
        waiting[0] -= 1
        return paid(transaction=f"tx-{params.reference}") if is_back[0] else Unknown(Reason.timeout)

    [theirs] = await healthy.attempts(healthy_id)
    scene.wire.always("lookup", lookup)
    mine = Sweeper(scene.context)

    async def all_hands_wait() -> bool:
        return waiting[0] == 4

    async def all_are_known() -> bool:
        return all([await _known(own, one) for own, one in at_it])

    await _go_round_until(mine, scene, all_hands_wait, 10)  # nobody knew
    let_go.set()
    await mine.pause(10)
    let_go.clear()
    await _go_round_until(mine, scene, lambda: _known(healthy, healthy_id), 30)
    assert waiting[0] == FEW
    let_go.set()
    is_back[0] = True
    await _go_round_until(mine, scene, all_are_known, 35)  # half a minute for those that were asked just before
    await mine.leave()


@pytest.mark.parametrize("hands", [4, 8])
async def test_hands_that_are_all_kept_waiting_are_replaced_meanwhile(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, hands: int
) -> None:
    """A provider that suddenly hangs has all of them before anybody knows, for as long as half its time limit."""
    settings = {"worker_sweeps": hands, "provider_timeout_s": 20.0, "sweep_interval_s": 0.4}
    monkeypatch.setattr(scene.context, "settings", scene.context.settings.model_copy(update=settings))
    for _ in range(2 * hands):
        await _with_a_lost_call(scene, "scripted")
    healthy, healthy_id = await _with_a_lost_call(scene, "other")
    [theirs] = await healthy.attempts(healthy_id)
    waiting = 0

    async def lookup(params: Any) -> Any:
        nonlocal waiting
        if params.reference == theirs.id:
            return paid(transaction="tx-o")
        waiting += 1
        await asyncio.Event().wait()

    scene.wire.always("lookup", lookup)
    mine, most = Sweeper(scene.context), 0

    async def known() -> bool:
        nonlocal most
        most = max(most, mine.under_way)
        return await _known(healthy, healthy_id)

    scene.clock.at_s += 3
    while waiting < hands:  # time stands still for that long
        await claims.turn(mine, scene.context)
        await mine.pause(0.02)
    assert not await known()
    await _go_round_until(mine, scene, known, 20)
    assert waiting == hands, "the others leave it out"
    assert most <= hands * 7 // 4
    await mine.leave()


def test_who_keeps_us_waiting_is_asked_by_few_until_it_answers() -> None:
    patience, asked = SlowProviderLimiter(), Target("scripted", Environment.sandbox, is_told=False)
    other = asked._replace(environment=Environment.production)

    def free(now_s: float, hands: int = 16) -> int:
        """How many more may ask now."""
        begun = 0
        while begun < hands and patience.has_room(asked, now_s, hands):
            patience.begin(asked, now_s + 15)
            begun += 1
        for _ in range(begun):
            patience.end(asked, now_s + 15, now_s, None)
        return begun

    assert free(0) == 16
    patience.begin(asked, 15)
    assert (free(14), patience.kept_waiting(14)) == (16, 0)
    assert (free(15), patience.kept_waiting(15)) == (FEW - 1, 1), "it waits, and that has no end yet"
    patience.end(asked, 15, 30, waited=True)
    assert (free(31), free(31, hands=2), free(31, hands=1)) == (FEW, 1, 1)
    assert patience.has_room(other, 31, 16)
    for n in range(3):
        patience.begin(asked, 50)
        patience.end(asked, 50, 35, waited=False)
        assert free(36) == FEW + n + 1
    patience.begin(asked, 51)
    patience.end(asked, 51, 66, waited=True)
    assert free(67) == FEW, "it was not to be trusted"
    assert free(66 + REMEMBERED_S) == 16


# ── Clocks that are wrong ──

A_YEAR_S = 365 * 24 * 3600.0


def _wrong_by(scene: Scene, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    world = replace(scene.context.world, time_s=lambda: scene.clock.at_s + seconds)
    monkeypatch.setattr(scene.context, "world", world)


@pytest.mark.parametrize("dies", [True, False], ids=["died", "was set right"])
async def test_a_worker_of_another_year_keeps_no_practice_from_the_others(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, dies: bool
) -> None:
    await held(scene)
    with monkeypatch.context() as meanwhile:
        _wrong_by(scene, meanwhile, A_YEAR_S)
        wrong = Sweeper(scene.context)
        await wrong.claim(WHENEVER, 10)
        if not dies:
            wrong.begin(scene.practice_id, scene.context.world.now())
            await wrong.pause(10)
            await wrong.turn()
    scene.clock.at_s += 3600
    await held(scene)
    other = Sweeper(scene.context)
    assert await other.claim(WHENEVER if dies else scene.context.world.now(), 10) == {}
    await claims.lease_all(scene.context)
    assert list(await other.claim(scene.context.world.now(), 10)) == [scene.practice_id]


async def test_what_clocks_that_are_right_have_written_stays(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    await held(scene)
    with monkeypatch.context() as meanwhile:
        _wrong_by(scene, meanwhile, 300)
        mine = Sweeper(scene.context)
        await mine.claim(WHENEVER, 10)
    await claims.lease_all(scene.context)
    assert await Sweeper(scene.context).claim(WHENEVER, 10) == {}
    mine.begin(scene.practice_id, scene.context.world.now())
    await mine.pause(10)
    await mine.turn()
    await claims.lease_all(scene.context)
    assert await Sweeper(scene.context).claim(scene.context.world.now(), 10) == {}, "it is not due"


async def test_a_worker_whose_own_clock_is_far_behind_ends_no_visit_for_good(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its clock shows every claim as ended. The practices that it frees are due and claimed again at once."""
    begun: list[int] = []

    async def visit(*_: object) -> int:
        begun.append(1)
        await asyncio.Event().wait()
        return 0

    monkeypatch.setattr(claims, "sweep_practice", visit)
    await held(scene)
    mine = Sweeper(scene.context)
    await claims.turn(mine, scene.context)
    with monkeypatch.context() as meanwhile:
        _wrong_by(scene, meanwhile, -A_YEAR_S)
        await claims.lease_all(scene.context)
    for _ in range(3):
        scene.clock.at_s += PROLONG_S + 1
        await claims.turn(mine, scene.context)
        await mine.pause(0.1)
    assert (mine.under_way, len(begun)) == (1, 2)
    await mine.leave()
