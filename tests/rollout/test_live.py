"""Live and closed: our configurations decide, the field follows them, and what somebody else writes is never lost."""

from __future__ import annotations

import json
from typing import Any

import pytest

from polytill.app import Polytill
from polytill.domain.errors import Conflict, DatabaseUnavailable
from polytill.domain.rollout import DifferenceReason, FieldState, RolloutPhase, WhoDecides
from polytill.domain.secret import Secret
from polytill.domain.states import Environment
from polytill.flows.admin import provider_configs as configuring
from polytill.flows.admin.credentials import Keys
from polytill.flows.admin.provider_configs import Wish
from polytill.flows.rollout import column, conflicts, decisions, hand_over, keeping, moves, readers, sync
from polytill.flows.rollout.column import ColumnNeeded
from polytill.flows.rollout.conflicts import Keep
from polytill.flows.rollout.decisions import Asked
from polytill.flows.rollout.hand_over import FieldChanged
from polytill.flows.rollout.moves import StepRefused
from polytill.storage import rollout_differences
from polytill.storage.field_readers import MOST_CALLERS, OTHERS
from tests.rollout.scene import Table, a_field, a_practice, between, connect, live, switch_off
from tests.web.support import Clock

pytestmark = pytest.mark.asyncio(loop_scope="module")
LEGACY, SHADOW, LIVE, CLOSED = RolloutPhase
REPORTED_EVERY_S = 50 * 60.0


async def test_each_change_is_written_into_the_field(shared: Polytill, table: Table) -> None:
    original = a_field()
    one = await live(shared, table, original)
    await switch_off(one)
    assert (await one.rollout()).field_state is FieldState.pending
    assert await keeping.turn(one.context) == 1
    assert one.field() == {**original, "paystack": {**original["paystack"], "isEnabled": False}}
    secret = "sk_test_51Hclinic9999"
    new = Keys("pk_test_51Hclinic9999", Secret(secret), None, None)
    await configuring.prepare_credentials(one.context, one.id, "stripe", Environment.sandbox, new, "test")
    await configuring.remove(one.context, one.id, "paystack", "test")
    await keeping.turn(one.context)
    field = one.field()
    assert set(field) == {"stripe"}
    assert (field["stripe"]["secretKey"], field["stripe"]["publicKey"]) == (secret, "pk_test_51Hclinic9999")

    # Back: the old code finds everything that was changed here.
    await moves.move(one.context, one.id, SHADOW, "test")
    before = await one.codes()
    await sync.sync(one.context, one.id, "test")
    await moves.move(one.context, one.id, LEGACY, "test")
    assert await one.codes() == before


async def test_there_is_no_way_back_while_a_change_is_missing_in_the_field(shared: Polytill, table: Table) -> None:
    one = await live(shared, table)
    await switch_off(one)
    with pytest.raises(StepRefused, match="isEnabled"):
        await moves.move(one.context, one.id, SHADOW, "test")
    table.away = True
    assert await keeping.turn(one.context) == 0
    with pytest.raises(DatabaseUnavailable):
        await moves.move(one.context, one.id, SHADOW, "test")
    rollout = await one.rollout()
    assert (rollout.phase, rollout.field_state, rollout.tries) == (LIVE, FieldState.pending, 1)
    table.away = False
    assert await keeping.turn(one.context) == 0  # the next try is later
    await sync.sync(one.context, one.id, "test")
    await moves.move(one.context, one.id, SHADOW, "test")
    assert one.field()["paystack"]["isEnabled"] is False


async def test_a_field_that_somebody_changed_is_never_overwritten(shared: Polytill, table: Table) -> None:
    one = await live(shared, table)
    theirs = a_field()
    theirs["stripe"]["supportedCurrencies"] = ["USD", "EUR"]
    one.put(theirs)
    await switch_off(one)
    assert await keeping.turn(one.context) == 0
    rollout = await one.rollout()
    assert rollout.field_state is FieldState.conflict
    assert one.field() == theirs
    for to in (SHADOW, CLOSED):
        with pytest.raises(StepRefused):
            await moves.move(one.context, one.id, to, "test")
    await switch_off(one, "stripe")  # a later change does not hide the conflict
    assert (await one.rollout()).field_state is FieldState.conflict
    assert one.field() == theirs


async def test_somebody_changes_the_field_while_it_is_written(shared: Polytill, table: Table) -> None:
    one = await live(shared, table)
    await switch_off(one)
    theirs = a_field(flutterwave={"isEnabled": False})

    def meanwhile() -> None:
        table.before_write = None
        one.put(theirs)

    table.before_write = meanwhile
    await keeping.turn(one.context)
    assert one.field() == theirs
    assert (await one.rollout()).field_state is FieldState.conflict


