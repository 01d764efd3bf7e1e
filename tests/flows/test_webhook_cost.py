"""The number of reads and commits of one webhook, and what a snapshot that is reused must not hide."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from polytill.domain.errors import Unauthorized
from polytill.domain.states import EventState, PaymentStatus
from polytill.flows import provider_calls
from polytill.flows.payments import settle
from polytill.providers.contract import PaymentFact, RefundFact
from polytill.storage import webhook_events
from tests.flows.scenes import LINK, Scene, keys, paid


@dataclass
class Counting:
    """An engine that counts queries and transactions."""

    engine: Any
    reads: int = 0
    commits: int = 0

    @property
    def dialect(self) -> str:
        return str(self.engine.dialect)

    async def fetch(self, sql: str, *args: Any) -> list[Any]:
        self.reads += 1
        found: list[Any] = await self.engine.fetch(sql, *args)
        return found

    async def commit(self, steps: Any) -> list[int]:
        self.commits += 1
        counts: list[int] = await self.engine.commit(steps)
        return counts

    def transaction(self) -> Any:
        self.commits += 1
        return self.engine.transaction()

    async def close(self) -> None:
        await self.engine.close()


def count(scene: Scene) -> Counting:
    """Count from now on."""
    counting = Counting(scene.db.engine)
    scene.db.engine = counting
    return counting


@pytest.mark.parametrize("known_id", [True, False])
async def test_a_webhook_with_a_known_reference_costs_one_read_and_two_commits(scene: Scene, known_id: bool) -> None:
    configuration = await scene.configure()
    scene.wire.says("create", LINK if known_id else replace(LINK, provider_transaction_id=None))
    created = await scene.pay()
    scene.clock.at_s += 30
    counting = count(scene)
    fact = PaymentFact(paid(), created.attempts[0].id, "tx-1")
    event = await scene.delivery(configuration, fact)
    assert (counting.reads, counting.commits) == (1, 2)
    assert event is not None
    assert event.state is EventState.applied
    assert (await scene.payment(created.payment.id)).status is PaymentStatus.succeeded


async def test_a_webhook_opens_the_secrets_once_and_is_decided_once(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    configuration = await scene.configure()
    scene.wire.says("create", LINK)
    [attempt] = (await scene.pay()).attempts
    calls: list[str] = []

    def counting(module: Any, name: str) -> None:
        call = getattr(module, name)

        def counted(*args: Any) -> Any:
            calls.append(name)
            return call(*args)

        monkeypatch.setattr(module, name, counted)

    counting(provider_calls, "open_credentials")
    counting(settle, "decide")
    await scene.delivery(configuration, PaymentFact(paid(999), attempt.id, "tx-1"))
    await scene.delivery(configuration, PaymentFact(paid(), attempt.id, "tx-1"))
    assert calls == ["open_credentials", "decide"] * 2


async def test_a_webhook_without_news_looks_for_no_other_webhooks(scene: Scene) -> None:
    configuration = await scene.configure()
    scene.wire.says("create", LINK)
    created = await scene.pay()
    fact = PaymentFact(paid(), created.attempts[0].id, "tx-1")
    await scene.delivery(configuration, fact)
    scene.clock.at_s += 30
    counting = count(scene)
    event = await scene.delivery(configuration, fact)
    assert (counting.reads, counting.commits) == (1, 2)
    assert event is not None
    assert event.state is EventState.applied


async def test_the_answer_names_the_state_that_was_written(scene: Scene) -> None:
    configuration = await scene.configure()
    scene.wire.says("create", LINK)
    [attempt] = (await scene.pay()).attempts
    given = {
        EventState.applied: PaymentFact(LINK, attempt.id, "tx-1"),
        EventState.parked: PaymentFact(paid(999), attempt.id, "tx-1"),
        EventState.received: RefundFact("succeeded", "rf-1", payment_reference=attempt.id, amount=paid(5).amount),
    }
    scene.wire.always("confirm", LINK)
    for state, fact in given.items():
        event = await scene.delivery(configuration, fact)
        assert event is not None
        stored = await webhook_events.by_id(scene.db, event.id)
        assert stored is not None
        assert (event.state, event.reason) == (stored.state, stored.reason)
        assert event.state is state


async def _as_another_process_sees_it(scene: Scene, snapshot: Any) -> None:
    """Put back a snapshot from before a change, as in a process that has not seen the change."""
    scene.context._snapshots[scene.practice_id] = replace(snapshot, read_at_s=scene.clock.at_s)


async def test_no_webhook_is_rejected_because_of_an_old_snapshot(scene: Scene) -> None:
    nothing = await scene.context.configured(scene.db)
    configuration = await scene.configure()
    scene.wire.says("create", LINK)
    [attempt] = (await scene.pay()).attempts
    await _as_another_process_sees_it(scene, nothing)
    scene.clock.at_s += 2
    event = await scene.delivery(configuration, PaymentFact(LINK, attempt.id, "tx-1"))
    assert event is not None
    assert event.state is EventState.applied
    old = await scene.context.configured(scene.db)
    await scene.configure(given=keys("2"))
    await _as_another_process_sees_it(scene, old)
    scene.clock.at_s += 2
    event = await scene.delivery(configuration, PaymentFact(paid(), attempt.id, "tx-1"), secret="wh_test2")
    assert event is not None
    assert event.state is EventState.applied


@pytest.mark.parametrize("must_fetch", [False, True])
async def test_a_secret_that_has_ended_verifies_nothing_in_an_old_snapshot(scene: Scene, must_fetch: bool) -> None:
    configuration = await scene.configure()
    scene.wire.says("create", LINK)
    [attempt] = (await scene.pay()).attempts
    old = await scene.context.configured(scene.db)
    await scene.configure(given=keys("2"))
    scene.clock.at_s += scene.context.settings.rotation_overlap_s + 1
    await _as_another_process_sees_it(scene, old)
    with pytest.raises(Unauthorized):
        await scene.delivery(configuration, PaymentFact(paid(), attempt.id, "tx-1"), must_fetch=must_fetch)
    assert await webhook_events.count(scene.db) == 0
