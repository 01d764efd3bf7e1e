"""Our configurations follow the field, in the phases legacy and shadow, whatever changes meanwhile."""

from __future__ import annotations

import pytest

from polytill.app import Polytill
from polytill.domain.rollout import FieldState, RolloutPhase
from polytill.domain.states import Environment
from polytill.flows.admin import catalog
from polytill.flows.admin import provider_configs as configuring
from polytill.flows.admin.provider_configs import Wish
from polytill.flows.rollout import conflicts, hand_over, moves, sync
from polytill.flows.rollout.conflicts import Keep
from polytill.flows.rollout.host import HostField
from polytill.flows.rollout.keeping import FieldResult
from polytill.flows.rollout.moves import StepRefused
from polytill.flows.rollout_phase import FieldDecides, announce_following
from polytill.storage.units import Unit
from tests.rollout.scene import One, Table, a_field, a_practice
from tests.web.support import Clock

pytestmark = pytest.mark.asyncio(loop_scope="module")
LEGACY, SHADOW, LIVE, CLOSED = RolloutPhase


async def test_configurations_follow_the_field(shared: Polytill, table: Table) -> None:
    one = await a_practice(shared, table)
    await one.move(LEGACY)
    found = await sync.sync(one.context, one.id, "test")
    assert (found.state, set(found.changed)) == (FieldState.in_sync, {"stripe", "paystack"})
    assert await one.codes() == {"stripe": (True, False, "sandbox"), "paystack": (True, True, "sandbox")}
    assert (await sync.sync(one.context, one.id, "test")).changed == ()

    value = a_field()
    del value["stripe"]
    value["paystack"] |= {"isEnabled": False}
    one.put(value)
    assert set((await sync.sync(one.context, one.id, "test")).changed) == {"stripe", "paystack"}
    assert await one.codes() == {"paystack": (False, True, "sandbox")}

    one.put(a_field())
    await sync.sync(one.context, one.id, "test")
    assert await one.codes() == {"stripe": (True, False, "sandbox"), "paystack": (True, True, "sandbox")}
    assert (await one.rollout()).field_state is FieldState.in_sync


async def test_a_field_that_cannot_be_understood_changes_nothing(shared: Polytill, table: Table) -> None:
    one = await a_practice(shared, table)
    await one.move(LEGACY)
    await sync.sync(one.context, one.id, "test")
    before = await one.codes()
    table.rows[one.external_id] = "{not json"
    found = await sync.sync(one.context, one.id, "test")
    assert found.state is FieldState.blocked
    assert found.problems
    assert await one.codes() == before
    with pytest.raises(StepRefused):
        await moves.move(one.context, one.id, SHADOW, "test")

    value = a_field()
    value["paystack"]["secretKey"] = "sk_live_0123456789abcdef0123456789abcdef01234567"
    one.put(value)
    found = await sync.sync(one.context, one.id, "test")
    assert found.state is FieldState.blocked
    assert "sk_live" not in repr(found)
    assert "sk_live" not in ((await one.rollout()).field_detail or "")


@pytest.mark.parametrize("keep", list(Keep))
async def test_there_is_no_conflict_to_decide_while_the_field_decides(
    shared: Polytill, table: Table, keep: Keep
) -> None:
    """A field that cannot be followed is corrected by the host application, and never overwritten from here."""
    one = await a_practice(shared, table)
    await one.move(LEGACY, SHADOW)
    value = a_field()
    value["paystack"]["isDefault"] = False
    value["stripe"]["secretKey"] = "sk_live_0123456789abcdef0123456789abcdef01234567"
    one.put(value)
    assert (await sync.sync(one.context, one.id, "test")).state is FieldState.blocked
    before = await one.codes()
    with pytest.raises(FieldDecides):
        await conflicts.resolve(one.context, one.id, keep, "test")
    assert (one.field(), await one.codes()) == (value, before)


async def test_each_way_to_change_a_configuration_has_the_guard_of_its_caller(shared: Polytill, table: Table) -> None:
    one = await a_practice(shared, table)
    await one.move(LEGACY)
    await sync.sync(one.context, one.id, "test")
    wish = Wish("paystack", Environment.sandbox, is_enabled=False)
    with pytest.raises(FieldDecides):
        await configuring.configure(one.context, one.id, wish, "test", patch=True)
    await configuring.configure(one.context, one.id, wish, "test", True, announce_following)
    assert (await one.codes())["paystack"][0] is False