@pytest.mark.parametrize("keep", list(Keep))
async def test_a_person_decides_a_conflict(shared: Polytill, table: Table, keep: Keep) -> None:
    one = await live(shared, table)
    with pytest.raises(Conflict):
        await conflicts.resolve(one.context, one.id, keep, "test")
    theirs = a_field()
    theirs["stripe"]["isEnabled"] = False
    one.put(theirs)
    await switch_off(one)
    await keeping.turn(one.context)
    found = await conflicts.resolve(one.context, one.id, keep, "test")
    assert found.state is FieldState.in_sync
    on = {code: enabled for code, (enabled, *_) in (await one.codes()).items()}
    assert {code: value["isEnabled"] for code, value in one.field().items()} == on
    assert on == ({"stripe": False, "paystack": True} if keep is Keep.field else {"stripe": True, "paystack": False})


@pytest.mark.parametrize("keep", list(Keep))
async def test_a_conflict_is_decided_without_the_hosts_database(shared: Polytill, table: Table, keep: Keep) -> None:
    """The field comes with the decision."""
    one = await live(shared, table)
    theirs = a_field()
    theirs["stripe"]["isEnabled"] = False
    connect(shared, None)
    await switch_off(one)
    with pytest.raises(FieldChanged):
        await hand_over.written(one.context, one.id, theirs, "test")
    with pytest.raises(Conflict) as nothing_sent:
        await conflicts.resolve(one.context, one.id, keep, "test")
    connect(shared, table)
    with pytest.raises(Conflict) as here:  # what is sent may not be what is in the table
        await conflicts.resolve(one.context, one.id, keep, "test", theirs)
    connect(shared, None)
    assert (here.value.code, nothing_sent.value.code) == ("host_database", "field_needed")
    found = await conflicts.resolve(one.context, one.id, keep, "test", theirs)
    if keep is Keep.polytill:
        assert found.state is FieldState.pending
        theirs, _ = await hand_over.field_to_write(one.context, one.id, theirs, "test")
        found = await hand_over.written(one.context, one.id, theirs, "test")
    assert found.state is FieldState.in_sync
    on = {code: enabled for code, (enabled, *_) in (await one.codes()).items()}
    assert {code: value["isEnabled"] for code, value in theirs.items()} == on
    assert on == ({"stripe": False, "paystack": True} if keep is Keep.field else {"stripe": True, "paystack": False})


async def test_a_write_whose_process_died_afterwards_is_no_conflict(shared: Polytill, table: Table) -> None:
    one = await live(shared, table)
    await switch_off(one)
    value = one.field()
    value["paystack"]["isEnabled"] = False
    one.put(value)  # the write went through, and its record did not
    assert await keeping.turn(one.context) == 1
    assert (await one.rollout()).field_state is FieldState.in_sync


@pytest.mark.parametrize("dies", [False, True])
async def test_a_change_during_a_write_is_written_next(shared: Polytill, table: Table, dies: bool) -> None:
    """Our own write is no conflict, also if its process dies before it is recorded."""
    one = await live(shared, table)
    await switch_off(one)

    async def meanwhile() -> None:
        await switch_off(one, "stripe")
        if dies:
            raise DatabaseUnavailable

    table.after_write = meanwhile
    assert await keeping.turn(one.context) == 0
    assert (await one.rollout()).field_state is FieldState.pending
    await sync.sync(one.context, one.id, "test")
    assert {code: value["isEnabled"] for code, value in one.field().items()} == {"stripe": False, "paystack": False}
    assert (await one.rollout()).field_state is FieldState.in_sync


async def test_a_comparison_between_the_announcement_and_the_change(shared: Polytill, table: Table) -> None:
    """It finds both equal, which does not count once the change is made."""
    one = await live(shared, table)
    off = Wish("paystack", is_enabled=False)
    await configuring.configure(
        one.context, one.id, off, "test", True, between(one, lambda: keeping.check(one.context, one.id, "test"))
    )
    assert (await one.rollout()).field_state is FieldState.in_sync
    assert not await sync.unchanged(one.context, await one.rollout(), one.field())
    await sync.sync(one.context, one.id, "worker")
    assert await sync.unchanged(one.context, await one.rollout(), one.field())
    assert one.field()["paystack"]["isEnabled"] is False


