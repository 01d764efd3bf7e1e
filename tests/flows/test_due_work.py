"""What a sweep finds due: the one statement that decides what is read sees every kind of work, and only what is due."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from polytill.domain.states import CaptureMode
from polytill.flows.context import Practice
from polytill.flows.payment_records import CLOCKS_APART, record_new, recorded_until
from polytill.flows.schedule import never_after
from polytill.providers.contract import RefundFact
from polytill.providers.outcomes import Reason, Unknown
from polytill.storage import due_work
from polytill.storage.due_work import DueWork, Times
from tests import calls
from tests.flows.scenes import LINK, Scene, held, paid

LOST = Unknown(Reason.timeout)
KINDS = (
    "new_payments",
    "events",
    "attempts",
    "refunds",
    "operations",
    "webhooks",
    "unpaid",
    "search_rows",
    "detachments",
)


async def due(scene: Scene) -> DueWork:
    now = scene.context.world.now()
    return await due_work.read(
        scene.db, Times(now, never_after(now), now, now, now), recorded_until(Practice(scene.context, scene.db))
    )


async def kinds(scene: Scene) -> list[str]:
    found = await due(scene)
    return [name for name in KINDS if getattr(found, name)]


async def change(scene: Scene, sql: str, *args: Any) -> None:
    async with scene.db.transaction() as tx:
        await tx.fetch(sql, *args)


async def everything(scene: Scene) -> None:
    """A payment that waits for its customer, a refund and a capture without an answer, a webhook that waits."""
    configuration = await scene.configure()
    won = await scene.succeeded()
    scene.wire.says("create", LINK, held())
    unpaid, holding = await scene.pay(), await scene.pay(capture=CaptureMode.manual)
    scene.wire.says("refund", LOST)
    await calls.refund(scene.till, scene.practice_id, won.id, key="back", amount=100)
    scene.wire.says("capture", LOST)
    await calls.capture(scene.till, scene.practice_id, holding.payment.id, key="take")
    scene.wire.always("confirm", LINK)
    early = RefundFact("succeeded", "rf-1", payment_reference=unpaid.attempts[0].id, amount=paid(5).amount)
    await scene.delivery(configuration, early)


async def test_nothing_is_due_and_nothing_is_open_in_a_new_practice(scene: Scene) -> None:
    found = await due(scene)
    assert (await kinds(scene), found.open, found.lookups) == ([], False, False)
    assert (found.relays.number, found.relays.next_try_at) == (0, None)
    assert not await due_work.anything_open(scene.db)


async def test_each_kind_of_work_is_seen_when_it_is_due(scene: Scene) -> None:
    await everything(scene)
    later = scene.context.world.now() + timedelta(seconds=100)
    tables = {"attempts": "payment_attempts", "refunds": "refunds", "operations": "payment_operations"}
    await change(scene, "UPDATE events SET forwarded_at = $1", later)
    await record_new(Practice(scene.context, scene.db))
    for table in tables.values():
        await change(scene, f"UPDATE {table} SET next_lookup_at = $1 WHERE next_lookup_at IS NOT NULL", later)
    await change(scene, "UPDATE webhook_events SET received_at = $1", later)
    assert await kinds(scene) == []
    assert (await due(scene)).open
    assert await due_work.anything_open(scene.db)
    scene.clock.at_s += 101
    assert await kinds(scene) == ["attempts", "refunds", "operations", "webhooks"]
    scene.clock.at_s += scene.context.settings.payment_expires_s
    assert await kinds(scene) == ["attempts", "refunds", "operations", "webhooks", "unpaid"]
    await change(scene, "UPDATE events SET forwarded_at = NULL WHERE id = (SELECT MIN(id) FROM events)")
    assert (await kinds(scene))[0] == "events"
    # A clock far ahead has put it off: it is due now.
    for kind, table in tables.items():
        await change(scene, f"UPDATE {table} SET next_lookup_at = NULL")
        assert kind not in await kinds(scene)
    assert "unpaid" not in await kinds(scene)
    wrong = never_after(scene.context.world.now()) + timedelta(seconds=1)
    for kind, table in tables.items():
        await change(scene, f"UPDATE {table} SET next_lookup_at = $1", wrong)
        assert kind in await kinds(scene)


async def test_payments_that_are_not_recorded_are_due_whatever_their_ids(scene: Scene) -> None:
    await scene.configure()
    practice = Practice(scene.context, scene.db)
    assert "new_payments" not in await kinds(scene)
    for seconds in (0, 1, -5, CLOCKS_APART.total_seconds() * 3, 1):  # another process's clock may be behind
        scene.clock.at_s += seconds
        await scene.succeeded()
        assert "new_payments" in await kinds(scene)
        assert await record_new(practice) == 1
        assert "new_payments" not in await kinds(scene)


async def test_enough_search_rows_for_a_block_are_due(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    await scene.configure()
    monkeypatch.setattr(due_work, "ROWS", 3)
    for number in range(3):
        assert "search_rows" not in await kinds(scene), number
        await scene.succeeded()
    assert "search_rows" in await kinds(scene)
