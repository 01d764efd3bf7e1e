"""Phases: each step checks what it needs, and is made once, whatever happens at the same time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from polytill.app import Polytill
from polytill.domain.errors import Conflict, DatabaseUnavailable, Invalid, NotFound, Stale
from polytill.domain.rollout import FORWARD, FieldState, RolloutPhase
from polytill.flows.admin import provider_configs as configuring
from polytill.flows.admin.credentials import Keys
from polytill.flows.admin.provider_configs import Wish
from polytill.flows.context import Practice
from polytill.flows.rollout import hand_over, keeping, moves, settling, sync
from polytill.flows.rollout.hand_over import FieldChanged
from polytill.flows.rollout.moves import Selection, StepRefused
from polytill.flows.rollout.settling import StepUnderWay
from polytill.flows.rollout_phase import FieldDecides, OursDecide, announce_change
from polytill.storage import audit, events, practice_profile, practice_rollouts
from polytill.storage.units import Unit
from tests.rollout.scene import PAYSTACK, Table, a_field, a_practice, between, connect, live, switch_off
from tests.web.support import Clock

pytestmark = pytest.mark.asyncio(loop_scope="module")
LEGACY, SHADOW, LIVE, CLOSED = RolloutPhase


async def test_no_key_is_stored_beside_the_sealed_ones(shared: Polytill, table: Table) -> None:
    one = await a_practice(shared, table)
    await one.move(LEGACY, SHADOW)
    rows = await one.context.owner.fetch("SELECT * FROM practice_rollouts WHERE practice_id = $1", one.id)
    assert PAYSTACK["secretKey"] not in repr([dict(row) for row in rows])
    assert len((await one.rollout()).field_hash or "") == 64


@pytest.mark.parametrize("phase", [LEGACY, SHADOW])
async def test_only_the_field_changes_configurations(shared: Polytill, table: Table, phase: RolloutPhase) -> None:
    one = await a_practice(shared, table)
    await one.move(LEGACY, *([SHADOW] if phase is SHADOW else []))
    await sync.sync(one.context, one.id, "test")
    context, before = one.context, await one.codes()
    wish = Wish("paystack", is_enabled=False)
    live = Keys(None, None, None, None)
    for change in (
        lambda: configuring.configure(context, one.id, wish, "test", patch=True),
        lambda: configuring.remove(context, one.id, "paystack", "test"),
        lambda: configuring.prepare_credentials(
            context, one.id, "paystack", configuring.Environment.sandbox, live, "x"
        ),
        lambda: configuring.switch(context, one.id, "paystack", configuring.Environment.production, "test"),
        lambda: configuring.add_missing(context, one.id, [configuring.NewConfiguration(wish)], "test"),
    ):
        with pytest.raises(FieldDecides) as refused:
            await change()
        assert refused.value.status == 409
    assert await one.codes() == before


async def test_a_practice_goes_one_step_at_a_time(shared: Polytill, table: Table) -> None:
    one = await a_practice(shared, table)
    with pytest.raises(StepRefused):
        await moves.move(one.context, one.id, LIVE, "test")
    with pytest.raises(OursDecide):
        await sync.follow(one.context, one.id, a_field(), "test")
    await one.move(LEGACY)
    with pytest.raises(StepRefused):
        await moves.move(one.context, one.id, LIVE, "test")
    await one.move(SHADOW)
    assert (await moves.move(one.context, one.id, SHADOW, "test")).changed is False
    await moves.move(one.context, one.id, LEGACY, "test")
    await one.move(SHADOW, LIVE)
    assert (await one.rollout()).phase is LIVE
    practice = await one.practice()
    assert await practice_profile.rollout_phase(practice.db) is LIVE
    lines = [line["detail"] for line in await audit.listed(practice.db) if line["action"] == "rollout.moved"]
    assert [line["to"] for line in reversed(lines)] == ["legacy", "shadow", "legacy", "shadow", "live"]
    with pytest.raises(NotFound):
        await moves.move(one.context, 999_999, LEGACY, "test")


async def test_live_needs_every_configuration_of_the_field(shared: Polytill, table: Table) -> None:
    one = await a_practice(shared, table)
    await one.move(LEGACY, SHADOW)
    value = a_field()
    value["paystack"]["supportedCurrencies"] = ["NGN", "GHS"]
    one.put(value)
    with pytest.raises(StepRefused, match="supportedCurrencies"):
        await moves.move(one.context, one.id, LIVE, "test")
    rollout = await one.rollout()
    assert (rollout.phase, rollout.moving_to) == (SHADOW, None)
    await one.move(LIVE)


# ── Races ──


async def test_of_two_steps_at_once_one_is_made(shared: Polytill, table: Table) -> None:
    one = await a_practice(shared, table)
    await one.move(LEGACY, SHADOW)
    await sync.sync(one.context, one.id, "test")
    results = await asyncio.gather(
        *(moves.move(one.context, one.id, to, "test") for to in (LIVE, LEGACY, LIVE)), return_exceptions=True
    )
    made = [r for r in results if isinstance(r, moves.Moved) and r.changed]
    assert len(made) == 1, results
    assert all(isinstance(r, moves.Moved | StepUnderWay | StepRefused) for r in results), results
    rollout, practice = await one.rollout(), await one.practice()
    assert rollout.moving_to is None
    assert rollout.phase is await practice_profile.rollout_phase(practice.db)


async def test_a_change_during_a_step_is_before_it_or_after_it(shared: Polytill, table: Table) -> None:
    for number in range(2):
        one = await a_practice(shared, table)
        await one.move(LEGACY, SHADOW, LIVE)
        change = configuring.configure(one.context, one.id, Wish("paystack", is_enabled=False), "test", patch=True)
        step = moves.move(one.context, one.id, SHADOW, "test")
        works = [change, step] if number % 2 else [step, change]
        results = await asyncio.gather(*works, return_exceptions=True)
        allowed = (FieldDecides, StepRefused)
        assert all(not isinstance(r, BaseException) or isinstance(r, allowed) for r in results), results
        is_off = not (await one.codes())["paystack"][0]
        if (await one.rollout()).phase is SHADOW:  # then the field has the change, or it was refused
            assert is_off is (not one.field()["paystack"]["isEnabled"])
        else:
            assert is_off


async def test_a_step_between_the_announcement_and_the_change(shared: Polytill, table: Table) -> None:
    one = await a_practice(shared, table)
    await one.move(LEGACY, SHADOW, LIVE)
    steps = [SHADOW]

    async def guard(practice: Practice) -> RolloutPhase | None:
        phase = await announce_change(practice)
        if steps:
            await moves.move(one.context, one.id, steps.pop(), "test")
        return phase

    with pytest.raises(FieldDecides):
        await configuring.configure(one.context, one.id, Wish("paystack", is_enabled=False), "test", True, guard)
    assert (await one.codes())["paystack"][0]
    assert one.field()["paystack"]["isEnabled"]


@pytest.mark.parametrize("made", [True, False])
async def test_a_step_whose_process_died_is_ended(shared: Polytill, table: Table, made: bool) -> None:
    one = await a_practice(shared, table)
    await one.move(LEGACY)
    unit = Unit()
    practice_rollouts.begin(unit, one.id, LEGACY, SHADOW, one.context.shared_after(-60))
    await one.context.owner.commit(unit)
    if made:
        unit = Unit()
        practice_profile.set_rollout_phase(unit, one.id, SHADOW)
        await (await one.practice()).db.commit(unit)
    assert await settling.settle_abandoned(one.context) == 1
    rollout = await one.rollout()
    assert (rollout.phase, rollout.moving_to) == (SHADOW if made else LEGACY, None)


async def test_an_entry_whose_process_died_is_no_entry(shared: Polytill, table: Table) -> None:
    one = await a_practice(shared, table)
    unit = Unit()
    practice_rollouts.begin(unit, one.id, None, LEGACY, one.context.shared_after(-60))
    await one.context.owner.commit(unit)
    assert (await moves.move(one.context, one.id, LEGACY, "test")).changed
    assert (await one.rollout()).moving_to is None


@pytest.mark.parametrize("to", [LEGACY, LIVE])
async def test_a_step_that_was_taken_for_dead_is_not_made(
    shared: Polytill, table: Table, monkeypatch: pytest.MonkeyPatch, to: RolloutPhase
) -> None:
    """It was slow, and the worker ended it. So it is refused, and both databases have the same phase."""
    one = await a_practice(shared, table)
    if to is LIVE:
        await one.move(LEGACY, SHADOW)
    make = moves._make

    async def slow(*args: Any) -> None:
        await settling.settle(one.context, one.id)
        await make(*args)

    before = (await one.rollout()).phase
    with monkeypatch.context() as patch:
        patch.setattr(moves, "_make", slow)
        with pytest.raises(StepRefused):
            await moves.move(one.context, one.id, to, "test")
    rollout, practice = await one.rollout(), await one.practice()
    assert (rollout.phase, rollout.moving_to) == (before, None)
    assert await practice_profile.rollout_phase(practice.db) is before
    assert (await moves.move(one.context, one.id, to, "test")).changed


@pytest.mark.parametrize("own", [None, LEGACY, LIVE])
async def test_the_practices_own_database_is_right(shared: Polytill, table: Table, own: RolloutPhase | None) -> None:
    """One of the databases was restored from a backup."""
    one = await a_practice(shared, table)
    if own is not LEGACY:
        await one.move(LEGACY, SHADOW)
    unit = Unit()
    practice_profile.set_rollout_phase(unit, one.id, own)
    await (await one.practice()).db.commit(unit)
    with suppress(OursDecide):
        await sync.sync(one.context, one.id, "test")
    assert (await one.rollout()).phase is own
    to = FORWARD[own]
    await moves.move(one.context, one.id, to, "test")
    assert (await one.rollout()).phase is to


async def test_a_step_that_may_still_run_is_not_ended(shared: Polytill, table: Table) -> None:
    one = await a_practice(shared, table)
    await one.move(LEGACY)
    unit = Unit()
    practice_rollouts.begin(unit, one.id, LEGACY, SHADOW, one.context.shared_after(0))
    await one.context.owner.commit(unit)
    with pytest.raises(StepUnderWay):
        await moves.move(one.context, one.id, SHADOW, "test")


async def test_the_hosts_database_is_away(shared: Polytill, table: Table) -> None:
    one = await a_practice(shared, table)
    await one.move(LEGACY, SHADOW)
    table.away = True
    with pytest.raises(DatabaseUnavailable):
        await moves.move(one.context, one.id, LIVE, "test")
    with pytest.raises(DatabaseUnavailable):
        await sync.sync(one.context, one.id, "test")
    assert (await one.rollout()).moving_to is None
    await moves.move(one.context, one.id, LEGACY, "test")  # the way back needs nothing


# ── Without the host's database, and many practices ──


async def test_a_host_whose_database_cannot_be_reached_sends_its_field(shared: Polytill, table: Table) -> None:
    one = await a_practice(shared, table)
    connect(shared, None)
    await one.move(LEGACY)
    with pytest.raises(StepRefused):
        await moves.move(one.context, one.id, SHADOW, "test")
    with pytest.raises(Conflict):
        await sync.sync(one.context, one.id, "test")
    await sync.follow(one.context, one.id, one.field(), "test")
    await moves.move(one.context, one.id, SHADOW, "test")
    await moves.move(one.context, one.id, LIVE, "test")
    assert set(await one.codes()) == {"stripe", "paystack"}


async def test_the_host_writes_the_field_itself(shared: Polytill, table: Table) -> None:
    one = await live(shared, table)
    connect(shared, None)
    await switch_off(one)
    told = [event.type for event in await events.unforwarded((await one.practice()).db)]
    assert told == ["rollout.field_due"]
    assert (await hand_over.written(one.context, one.id, one.field(), "test")).state is FieldState.pending
    with pytest.raises(StepRefused):
        await moves.move(one.context, one.id, SHADOW, "test")
    value, state = await hand_over.field_to_write(one.context, one.id, one.field(), "test")
    assert state is FieldState.pending
    assert value == {**one.field(), "paystack": {**one.field()["paystack"], "isEnabled": False}}
    text, _ = await hand_over.field_to_write(one.context, one.id, json.dumps(one.field()), "test")
    assert json.loads(text) == value
    fresh, _ = await hand_over.field_to_write(one.context, one.id, ..., "test")
    assert set(fresh) == {"paystack", "stripe"}
    one.put(value)
    assert (await hand_over.written(one.context, one.id, value, "test")).state is FieldState.in_sync
    theirs = {**value, "stripe": {**value["stripe"], "isEnabled": False}}
    with pytest.raises(FieldChanged):
        await hand_over.written(one.context, one.id, theirs, "test")
    with pytest.raises(FieldChanged):
        await hand_over.field_to_write(one.context, one.id, theirs, "test")
    await hand_over.written(one.context, one.id, value, "test")
    await moves.move(one.context, one.id, CLOSED, "test")
    assert await hand_over.field_to_write(one.context, one.id, ..., "test") == (None, FieldState.pending)
    assert (await hand_over.written(one.context, one.id, None, "test")).state is FieldState.in_sync


@pytest.mark.parametrize("own_shape", [False, True])
async def test_a_change_while_the_host_writes_is_no_conflict(shared: Polytill, table: Table, own_shape: bool) -> None:
    """What polytill gave the host to write is its own, also if it is out of date when the host reports it."""
    one = await live(shared, table)
    connect(shared, None)
    await switch_off(one)
    first, _ = await hand_over.field_to_write(one.context, one.id, ... if own_shape else one.field(), "test")
    one.put(first)
    await switch_off(one, "stripe")
    assert (await hand_over.written(one.context, one.id, first, "test")).state is FieldState.pending
    await hand_over.field_to_write(one.context, one.id, first, "test")  # this one, the host fails to write
    assert (await hand_over.written(one.context, one.id, first, "test")).state is FieldState.pending
    second, _ = await hand_over.field_to_write(one.context, one.id, first, "test")
    assert {code: value["isEnabled"] for code, value in second.items()} == {"stripe": False, "paystack": False}
    assert (await hand_over.written(one.context, one.id, second, "test")).state is FieldState.in_sync


@pytest.mark.parametrize("to", [SHADOW, CLOSED])
@pytest.mark.parametrize("reported", [False, True])
async def test_a_change_just_before_a_step_is_not_lost(
    shared: Polytill, table: Table, monkeypatch: pytest.MonkeyPatch, to: RolloutPhase, reported: bool
) -> None:
    """The host's report from before the change does not count, whenever it comes."""
    one = await live(shared, table)
    connect(shared, None)
    begin, off = moves._begin, Wish("paystack", is_enabled=False)

    async def report() -> None:
        if reported:
            await hand_over.written(one.context, one.id, one.field(), "test")

    async def late(*args: Any) -> None:
        await configuring.configure(one.context, one.id, off, "test", True, between(one, report))
        await begin(*args)

    with monkeypatch.context() as patch:
        patch.setattr(moves, "_begin", late)
        with pytest.raises(StepRefused):
            await moves.move(one.context, one.id, to, "test")
    rollout = await one.rollout()
    assert (rollout.phase, rollout.moving_to) == (LIVE, None)
    assert not (await one.codes())["paystack"][0]