async def test_of_two_writers_the_later_one_is_recorded(shared: Polytill, table: Table) -> None:
    """A writer's record comes after another one has replaced what it wrote: no conflict, whatever is changed next."""
    one = await live(shared, table)
    await switch_off(one)

    async def meanwhile() -> None:
        await switch_off(one, "stripe")
        await sync.sync(one.context, one.id, "test")

    table.after_write = meanwhile
    assert (await keeping.check(one.context, one.id, "test")).state is FieldState.in_sync
    assert {code: value["isEnabled"] for code, value in one.field().items()} == {"stripe": False, "paystack": False}
    await configuring.configure(one.context, one.id, Wish("stripe", is_enabled=True), "test", patch=True)
    assert await keeping.turn(one.context) == 1
    assert one.field()["stripe"]["isEnabled"] is True


@pytest.mark.parametrize("blank", [None, "{}"])
async def test_closed_empties_the_field(shared: Polytill, table: Table, blank: str | None) -> None:
    connect(shared, table, blank)
    one = await live(shared, table)
    before = await one.codes()
    await switch_off(one)
    with pytest.raises(StepRefused):
        await moves.move(one.context, one.id, CLOSED, "test")
    await keeping.turn(one.context)
    await moves.move(one.context, one.id, CLOSED, "test")
    assert table.rows[one.external_id] == blank
    assert (await one.rollout()).field_state is FieldState.in_sync
    for to in (LEGACY, SHADOW, LIVE):
        with pytest.raises(StepRefused):
            await moves.move(one.context, one.id, to, "test")
    assert set(await one.codes()) == set(before)
    await switch_off(one, "stripe")  # and configurations are changed here
    assert table.rows[one.external_id] == blank


async def test_a_field_that_could_not_be_emptied_is_emptied_later(shared: Polytill, table: Table) -> None:
    one = await live(shared, table)

    def fails() -> None:
        table.before_write = None
        raise DatabaseUnavailable

    table.before_write = fails
    await moves.move(one.context, one.id, CLOSED, "test")
    rollout = await one.rollout()
    assert (rollout.phase, rollout.field_state) == (CLOSED, FieldState.pending)
    assert one.field() is not None
    await keeping.turn(one.context)
    assert table.rows[one.external_id] is None