async def test_a_newer_field_is_followed_last(shared: Polytill, table: Table) -> None:
    """The old code writes through while a sync applies what it read before."""
    one = await a_practice(shared, table)
    await one.move(LEGACY)
    newer = a_field()
    newer["paystack"]["isEnabled"] = False

    def old_code_writes() -> None:
        table.after_read = None
        one.put(newer)

    table.after_read = old_code_writes
    await sync.sync(one.context, one.id, "test")
    assert (await one.codes())["paystack"][0] is False


async def test_of_two_that_follow_the_field_the_last_one_is_recorded(
    shared: Polytill, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow worker applies an older field after a newer one was compared, and before that was recorded."""
    one = await a_practice(shared, table)
    await one.move(LEGACY)
    await sync.sync(one.context, one.id, "test")
    older, newer = a_field(), a_field()
    older["paystack"]["isEnabled"] = False
    newer["paystack"]["priority"] = 5
    slow = [older]
    commit = one.context.owner.commit

    async def late(unit: Unit) -> None:
        if slow and any("field_hash" in step.sql for step in unit.steps):
            await sync.follow(one.context, one.id, slow.pop(), "worker")
        await commit(unit)

    with monkeypatch.context() as patch:
        patch.setattr(one.context.owner, "commit", late)
        found = await hand_over.written(one.context, one.id, newer, "old code")
    assert (found.state, set(found.changed)) == (FieldState.in_sync, {"paystack"})
    assert (await one.codes())["paystack"][0] is True
    one.put(newer)
    await moves.move(one.context, one.id, SHADOW, "test")


async def in_background(one: One) -> FieldResult:
    """What the worker does each minute, where there are many practices."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sync, "FEW", 0)
        [done] = [each async for each in sync.sync_all(one.context, [await one.rollout()], "worker", trusts=True)]
    assert done.result is not None
    return done.result


async def test_a_corrected_mapping_changes_what_a_field_means(shared: Polytill, table: Table) -> None:
    value = a_field()
    del value["stripe"]["isEnabled"]
    one = await a_practice(shared, table, value)
    await one.move(LEGACY)
    await sync.sync(one.context, one.id, "test")
    assert (await one.codes())["stripe"][0] is False
    shared.context.host_field = HostField(table, None, b'{"defaults": {"isEnabled": true}}')
    assert (await in_background(one)).changed == ("stripe",)
    await moves.move(one.context, one.id, SHADOW, "test")
    assert (await one.codes())["stripe"][0] is True


async def test_a_new_currency_of_the_catalog_changes_what_a_field_means(shared: Polytill, table: Table) -> None:
    value = a_field()
    del value["paystack"]["supportedCurrencies"]
    one = await a_practice(shared, table, value)
    await one.move(LEGACY)
    terms = (await one.context.catalog())["paystack"].currencies["KES"]
    await catalog.remove_currency(one.context, "paystack", "KES", "test")
    await sync.sync(one.context, one.id, "test")
    await catalog.put_currency(one.context, "paystack", terms, "test")
    assert (await in_background(one)).changed == ("paystack",)
    await moves.move(one.context, one.id, SHADOW, "test")


async def test_what_no_record_knows_of_is_repaired(shared: Polytill, table: Table, clock: Clock) -> None:
    """By a person at once, and by the worker within the hour."""
    one = await a_practice(shared, table)
    await one.move(LEGACY)
    await sync.sync(one.context, one.id, "test")

    async def damage() -> None:
        unit = Unit()
        unit.add("UPDATE practice_payment_providers SET is_enabled = $1 WHERE provider_code = 'paystack'", False)
        await (await one.practice()).db.commit(unit)

    await damage()
    assert (await in_background(one)).changed == ()
    assert (await sync.sync(one.context, one.id, "test")).changed == ("paystack",)
    await damage()
    assert (await in_background(one)).changed == ()
    clock.advance(sync.TRUSTED_S + 1)
    assert (await in_background(one)).changed == ("paystack",)