@pytest.mark.parametrize("when", ["before", "after"])
async def test_what_somebody_writes_during_the_last_step_is_not_emptied(
    shared: Polytill, table: Table, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    one = await live(shared, table)
    connect(shared, None)
    theirs = a_field()
    theirs["stripe"]["secretKey"] = "sk_test_51Hperson0000"

    def reporting(step: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        async def late(*args: Any) -> None:
            with pytest.raises(FieldChanged):
                await hand_over.written(one.context, one.id, theirs, "test")
            await step(*args)

        return late

    step = "_begin" if when == "before" else "_end"
    with monkeypatch.context() as patch:
        patch.setattr(moves, step, reporting(getattr(moves, step)))
        if when == "before":
            with pytest.raises(StepRefused):
                await moves.move(one.context, one.id, CLOSED, "test")
            return
        await moves.move(one.context, one.id, CLOSED, "test")
    assert (await one.rollout()).field_state is FieldState.conflict
    for value in (theirs, ...):
        with pytest.raises(FieldChanged):
            await hand_over.field_to_write(one.context, one.id, value, "test")
    assert (await hand_over.field_to_write(one.context, one.id, a_field(), "test"))[0] is None  # what both had


async def test_a_shape_of_our_own_does_not_replace_what_somebody_wrote(shared: Polytill, table: Table) -> None:
    one = await live(shared, table)
    connect(shared, None)
    theirs = a_field()
    theirs["stripe"]["isEnabled"] = False
    with pytest.raises(FieldChanged):
        await hand_over.written(one.context, one.id, theirs, "test")
    with pytest.raises(FieldChanged):
        await hand_over.field_to_write(one.context, one.id, ..., "test")


async def test_practices_are_selected(shared: Polytill, table: Table) -> None:
    made = [await a_practice(shared, table) for _ in range(3)]
    context = shared.context
    found = await moves.chosen(context, Selection((made[0].id, made[0].id), (made[1].external_id,)), LEGACY)
    assert [one.practice_id for one in found] == [made[0].id, made[1].id]
    for wrong in (
        Selection(),
        Selection((999_999,)),
        Selection((), ("nobody",)),
        Selection((), (), 0),
        Selection((), (), 101),
        Selection((1,), (), 10),
    ):
        with pytest.raises(Invalid):
            await moves.chosen(context, wrong, LEGACY)
    all_of_them = {one.practice_id for one in await moves.chosen(context, Selection(percent=100), LEGACY)}
    assert {one.id for one in made} <= all_of_them
    moved = [one async for one in moves.move_all(context, found, LEGACY, "test")]
    assert all(one.changed for one in moved)
    assert not {made[0].id, made[1].id} & {
        one.practice_id for one in await moves.chosen(context, Selection(percent=100), LEGACY)
    }
    refused = [one async for one in moves.move_all(context, found, LIVE, "test")]
    assert all(one.refused and not one.changed for one in refused)


# ── A write of the field that is under way ──


@pytest.mark.parametrize("to", [SHADOW, CLOSED])
async def test_a_write_under_way_holds_up_a_step(shared: Polytill, table: Table, to: RolloutPhase) -> None:
    """The change is undone meanwhile, so that the field is equal as long as the write has not come through."""
    one = await live(shared, table)
    on = Wish("paystack", is_enabled=True)
    refused = []

    async def meanwhile() -> None:
        await configuring.configure(one.context, one.id, on, "test", patch=True)
        with pytest.raises(StepRefused) as found:
            await moves.move(one.context, one.id, to, "test")
        refused.append(found.value)

    await switch_off(one)
    table.before_write_commits = meanwhile
    await keeping.turn(one.context)
    assert refused
    await sync.sync(one.context, one.id, "test")
    await moves.move(one.context, one.id, to, "test")
    if to is SHADOW:
        await sync.sync(one.context, one.id, "test")
    assert (await one.codes())["paystack"][0]


@pytest.mark.parametrize("dies", [False, True])
async def test_a_write_that_has_ended_holds_up_no_step(
    shared: Polytill, table: Table, clock: Clock, dies: bool
) -> None:
    """Also if nobody has recorded how it ended."""
    one = await live(shared, table)
    await switch_off(one)

    async def fails() -> None:
        if dies:
            raise DatabaseUnavailable
        one.put(a_field(flutterwave={"isEnabled": False}))

    table.before_write_commits = fails
    await keeping.turn(one.context)
    await configuring.configure(one.context, one.id, Wish("paystack", is_enabled=True), "test", patch=True)
    if dies:
        with pytest.raises(StepRefused):
            await moves.move(one.context, one.id, SHADOW, "test")
        clock.advance(keeping.WRITTEN_S + 1)
    await sync.sync(one.context, one.id, "test")
    await moves.move(one.context, one.id, SHADOW, "test")


async def test_a_field_is_not_written_after_the_way_back(shared: Polytill, table: Table) -> None:
    """Whoever wanted to write it had read the phase before."""
    one = await live(shared, table)
    await moves.move(one.context, one.id, SHADOW, "test")
    before = table.writes
    with pytest.raises(Stale):
        await keeping.check(one.context, one.id, "test")
    assert table.writes == before