async def test_a_process_that_died_before_it_emptied_the_field(
    shared: Polytill, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def dies(*_: Any) -> None:
        return None

    one = await live(shared, table)
    with monkeypatch.context() as patch:
        patch.setattr(moves, "_after", dies)
        await moves.move(one.context, one.id, CLOSED, "test")
    assert (await one.rollout()).field_state is FieldState.pending
    await keeping.turn(one.context)
    assert table.rows[one.external_id] is None


async def test_somebody_fills_the_field_before_it_is_emptied(shared: Polytill, table: Table) -> None:
    one = await live(shared, table)
    theirs = a_field(flutterwave={"isEnabled": True})
    table.before_write = lambda: one.put(theirs)
    await moves.move(one.context, one.id, CLOSED, "test")
    assert one.field() == theirs
    assert (await one.rollout()).field_state is FieldState.conflict
    table.before_write = None
    with pytest.raises(Conflict):
        await conflicts.resolve(one.context, one.id, Keep.field, "test")
    await conflicts.resolve(one.context, one.id, Keep.polytill, "test")
    assert table.rows[one.external_id] is None


# ── Comparison ──


async def test_a_difference_is_recorded_once(shared: Polytill, table: Table) -> None:
    one = await a_practice(shared, table)
    await one.move(LEGACY)
    asked = Asked("NGN", 500_000, "card", Environment.sandbox)
    assert (await decisions.compare(one.context, one.id, asked, "stripe", "r-0")).agrees is None
    await one.move(SHADOW)
    assert (await decisions.compare(one.context, one.id, asked, "Paystack", "r-1")).agrees is True
    for _ in range(3):
        found = await decisions.compare(one.context, one.id, asked, "stripe", "r-2")
        assert (found.agrees, found.reason) == (False, DifferenceReason.currency_missing)
    await decisions.compare(one.context, one.id, asked, None, "r-3")
    assert (await decisions.compare(one.context, one.id, asked, "paystack", "r-1")).agrees is True  # repeated
    assert (await decisions.compare(one.context, one.id, asked, "stripe", "r-1")).agrees is False
    assert (await decisions.compare(one.context, one.id, asked, "paystack", "r-3")).agrees is True
    listed = await rollout_differences.listed(one.context.owner, one.id)
    assert [(d.reference, d.legacy_provider, d.our_provider) for d in listed] == [
        ("r-3", None, "paystack"),
        ("r-2", "stripe", "paystack"),
    ]
    assert (await one.rollout()).agreements == 1
    assert await rollout_differences.count_by_reason(one.context.owner, one.id) == {
        DifferenceReason.currency_missing: 1,
        DifferenceReason.legacy_chose_nothing: 1,
    }
    table.rows[one.external_id] = "{"
    await sync.sync(one.context, one.id, "test")
    found = await decisions.compare(one.context, one.id, asked, "stripe", "r-4")
    assert found.reason is DifferenceReason.not_in_sync


async def test_old_differences_are_deleted(shared: Polytill, table: Table, clock: Clock) -> None:
    one = await a_practice(shared, table)
    await one.move(LEGACY, SHADOW)
    asked, context = Asked("NGN", 500_000), one.context
    await decisions.compare(context, one.id, asked, "stripe", "r-1")
    await decisions.forget_old(context)
    assert len(await rollout_differences.listed(context.owner, one.id)) == 1
    clock.advance(context.settings.difference_days * 24 * 3600 + 60)
    await decisions.compare(context, one.id, asked, None, "r-2")
    await decisions.forget_old(context)
    assert [one.reference for one in await rollout_differences.listed(context.owner, one.id)] == ["r-2"]
    await decisions.compare(context, one.id, asked, "paystack", "r-1")  # so long ago that it counts as another payment
    assert (await one.rollout()).agreements == 1


async def test_whose_choice_counts(shared: Polytill, table: Table) -> None:
    one = await a_practice(shared, table)
    asked = Asked("NGN", 500_000)
    assert (await decisions.choose(one.context, one.id, asked)).use is WhoDecides.legacy
    for phase in (LEGACY, SHADOW, LIVE, CLOSED):
        await one.move(phase)
        choice = await decisions.choose(one.context, one.id, asked)
        expected = WhoDecides.polytill if phase in (LIVE, CLOSED) else WhoDecides.legacy
        assert (choice.use, choice.phase) == (expected, phase)
    assert choice.provider_code == "paystack"


# ── Readers, and the column ──


async def test_the_column_is_dropped_when_nobody_needs_it(
    shared: Polytill, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = shared.context.settings.model_copy(update={"field_quiet_days": 1})
    monkeypatch.setattr(shared.context, "settings", quick)
    context, table = shared.context, Table()
    for one in await moves.practice_rollouts.listed(context.owner, limit=1_000):
        unit = moves.Unit()
        unit.add("DELETE FROM practice_rollouts WHERE practice_id = $1", one.practice_id)
        await context.owner.commit(unit)
    connect(shared, table)
    one = await live(shared, table)
    days = context.settings.field_quiet_days * 24 * 3600.0

    async def refused(part: str) -> None:
        with pytest.raises(ColumnNeeded, match=part):
            await column.drop(context, "test")

    await refused("not reported")
    await readers.count(context, {"invoices": 3, "silent": 0})
    await refused("for less than")
    clock.advance(days + 60)
    await refused("stopped reporting")
    await readers.count(context, {})
    await refused("for less than")  # nobody knows who read it in between

    async def report_for(seconds: float) -> None:
        for _ in range(int(seconds // REPORTED_EVERY_S) + 1):
            clock.advance(REPORTED_EVERY_S)
            await readers.count(context, {})

    await report_for(days)
    await readers.count(context, {"checkout": 1, "invoices": 2})
    await refused("checkout, invoices")
    counted = {reader.caller: reader.reads for reader in (await readers.readers(context)).callers}
    assert counted == {"invoices": 5, "checkout": 1}
    await report_for(days + REPORTED_EVERY_S)
    await refused(f"not closed: {one.id}")
    await one.move(CLOSED)
    table.rows["never imported"] = json.dumps(a_field())
    await refused("something in the field")
    del table.rows["never imported"]
    assert await column.checked(context) == table.place
    await column.drop(context, "test")
    assert table.is_dropped
    assert (await readers.readers(context)).callers == ()


async def test_the_number_of_callers_is_bounded(shared: Polytill, table: Table) -> None:
    await readers.count(shared.context, {f"caller {n}": 1 for n in range(MOST_CALLERS - 1)})
    await readers.count(shared.context, {f"other {n}": 2 for n in range(10)})
    counted = {one.caller: one.reads for one in (await readers.readers(shared.context)).callers}
    assert len(counted) <= MOST_CALLERS + 1
    assert counted[OTHERS] == 2 * (
        10 - (MOST_CALLERS + 1 - len(counted) + sum(name.startswith("other") for name in counted))
    )
