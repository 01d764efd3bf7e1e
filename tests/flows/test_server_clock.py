"""A process whose clock is wrong beside the owner database's server: it says so, and harms no other's claims and leases.

The server's clock is given here, so that both engines are tried; that a server is asked at all is tried on it below.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from polytill import background
from polytill.app import Polytill
from polytill.background import beside, sweep, sweep_for_ever, watch_clock
from polytill.domain.errors import NotNow
from polytill.domain.states import PaymentStatus
from polytill.flows import events as outbox
from polytill.flows import lease
from polytill.flows.admin.event_destination import set_destination
from polytill.flows.context import Practice
from polytill.flows.reconciliation.payments import reconcile
from polytill.flows.server_clock import ASKED_EVERY_S, LONGEST_QUESTION_S, MARGIN_S, SAID_EVERY_S, ServerClock
from polytill.flows.worker import claims, event_delivery
from polytill.flows.worker.claims import CLAIM_S, WHENEVER, Sweeper
from polytill.flows.worker.sweep import GRACE_S
from polytill.providers.contract import Page
from polytill.providers.outcomes import Reason, Unknown
from polytill.storage import event_deliveries, leases, listings, payments
from polytill.storage.databases import OwnerDb
from tests.flows.scenes import LINK, Scene
from tests.flows.scripted import HANDLERS

HOUR = 3600.0
SetWrong = Callable[[float], None]


@pytest.fixture
async def wrong(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> SetWrong:
    """Sets this process's clock so many seconds ahead, after it has asked the server, whose clock is right."""

    async def right(_: OwnerDb) -> float:
        return scene.clock.at_s

    monkeypatch.setattr(OwnerDb, "server_time_s", right)
    by = unasked(scene, monkeypatch)
    await watch_clock(scene.till.context)
    return by


def unasked(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> SetWrong:
    """The same before it has asked for the first time."""

    def by(seconds: float) -> None:
        world = replace(scene.context.world, time_s=lambda: scene.clock.at_s + seconds, servers_tell=True)
        monkeypatch.setattr(scene.context, "world", world)

    by(0)
    return by


def server_shows(monkeypatch: pytest.MonkeyPatch, *shown: Callable[[], float]) -> list[int]:
    """What the server's clock shows each time it is asked; the last for ever. How often it was asked."""
    asked: list[int] = []

    async def server(_: OwnerDb) -> float:
        asked.append(1)
        return shown[min(len(asked), len(shown)) - 1]()

    monkeypatch.setattr(OwnerDb, "server_time_s", server)
    return asked


def visits_noted(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When a practice was visited."""
    visited: list[float] = []

    async def visit(*_: object) -> int:
        visited.append(scene.clock.at_s)
        return 1

    monkeypatch.setattr(claims, "sweep_practice", visit)
    return visited


async def held(scene: Scene) -> None:
    """The scene's practice holds a lease, as one does that takes payments."""
    await lease.ensure(scene.context, scene.practice_id)


# ── Claims and leases ──


@pytest.mark.parametrize("ahead_s", [MARGIN_S + 1, 60.0, HOUR, 365 * 24 * HOUR])
async def test_one_that_is_ahead_takes_nothing_over(scene: Scene, wrong: SetWrong, ahead_s: float) -> None:
    await held(scene)
    mine, other = Sweeper(scene.context), Sweeper(scene.context)
    assert list(await other.claim(WHENEVER, 10)) == [scene.practice_id]
    scene.clock.at_s += CLAIM_S - MARGIN_S
    wrong(ahead_s)
    assert await mine.claim(WHENEVER, 10) == {}
    scene.clock.at_s += MARGIN_S + 1
    assert list(await mine.claim(WHENEVER, 10)) == [scene.practice_id], "the other one is dead"


@pytest.mark.parametrize("ahead_s", [60.0, HOUR, -60.0, -HOUR])
async def test_its_own_claims_end_when_all_others_expect(scene: Scene, wrong: SetWrong, ahead_s: float) -> None:
    await held(scene)
    mine, other = Sweeper(scene.context), Sweeper(scene.context)
    wrong(ahead_s)
    assert list(await mine.claim(scene.context.shared_after(0), 10)) == [scene.practice_id], (
        "it works, and by their clock"
    )
    wrong(0)
    scene.clock.at_s += CLAIM_S - 1
    assert await other.claim(WHENEVER, 10) == {}
    scene.clock.at_s += 2
    assert list(await other.claim(WHENEVER, 10)) == [scene.practice_id]


@pytest.mark.parametrize("ahead_s", [HOUR, -HOUR])
async def test_what_it_visits_is_due_again_when_it_should_be(
    scene: Scene, wrong: SetWrong, monkeypatch: pytest.MonkeyPatch, ahead_s: float
) -> None:
    visited: list[int] = []

    async def visit(_: object, practice_id: int, __: object) -> int:
        visited.append(practice_id)
        return 0

    monkeypatch.setattr(claims, "sweep_practice", visit)
    await held(scene)
    mine, other = Sweeper(scene.context), Sweeper(scene.context)
    wrong(ahead_s)
    for _ in range(2):
        await claims.turn(mine, scene.context)
        await mine.pause(1)
    wrong(0)
    scene.clock.at_s += scene.context.settings.sweep_interval_s * claims.QUIET_FACTOR - 1
    await claims.turn(other, scene.context)
    assert len(visited) == 1
    scene.clock.at_s += 2
    await claims.turn(other, scene.context)
    await other.pause(1)
    assert len(visited) == 2


async def test_one_that_is_far_behind_ends_no_others_claim(scene: Scene, wrong: SetWrong) -> None:
    await held(scene)
    await Sweeper(scene.context).claim(WHENEVER, 10)
    wrong(-24 * HOUR)
    await claims.lease_all(scene.context)
    wrong(0)
    assert await Sweeper(scene.context).claim(WHENEVER, 10) == {}


async def test_one_that_is_ahead_ends_no_lease_that_somebody_counts_on(scene: Scene, wrong: SetWrong) -> None:
    await held(scene)
    wrong(lease.LEASE_S + GRACE_S + 60)
    await sweep(scene.till.context)
    assert scene.practice_id in await leases.all_held(scene.context.owner)
    wrong(0)
    scene.clock.at_s += lease.LEASE_S + GRACE_S + 1
    await sweep(scene.till.context)
    assert await leases.all_held(scene.context.owner) == {}


async def test_a_lease_is_as_long_as_its_writer_counts_on_it(scene: Scene, wrong: SetWrong) -> None:
    wrong(-HOUR)
    await held(scene)
    until = (await leases.all_held(scene.context.owner))[scene.practice_id].timestamp()
    assert until == pytest.approx(scene.clock.at_s + lease.LEASE_S, abs=1)


async def test_one_that_is_ahead_sends_no_event_that_another_is_sending(
    scene: Scene, wrong: SetWrong, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []

    async def send(_: Any, __: str, ___: str, claimed: event_deliveries.Claimed) -> None:
        sent.append(claimed.event.position)
        await asyncio.Event().wait()  # for ever

    async def one_turn() -> None:
        worker = event_delivery.EventSender(scene.context)
        await worker.turn()
        await asyncio.sleep(0)
        workers.append(worker)

    workers: list[event_delivery.EventSender] = []
    monkeypatch.setattr(event_delivery.EventSender, "_send", send)
    await set_destination(scene.context, "https://platform.example/events", "test")
    await scene.configure()
    await scene.succeeded()
    await outbox.forward(Practice(scene.context, scene.db))
    claim_s = scene.context.settings.event_timeout_s + event_delivery.CLAIM_MARGIN_S
    await one_turn()
    wrong(claim_s + 60)
    await one_turn()
    assert len(sent) == 1
    scene.clock.at_s += claim_s
    await one_turn()
    assert len(sent) == 2, "the first worker is dead"
    for worker in workers:
        await worker.leave()


# ── The first answer ──


def slow(scene: Scene, seconds: float) -> Callable[[], float]:
    """The server's clock is right, and its answer takes so long."""

    def shown() -> float:
        scene.clock.at_s += seconds
        return scene.clock.at_s - seconds / 2

    return shown


async def test_a_worker_goes_by_its_first_answer_however_long_it_took(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    await held(scene)
    other = Sweeper(scene.context)
    assert list(await other.claim(WHENEVER, 10)) == [scene.practice_id]
    server_shows(monkeypatch, slow(scene, LONGEST_QUESTION_S + 0.5), lambda: scene.clock.at_s)
    unasked(scene, monkeypatch)(60)
    visited = visits_noted(scene, monkeypatch)
    async with beside(sweep_for_ever(scene.till.context)):
        await asyncio.sleep(0.3)
    assert visited == [], "the other one's claim has 13 seconds to go"
    assert scene.context.shared_after(0).timestamp() == pytest.approx(scene.clock.at_s, abs=LONGEST_QUESTION_S)


async def test_a_worker_claims_nothing_before_its_first_answer(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> float:
        raise NotNow

    held_everyone: list[float] = []

    def hold_all(*_: object) -> None:
        held_everyone.append(scene.context.shared_after(0).timestamp() - scene.clock.at_s)

    monkeypatch.setattr(leases, "hold_all", hold_all)
    await held(scene)
    unasked(scene, monkeypatch)(60)
    visited = visits_noted(scene, monkeypatch)
    asked = server_shows(monkeypatch, away, lambda: scene.clock.at_s)
    async with beside(sweep_for_ever(scene.till.context)):
        await asyncio.sleep(0.2)
        assert (len(asked), visited, held_everyone) == (1, [], [])
        for _ in range(100):
            if visited:
                break
            await asyncio.sleep(0.05)
    assert visited
    assert held_everyone == [pytest.approx(0)]


async def test_a_more_exact_answer_takes_the_place_of_a_slow_one(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the slow one leaves open is not said to be a difference."""

    def late() -> float:  # it came at once, and its answer was long under way
        scene.clock.at_s += 30
        return scene.clock.at_s - 30

    unasked(scene, monkeypatch)
    asked = server_shows(monkeypatch, late, slow(scene, 40), lambda: scene.clock.at_s)
    assert await said(scene) == []
    assert scene.context.server_clock.ahead_s(scene.context.world) == pytest.approx(15)
    assert await said(scene) == []
    assert scene.context.server_clock.ahead_s(scene.context.world) == pytest.approx(15), "one that is less exact still"
    assert await said(scene) == []
    assert scene.context.server_clock.ahead_s(scene.context.world) == pytest.approx(0)
    assert await said(scene) == []
    assert len(asked) == 3


async def test_an_embedded_sweep_asks_the_server_now_and_then(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    await held(scene)
    assert list(await Sweeper(scene.context).claim(WHENEVER, 10)) == [scene.practice_id]
    asked = server_shows(monkeypatch, lambda: scene.clock.at_s)
    unasked(scene, monkeypatch)(60)
    visited = visits_noted(scene, monkeypatch)
    for _ in range(2):
        await sweep(scene.till.context)
    assert (visited, len(asked)) == ([], 1)
    scene.clock.at_s += CLAIM_S + 1
    await sweep(scene.till.context)
    assert (len(visited), len(asked)) == (1, 2)


async def test_who_opens_an_installation_asks_the_server(till: Polytill, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = server_shows(monkeypatch, lambda: time.time() - 60)
    async with Polytill.open(till.context.settings) as another:
        assert another.context.server_clock.ahead_s(another.context.world) == pytest.approx(60, abs=2)
    assert len(asked) == 1


@pytest.mark.parametrize("before_renewal", [True, False])
async def test_a_lease_from_before_the_first_answer_is_written_anew(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, before_renewal: bool
) -> None:
    async def until_s() -> float:
        held_until = await leases.all_held(scene.context.owner)
        return held_until[scene.practice_id].timestamp() - scene.clock.at_s

    server_shows(monkeypatch, lambda: scene.clock.at_s)
    unasked(scene, monkeypatch)(-HOUR)
    await scene.configure()
    await scene.succeeded()
    assert await until_s() < 0
    await watch_clock(scene.till.context)
    if before_renewal:
        await scene.succeeded()
    else:
        await lease.renew(scene.context)
    assert await until_s() == pytest.approx(lease.LEASE_S)


# ── A standby that has taken over and is behind ──


async def test_a_server_that_jumps_back_holds_up_no_visit(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    off = [0.0]
    server_shows(monkeypatch, lambda: scene.clock.at_s + off[0])
    unasked(scene, monkeypatch)
    visited = visits_noted(scene, monkeypatch)
    await watch_clock(scene.till.context)
    await held(scene)
    mine = Sweeper(scene.context)
    for step in range(16):
        if step == 4:
            assert visited
            visited.clear()
            off[0] = -540.0
        scene.clock.at_s += ASKED_EVERY_S + 1
        await watch_clock(scene.till.context)
        await claims.turn(mine, scene.context)
        await mine.pause(1)
    assert len(visited) > 5


async def test_a_server_that_jumps_back_ends_no_claim_of_one_at_work(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    off = [0.0]
    server_shows(monkeypatch, lambda: scene.clock.at_s + off[0])
    unasked(scene, monkeypatch)
    await watch_clock(scene.till.context)
    await held(scene)
    mine = Sweeper(scene.context)
    assert list(await mine.claim(WHENEVER, 10)) == [scene.practice_id]
    off[0] = -540.0
    scene.clock.at_s += ASKED_EVERY_S
    await watch_clock(scene.till.context)
    assert await Sweeper(scene.context).claim(WHENEVER, 10) == {}
    scene.clock.at_s += CLAIM_S + 1
    assert list(await Sweeper(scene.context).claim(WHENEVER, 10)) == [scene.practice_id], "the other one is dead"


async def test_a_server_that_jumps_back_holds_up_no_event(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    off = [0.0]
    server_shows(monkeypatch, lambda: scene.clock.at_s + off[0])
    unasked(scene, monkeypatch)
    await watch_clock(scene.till.context)
    await set_destination(scene.context, "https://platform.example/events", "test")
    await scene.configure()
    await scene.succeeded()
    await outbox.forward(Practice(scene.context, scene.db))
    off[0] = -540.0
    scene.clock.at_s += ASKED_EVERY_S
    await watch_clock(scene.till.context)
    [due] = await event_deliveries.listed(scene.context.owner, "pending", None, None, 10)
    assert due.next_try_at is not None
    assert due.next_try_at <= scene.context.shared_after(0)


# ── What it does to payments ──


async def test_one_that_is_ahead_expires_no_checkout_early(scene: Scene, wrong: SetWrong) -> None:
    await scene.configure()
    scene.wire.says("create", LINK)
    made = await scene.pay()
    scene.wire.always("confirm", LINK)
    scene.wire.always("cancel", Unknown(Reason.timeout))
    expires_s = scene.context.settings.payment_expires_s
    scene.clock.at_s += expires_s - 60
    wrong(120)
    assert await payments.unpaid_past_expiry(scene.db, scene.context.world.now()), "by its clock it is over"
    await sweep(scene.till.context)
    assert scene.wire.of("cancel") == []
    scene.clock.at_s += 61 + HOUR
    await sweep(scene.till.context)
    assert len(scene.wire.of("cancel")) == 1
    assert (await scene.payment(made.payment.id)).status is not PaymentStatus.succeeded


async def test_one_that_is_ahead_calls_nothing_compared_that_is_to_come(
    scene: Scene, wrong: SetWrong, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(*_: object) -> Page[Any]:
        return Page(())

    monkeypatch.setattr(HANDLERS["scripted"], "list_transactions", nothing)
    configuration = await scene.configure()
    wrong(365 * 24 * HOUR)
    await reconcile(scene.context, scene.practice_id)
    until = await listings.kept(scene.db, configuration.id, configuration.environment)
    assert until is not None
    assert until.timestamp() < scene.clock.at_s


# ── Noticing ──


async def said(scene: Scene) -> list[float]:
    """What is said in the log now."""
    with capture_logs() as logs:
        await watch_clock(scene.till.context)
    return [line["seconds"] for line in logs if line["event"] == "clock_differs"]


async def test_a_clock_that_differs_is_said_now_and_then_until_it_is_right(scene: Scene, wrong: SetWrong) -> None:
    assert await said(scene) == []
    wrong(MARGIN_S - 1)
    assert await said(scene) == []
    wrong(-MARGIN_S - 1)
    assert await said(scene) == [-MARGIN_S - 1], "at once, before the server is asked again"
    for _ in range(9):
        scene.clock.at_s += SAID_EVERY_S / 10
        assert await said(scene) == []
    scene.clock.at_s += SAID_EVERY_S / 10
    assert await said(scene) == [-MARGIN_S - 1]
    wrong(0)
    assert await said(scene) == []
    wrong(60)
    assert await said(scene) == [60]


async def test_while_the_server_is_away_its_clock_goes_on(
    scene: Scene, wrong: SetWrong, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_: OwnerDb) -> float:
        raise NotNow

    monkeypatch.setattr(OwnerDb, "server_time_s", away)
    scene.clock.at_s += HOUR
    wrong(60)
    assert await said(scene) == [60]
    assert scene.context.shared_after(0).timestamp() == pytest.approx(scene.clock.at_s)


async def test_an_answer_that_took_long_is_not_believed(
    scene: Scene, wrong: SetWrong, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slow(_: OwnerDb) -> float:
        shown_s = scene.clock.at_s
        scene.clock.at_s += LONGEST_QUESTION_S + 30
        return shown_s

    monkeypatch.setattr(OwnerDb, "server_time_s", slow)
    scene.clock.at_s += ASKED_EVERY_S
    assert await said(scene) == []
    assert scene.context.shared_after(0).timestamp() == pytest.approx(scene.clock.at_s)


async def test_a_server_that_is_asked_again_is_believed_again(
    scene: Scene, wrong: SetWrong, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be another one now, whose clock is wrong: all processes go by it, and say so."""

    async def another(_: OwnerDb) -> float:
        return scene.clock.at_s + HOUR

    monkeypatch.setattr(OwnerDb, "server_time_s", another)
    assert await said(scene) == []
    scene.clock.at_s += ASKED_EVERY_S
    assert await said(scene) == [-HOUR]
    assert scene.context.surely_past(0) == scene.context.world.now()


async def test_a_file_has_no_clock_and_a_server_has(till: Polytill) -> None:
    shown_s = await till.context.owner.server_time_s()
    if till.context.owner.engine.dialect == "sqlite":
        assert shown_s is None
        await watch_clock(till.context)
        assert till.context.server_clock.ahead_s(till.context.world) is None
    else:
        assert shown_s is not None
        assert abs(shown_s - time.time()) < MARGIN_S


@pytest.mark.parametrize("life", ["renew_for_ever", "sweep_for_ever"])
async def test_whoever_serves_or_works_looks_at_its_clock(
    till: Polytill, monkeypatch: pytest.MonkeyPatch, life: str
) -> None:
    async def behind(_: OwnerDb) -> float:
        return time.time() - 60

    monkeypatch.setattr(till.context, "server_clock", ServerClock())
    monkeypatch.setattr(OwnerDb, "server_time_s", behind)
    with capture_logs() as logs:
        async with beside(getattr(background, life)(till.context)):
            for _ in range(100):
                if any(line["event"] == "clock_differs" for line in logs):
                    break
                await asyncio.sleep(0.05)
    [line] = [line for line in logs if line["event"] == "clock_differs"]
    assert line["seconds"] == pytest.approx(60, abs=2)
